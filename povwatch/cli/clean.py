"""povwatch clean: removes left-overs, through the daemon if one runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import app, console, plain, shared
from povwatch.core.errors import PovwatchError
from povwatch.journal import open_reader
from povwatch.journal.lock import JournalLock, holder
from povwatch.ops.cleaning import Cleaning, in_words
from povwatch.service.requests import Answer, Spool

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.config.settings import Config

PATIENCE = 600.0
"""Seconds to wait for the daemon's answer; folders of terabytes take long."""


@app.command()
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
        spool = Spool(state)
        found = spool.wait(spool.ask("clean", "", dry_run=dry_run), PATIENCE)
        if found is None:
            raise PovwatchError(f"The daemon has not answered within {PATIENCE:.0f} s.", "See its log.")
        answer = found
    for line in answer.lines:
        console.print(plain(line), soft_wrap=True)
    console.print(plain(answer.text), soft_wrap=True)
    if not answer.done:
        raise typer.Exit(1)


def _alone(config: Config, state: Path, *, dry: bool) -> Answer:
    """Clean without a daemon; none can start meanwhile."""
    cleaning = Cleaning(config)
    with open_reader(state) as journal:  # before the lock, which would make files where no daemon ever ran
        try:
            lock = JournalLock(state)
        except PermissionError as error:
            raise PovwatchError(
                f"You may not write to {state}.", "Do it as povwatch's own user: sudo -u povwatch povwatch clean"
            ) from error
        with lock:
            found = cleaning.judge(cleaning.look(time.time()), journal)
            kept = [] if dry else cleaning.remove(found)
    text, lines = in_words(found, kept, dry=dry)
    return Answer(not kept, text, tuple(lines))
