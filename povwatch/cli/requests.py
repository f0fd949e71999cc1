"""povwatch go, hold, retry, cancel, pause, resume, clean: send requests to the daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli import complete
from povwatch.cli.app import CLIP_HELP, Clip, console, plain, shared, verbs
from povwatch.cli.clips_here import listing
from povwatch.core.errors import EnvironmentFault, JournalError, PovwatchError
from povwatch.core.lookup import meant, number_of, unanswerable
from povwatch.journal import open_reader
from povwatch.journal.lock import JournalLock, holder
from povwatch.ops import clean as clean_up
from povwatch.service.requests import Answer, RequestSpool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from povwatch.config.settings import Config


PATIENCE = 10.0
"""Seconds to wait for an answer. The daemon looks twice a second, but a disk may be slow."""

DECODING_PATIENCE = 60.0
"""Seconds to wait if the daemon has to decode a clip first."""

CLEAN_PATIENCE = 600.0
"""Seconds to wait for the daemon's answer; folders of terabytes take long."""


@verbs.command()
def go(
    context: typer.Context,
    clip: Clip,
    damaged: Annotated[  # noqa: FBT002
        bool, typer.Option("--damaged", help="Of an incomplete clip: run what can be decoded of it.")
    ] = False,
) -> None:
    """Start a clip now, without the rest of its grace."""
    if damaged:
        _ask(context, "go", clip, patience=DECODING_PATIENCE, damaged=True)
    else:
        _ask(context, "go", clip)


@verbs.command()
def hold(context: typer.Context, clip: Clip) -> None:
    """Keep a clip from starting, until `povwatch go` lets it."""
    _ask(context, "hold", clip)


@verbs.command()
def cancel(context: typer.Context, clip: Clip) -> None:
    """Withdraw a clip, also while it runs."""
    _ask(context, "cancel", clip)


@verbs.command()
def retry(
    context: typer.Context,
    clip: Annotated[
        str,
        typer.Argument(metavar="CLIP", help=f"{CLIP_HELP} Left out with --previews.", autocompletion=complete.clips),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Even if the same was published before.")] = False,  # noqa: FBT002
    previews: Annotated[bool, typer.Option("--previews", help="Every clip that has only a preview.")] = False,  # noqa: FBT002
) -> None:
    """Run a clip that ended once more."""
    if bool(clip) == previews:
        raise typer.BadParameter("give a clip or --previews, and not both")
    _ask(context, "retry", clip, force=force, previews=previews)


@verbs.command()
def pause(context: typer.Context) -> None:
    """Finish what runs and start no more clips, until `povwatch resume`."""
    _ask(context, "pause", "")


@verbs.command()
def resume(context: typer.Context) -> None:
    """Start clips again after `povwatch pause`."""
    _ask(context, "resume", "")


@verbs.command()
def clean(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,  # noqa: FBT002
) -> None:
    """Remove staging, checkpoints, error files and temporary files that nobody needs any more."""
    config = shared(context).config()
    state = config.paths.state
    if holder(state) is None:
        answer = _alone(config, state, dry=dry_run)
    else:
        spool = RequestSpool(state)
        found = spool.wait(spool.ask("clean", "", dry_run=dry_run), CLEAN_PATIENCE)
        if found is None:
            raise PovwatchError(f"The daemon has not answered within {CLEAN_PATIENCE:.0f} s.", "See its log.")
        answer = found
    for line in answer.lines:
        console.print(plain(line), soft_wrap=True)
    console.print(plain(answer.text), soft_wrap=True)
    if not answer.done:
        raise typer.Exit(1)


def _ask(context: typer.Context, verb: str, clip: str, *, patience: float = PATIENCE, **options: bool) -> None:
    config = shared(context).config()
    state = config.paths.state
    if clip and holder(state) is None and (why := _unanswerable(config, verb, clip, options)):
        console.print(plain(f"{clip}: {why}"), soft_wrap=True)
        raise typer.Exit(1)
    spool = RequestSpool(state)
    request = spool.ask(verb, clip, **options)
    if holder(state) is None:
        console.print("No daemon is running: the request is kept and taken at its start.", soft_wrap=True)
        return
    answer = spool.wait(request, patience)
    if answer is None:
        console.print(f"The daemon has not answered within {patience:.0f} s. See its log.")
        raise typer.Exit(1)
    console.print(plain(f"{clip}: {answer.text}" if clip else answer.text), soft_wrap=True)
    for line in answer.lines:
        console.print(plain(line), soft_wrap=True)
    if not answer.done:
        raise typer.Exit(1)


def _unanswerable(config: Config, verb: str, clip: str, options: Mapping[str, bool]) -> str:
    """The reason why a daemon would refuse the request at its start; empty if it may accept it.

    A clip that was copied after the last daemon ended is not in the journal; it suffices that it is in inputs/.
    """
    try:
        with open_reader(config.paths.state) as reader:
            seen = reader.known().keys()
            numbered = None if (number := number_of(clip)) is None else reader.job(number)
        word = clip.removeprefix(f"{config.paths.inputs}/")
        found = meant(seen, word)[0] or ([numbered.path] if numbered else [])
        here = None if found else listing(config)
    except (JournalError, EnvironmentFault):  # no daemon ever ran, or inputs/ is away: unknown
        return ""
    if here and (here.unreadable or meant(here.clips.keys() | here.links.keys(), word)[0]):
        return ""
    known = [*here.clips, *seen] if here else seen
    return unanswerable(verb, [f"--{name}" for name, given in options.items() if given], clip, found, known)


def _alone(config: Config, state: Path, *, dry: bool) -> Answer:
    """Clean without a daemon; none can start meanwhile."""
    with open_reader(state) as journal:  # before the lock, which would make files where no daemon ever ran
        try:
            lock = JournalLock(state)
        except PermissionError as error:
            raise PovwatchError(
                f"You may not write to {state}.", "Do it as povwatch's own user: sudo -u povwatch povwatch clean"
            ) from error
        with lock:
            found = clean_up.judge(clean_up.find(config, time.time()), journal)
            kept = [] if dry else clean_up.remove(config, found)
    return clean_up.answer(found, kept, dry=dry)
