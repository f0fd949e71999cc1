"""povwatch run: the daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from povwatch import log
from povwatch.cli.app import app, shared
from povwatch.daemon.loop import Daemon
from povwatch.daemon.summary import summarise


@app.command()
def run(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Drain the folder, print a summary, exit.")] = False,  # noqa: FBT002
    engine: Annotated[str | None, typer.Option(help="auto, cosmos, diffusers or preview.")] = None,
    grace: Annotated[str | None, typer.Option(help='Time to edit a JSON, such as "30s".')] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the engine's own output too.")] = False,  # noqa: FBT002
) -> None:
    """Watch inputs/ and run what arrives."""
    config = shared(context).config(grace=grace, engine=engine)
    log.configure(verbose=verbose)
    daemon = Daemon(config, once=once)
    outcome = daemon.run()
    if once:
        raise typer.Exit(summarise(outcome))
