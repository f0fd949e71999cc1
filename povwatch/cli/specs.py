"""povwatch specs, schema: the JSON files, without a daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import app, shared
from povwatch.cli.clips_here import bases
from povwatch.cli.spec_files import Done, SpecFiles
from povwatch.core import layout
from povwatch.core.errors import ConfigError
from povwatch.spec import Spec
from povwatch.spec.configured import check_name, configured_templates

if TYPE_CHECKING:
    from povwatch.config.settings import Config


@app.command()
def specs(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Only the clips of this folder and those in it; all of inputs/ if left out."
        ),
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="T", help="The prompt template; goes over spec.template and spec.folders.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,  # noqa: FBT002
    force: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--force", help="Write anew what is there too; what somebody has edited is kept beside it."),
    ] = False,
) -> None:
    """Write a JSON beside every clip that lacks one, and exit."""
    config = shared(context).config()
    templates = configured_templates(config)
    if template is not None:
        check_name(template, templates, f"--template {template}")
    files = SpecFiles(config, templates, template=template, dry=dry_run)
    below = _below(config, folder)
    counts = dict.fromkeys(Done, 0)
    for path, base in bases(config).items():
        if not path.startswith(below):
            continue
        done, said = files.see_to(path, base, force=force)
        counts[done] += 1
        if said:
            typer.echo(f"{layout.shown(layout.beside(path, base).spec)}: {said}")
    would = "would be " if dry_run else ""
    text = f"{counts[Done.WRITTEN]} {would}written, {counts[Done.THERE]} there already"
    if force:
        text += f", {counts[Done.LEFT]} left as they are"
    if counts[Done.FAILED]:
        text += f", {counts[Done.FAILED]} not written"
    typer.echo(f"{text}.")
    if counts[Done.FAILED]:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    typer.echo(json.dumps(Spec.model_json_schema(), indent=2))


def _below(config: Config, folder: Path | None) -> bytes:
    """The prefix of the paths of a folder's clips; empty for all of inputs/.

    Raises:
        ConfigError: it is no folder in inputs/.
    """
    if folder is None:
        return b""
    root = Path(os.path.realpath(config.paths.inputs))
    for place in (folder, root / folder):  # relative to the current folder, else to inputs/
        real = Path(os.path.realpath(place))
        if os.path.isdir(real) and (real == root or root in real.parents):  # noqa: PTH112 - see cli/check.py
            return b"" if real == root else os.fsencode(real.relative_to(root)) + b"/"
    raise ConfigError(
        f"{folder} is no folder in {config.paths.inputs}.",
        f"Name one that is, or set paths.inputs in {config.origin}.",
    )
