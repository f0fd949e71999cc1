"""povwatch rebuild: makes a lost journal again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import shared, verbs
from povwatch.core import layout
from povwatch.core.command import command
from povwatch.core.errors import ConfigError
from povwatch.core.units import spell_size
from povwatch.journal.anew import is_used, made_anew
from povwatch.journal.lock import holder
from povwatch.ops.rebuild import restore
from povwatch.ops.rebuild.plan import Fate
from povwatch.ops.rebuild.survey import Survey, survey
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.ops.rebuild.plan import Verdict

LARGE = 1_000_000_000
"""Bytes from which on the reading of a clip is announced."""

LINES_MAX = 50
"""The most lines of one kind; there may be thousands of clips."""

TELLS = {
    Fate.DONE: "done",
    Fate.PUBLISH: "its result is checked and kept; it is made visible at the next start",
    Fate.EDITED: "runs again",
    Fate.NEW: "new, taken in at the next start",
    Fate.GONE: "not in inputs/ any more; its result stays known",
}


@verbs.command()
def rebuild(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,  # noqa: FBT002
    aside: Annotated[  # noqa: FBT002
        bool, typer.Option("--move-aside", help="A journal is there: move it aside, to journal.sqlite3.old-1.")
    ] = False,
    hold: Annotated[  # noqa: FBT002
        bool, typer.Option("--hold", help="Hold every clip that has no result, until povwatch go.")
    ] = False,
    empty: Annotated[  # noqa: FBT002
        bool, typer.Option("--empty", help="Begin with nothing: every clip runs again, whatever was published.")
    ] = False,
) -> None:
    """Make a lost journal again from inputs/ and the manifests in outputs/; nothing is run twice."""
    if empty and hold:
        raise typer.BadParameter("--empty knows no clips to hold")
    config = shared(context).config()
    _may(config, aside=aside, dry_run=dry_run)
    if empty:
        _begin_empty(config, dry_run=dry_run)
        return
    found = survey(config, hold=hold, tell=_tell_reading)
    if not found.plan.results and not found.plan.promises:
        raise ConfigError(
            f"{config.paths.outputs} holds no manifest: there is nothing to make a journal from.",
            f"Is its disk mounted? If nothing was published yet: {command('rebuild', '--empty')}",
        )
    old = None
    if not dry_run:
        with made_anew(config.paths.state) as journal:
            journal.restore(restore.jobs(found.plan, found.clips, time.time()), found.plan.bases)
        old = journal.replaced
    _tell(found, dry_run=dry_run)
    if old is not None:
        typer.echo(f"The journal that was there is {old}.")
    if found.odd or found.plan.count(Fate.HELD):
        raise typer.Exit(1)


def _may(config: Config, *, aside: bool, dry_run: bool) -> None:
    """Check that the rebuild takes nothing away.

    Raises:
        ConfigError: a daemon runs, or there is a journal.
    """
    state = config.paths.state
    pid = holder(state)
    if pid is not None:
        raise ConfigError(
            f"A daemon (pid {pid or 'unknown'}) runs on the journal in {state}, which is not lost.",
            f"Stop it first if you mean it: systemctl stop povwatch{f', or kill {pid}' if pid else ''}.",
        )
    if not aside and not dry_run and is_used(state):
        raise ConfigError(
            f"There is a journal in {state}, and it knows more than can be found again: history, failures, holds.",
            "If the daemon cannot use it, or it is not the right one: "
            f"{command('rebuild', '--move-aside')} moves it to journal.sqlite3.old-1 and makes a new one.",
        )


def _begin_empty(config: Config, *, dry_run: bool) -> None:
    if dry_run:
        typer.echo("Nothing was written. Every clip in inputs/ would be new.")
        return
    with made_anew(config.paths.state):
        pass
    typer.echo("The journal is empty. Every clip in inputs/ is new; results that are there keep their names.")
    typer.echo(f"Next: {command('run')}, or systemctl start povwatch.")


def _tell_reading(path: bytes, size: int) -> None:
    if size >= LARGE:
        typer.echo(f"{layout.shown(path)}: being compared with its result, {spell_size(size)}", err=True)


def _tell(found: Survey, *, dry_run: bool) -> None:
    """Print the findings: ordinary ones, then those that need a person, then the totals."""
    for fate in (Fate.GONE, Fate.DONE, Fate.NEW, Fate.EDITED, Fate.PUBLISH, Fate.HELD):
        _lines([f"{layout.shown(one.called)}: {_line(one)}" for one in found.plan.verdicts if one.fate is fate])
    _lines([f"Look at this: {odd}" for odd in found.odd])
    if found.lost:
        typer.echo(f"{found.lost} attempt(s) were under way; what they left is cleared at the next start.")
    counts = [f"{count} {fate}" for fate in Fate if (count := found.plan.count(fate))]
    typer.echo(f"{'Would be' if dry_run else 'Made again'}: {', '.join(counts)}.")
    if dry_run:
        typer.echo("Nothing was written.")
        return
    typer.echo(
        "Not known any more: what failed, and what was cancelled, held or sent off by command. Such clips are new, "
        "those with an .error.txt too."
    )
    typer.echo(f"Next: {command('run')}, or systemctl start povwatch.")


def _line(verdict: Verdict) -> str:
    if verdict.fate is Fate.HELD:
        return f"held: {verdict.why}. To run it: {command('go', clip=verdict.called)}"
    said = TELLS[verdict.fate]
    return f"{said}: {verdict.why}" if verdict.why else said


def _lines(lines: list[str]) -> None:
    for line in lines[:LINES_MAX]:
        typer.echo(one_line(line))
    if len(lines) > LINES_MAX:
        typer.echo(f"... and {len(lines) - LINES_MAX} more like these")
