"""povwatch specs, schema: the JSON files, without a daemon."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch import layout
from povwatch.arrival.scan import scan
from povwatch.cli.app import app, shared
from povwatch.errors import ConfigError, JournalError
from povwatch.journal import open_reader
from povwatch.spec import Spec
from povwatch.spec.beside import InputsFolder
from povwatch.spec.folders import template_for
from povwatch.spec.prompts import default_spec, load_templates

if TYPE_CHECKING:
    from povwatch.config import Config


@app.command()
def specs(
    context: typer.Context,
    template: Annotated[str | None, typer.Option(help="The prompt template; else as configured.")] = None,
) -> None:
    """Write a JSON beside every clip that lacks one, and exit."""
    config = shared(context).config()
    templates = load_templates(Path(config.spec.templates) if config.spec.templates else None)
    if template is not None and template not in templates:
        raise ConfigError(f"--template {template} is no template.", f"There are {', '.join(templates)}.")
    folder = InputsFolder(config.paths.inputs)
    written = 0
    found = bases(config)
    for path, base in found.items():
        _, name = layout.split(path)
        chosen = templates[template or template_for(config.spec, path)]
        weights = {str(key): weight for key, weight in config.spec.controls.items()}
        data = default_spec(name, base, chosen, controls=weights, seed=config.spec.seed, guidance=config.spec.guidance)
        beside = layout.beside(path, base)
        if folder.write_spec(beside.spec, data):
            written += 1
            typer.echo(f"{layout.shown(beside.spec)}: written, template {chosen.name}")
    typer.echo(f"{written} written, {len(found) - written} there already.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    typer.echo(json.dumps(Spec.model_json_schema(), indent=2))


def bases(config: Config) -> dict[bytes, bytes]:
    """Every clip in inputs/ and the base that it goes by: as journalled, else first come by name."""
    extensions = frozenset(extension.encode() for extension in config.arrival.extensions)
    listing = scan(config.paths.inputs, extensions=extensions, recursive=config.arrival.recursive, clock=time.monotonic)
    try:
        with open_reader(config.paths.state) as reader:
            known = {path: known.base for path, known in reader.known().items()}
    except JournalError:
        known = {}
    return layout.assign_bases(sorted(listing.clips, key=layout.precedence), known)
