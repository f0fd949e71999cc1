"""povwatch prompts: lists and shows prompt templates."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from povwatch.cli.app import app, console, plain, shared
from povwatch.service.log import one_line
from povwatch.spec.configured import check_name, configured_templates
from povwatch.spec.variables import VARIABLES


class What(StrEnum):
    """What the command does."""

    LIST = "list"
    SHOW = "show"


@app.command()
def prompts(
    context: typer.Context,
    what: Annotated[
        What,
        typer.Argument(metavar="list|show", help="list: all of them; show: one, as a file to start your own from."),
    ],
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="With show: which one.")] = "",
) -> None:
    """List the prompt templates, or show one."""
    if (what is What.SHOW) != bool(template):
        raise typer.BadParameter("give a template's name with show, and none with list")
    config = shared(context).config()
    templates = configured_templates(config)
    if what is What.LIST:
        width = max(map(len, ["template", *templates]))
        console.print(f"[bold]{'template':<{width}}  from      for[/bold]", soft_wrap=True)
        for name, found in sorted(templates.items()):
            mine = config.spec.templates and found.place.startswith(config.spec.templates)
            whose = "yours" if mine else "povwatch"
            console.print(plain(f"{name:<{width}}  {whose:<8}  {found.description}"), soft_wrap=True)
        console.print()
        yours = config.spec.templates or "a folder of yours, which spec.templates names"
        console.print(plain(f"Used for new clips: {config.spec.template}. Yours go into {yours}."), soft_wrap=True)
        console.print("In their texts you may write:")
        for variable, meaning in VARIABLES.items():
            console.print(plain(f"  {{{variable}}}  {meaning}"), soft_wrap=True)
        return
    check_name(template, templates, template)
    typer.echo("\n".join(map(one_line, templates[template].text.splitlines())))
