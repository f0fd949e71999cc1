"""povwatch run: the daemon."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import app, shared
from povwatch.cli.clips_here import named
from povwatch.cli.display import BatchDisplay
from povwatch.cli.report import Files  # noqa: TC001 - typer reads it as it runs
from povwatch.cli.reporting import print_table, save_all
from povwatch.core.events import say
from povwatch.core.layout import shown
from povwatch.core.scope import Scope
from povwatch.daemon.loop import Daemon
from povwatch.daemon.summary import NOT_DONE, summarise
from povwatch.journal import open_reader
from povwatch.ops.report import save
from povwatch.ops.report.gather import gather
from povwatch.service import log

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.daemon.summary import Outcome
    from povwatch.ops.report.data import Report


@app.command()
def run(
    context: typer.Context,
    clips: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIP", help="With --once: these alone; the others are left as they are."),
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Drain the folder, print a report, exit.")] = False,
    engine: Annotated[
        str | None, typer.Option(metavar="KIND", help="auto, cosmos, diffusers or preview; goes over engine.kind.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option(metavar="D", help="Time to edit a JSON, such as 30s; goes over grace.period.")
    ] = None,
    files: Files = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the engine's own output too.")] = False,
) -> None:
    """Watch inputs/ and run what arrives."""
    if not once and (clips or files):
        raise typer.BadParameter("clips and --report go with --once alone: a daemon has no end")
    config = shared(context).config(grace=grace, engine=engine)
    if not once:
        log.configure(verbose=verbose)
        _say_zone(context)
        Daemon(config).run()
        return
    save.check(files or ())
    scope = Scope(named(config, clips) if clips else None)
    display = BatchDisplay() if BatchDisplay.fits() else None
    log.configure(display, verbose=verbose)
    _say_zone(context)
    with display or nullcontext():
        outcome = Daemon(config, once=True, scope=scope, display=display).run()
    log.configure(verbose=verbose)
    code = summarise(outcome, each=display is None)
    found = _report(config, outcome)
    print_table(found)
    if not save_all(found, files or ()):
        code = max(code, NOT_DONE)
    raise typer.Exit(code)


def _say_zone(context: typer.Context) -> None:
    if zone := shared(context).zone:
        say("zone-unusable", problem=zone)


def _report(config: Config, outcome: Outcome) -> Report:
    """The report of this run."""
    before = {job.id for job in outcome.before}
    notes = [note for note in (outcome.away, outcome.closed, outcome.unable) if note]
    if outcome.stopped and not all(job.ended for job in outcome.jobs):
        notes.append("It was ended before all was done; started again it goes on.")
    with open_reader(config.paths.state) as reader:
        return gather(
            reader,
            time.time(),
            only={job.id for job in outcome.jobs} - before | outcome.ended,
            before=len(before),
            left=[shown(path) for path in outcome.left],
            notes=notes,
        )
