"""povwatch go, hold, retry, cancel, pause, resume: requests to the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from povwatch.cli.app import CLIP_HELP, Clip, app, console, plain, shared
from povwatch.journal.lock import holder
from povwatch.spool import Spool

PATIENCE = 10.0
"""Seconds for an answer: the daemon looks twice a second, but a disk may be slow."""


@app.command()
def go(context: typer.Context, clip: Clip) -> None:
    """Start a clip now, without the rest of its grace."""
    _ask(context, "go", clip)


@app.command()
def hold(context: typer.Context, clip: Clip) -> None:
    """Keep a clip from starting, until `povwatch go` lets it."""
    _ask(context, "hold", clip)


@app.command()
def cancel(context: typer.Context, clip: Clip) -> None:
    """Withdraw a clip, also while it runs."""
    _ask(context, "cancel", clip)


@app.command()
def retry(
    context: typer.Context,
    clip: Annotated[str, typer.Argument(help=f"{CLIP_HELP} Left out with --previews.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Even if the same was published before.")] = False,  # noqa: FBT002
    previews: Annotated[bool, typer.Option("--previews", help="Every clip that has only a preview.")] = False,  # noqa: FBT002
) -> None:
    """Run a clip that ended once more."""
    if bool(clip) == previews:
        raise typer.BadParameter("give a clip or --previews, and not both")
    _ask(context, "retry", clip, force=force, previews=previews)


@app.command()
def pause(context: typer.Context) -> None:
    """Finish what runs and start no more clips, until `povwatch resume`."""
    _ask(context, "pause", "")


@app.command()
def resume(context: typer.Context) -> None:
    """Start clips again after `povwatch pause`."""
    _ask(context, "resume", "")


def _ask(context: typer.Context, verb: str, clip: str, **options: bool) -> None:
    state = shared(context).config().paths.state
    spool = Spool(state)
    request = spool.ask(verb, clip, **options)
    if holder(state) is None:
        console.print("No daemon is running: the request is kept and taken at its start.")
        return
    answer = spool.wait(request, PATIENCE)
    if answer is None:
        console.print(f"The daemon has not answered within {PATIENCE:.0f} s. See its log.")
        raise typer.Exit(1)
    console.print(plain(f"{clip}: {answer.text}" if clip else answer.text), soft_wrap=True)
    if not answer.done:
        raise typer.Exit(1)
