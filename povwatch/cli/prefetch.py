"""povwatch prefetch: fetches and verifies the engine's model files, so that the service needs no network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from povwatch.cli.app import console, shared, verbs
from povwatch.core.command import command
from povwatch.core.errors import JournalError
from povwatch.engines.choice import choose
from povwatch.engines.needs import needs
from povwatch.gpu import nvml
from povwatch.journal import open_reader
from povwatch.models.missing import wishes

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.engines.choice import Choice
    from povwatch.gpu.nvml import Gpus


@verbs.command()
def prefetch(
    context: typer.Context,
    engine: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Fetch for this engine, cosmos or diffusers; goes over engine.kind."),
    ] = None,
    *,
    mask_prompts: Annotated[
        bool, typer.Option("--mask-prompts", help="Fetch also what finds a mask by its prompt (cosmos).")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look what is here; needs no network.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file again, even those that have not changed.")
    ] = False,
) -> None:
    """Fetch and check the model files, so that the service can run without a network.

    Safe to repeat: what is here stays, and what was cut off goes on.
    """
    config = shared(context).config(engine=engine)
    engine_kind = kind_here(config)
    wanted = needs(engine_kind, wishes(config, mask_prompts=mask_prompts))
    if not wanted:
        console.print(
            f"The engine is {escape(engine_kind)}: no model files are known for it. "
            f"For a real one: {escape(command('prefetch', '--engine', 'cosmos'))} (or diffusers)",
            soft_wrap=True,
        )
        return
    # The hub's client is slow to import, and no other verb needs it.
    from povwatch.models import prefetch as models  # noqa: PLC0415

    run = models.check if check else models.fetch_all
    problems = run(console, engine_kind, wanted, config.paths.state, verify=verify)
    for problem in problems:
        console.print(f"[red]missing[/red]  {escape(problem)}", soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    console.print(f"The {engine_kind} engine needs no network now. For the service: {environment()}", soft_wrap=True)


def kind_here(config: Config) -> str:
    """The configured engine, or the one that would be chosen on this machine."""
    return chosen(config, nvml.read_gpus()).kind if config.engine.kind == "auto" else config.engine.kind


def chosen(config: Config, gpus: Gpus) -> Choice:
    """The engine that would be chosen on this machine."""
    try:
        with open_reader(config.paths.state) as reader:
            before = reader.real_engine()
    except JournalError:
        before = None
    return choose(config, gpus, before)


def environment() -> str:
    """The line for the service's unit that keeps it to local files."""
    names = ("HF_HOME", "HF_HUB_CACHE", "COSMOS_CACHE_DIR")
    places = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
    return " ".join(["Environment=HF_HUB_OFFLINE=1", *places])
