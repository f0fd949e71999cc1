"""povwatch specs, check, schema: the JSON files, without a daemon."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch import layout
from povwatch.arrival.scan import scan
from povwatch.cli.app import app, shared
from povwatch.errors import ConfigError, JournalError, PovwatchError, SpecInvalid
from povwatch.journal import open_reader
from povwatch.spec import Spec, explain, lint, parse
from povwatch.spec.beside import InputsFolder
from povwatch.spec.folders import template_for
from povwatch.spec.prompts import default_spec, load_templates

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    bases = _bases(config)
    for path, base in bases.items():
        _, name = layout.split(path)
        chosen = templates[template or template_for(config.spec, path)]
        weights = {str(key): weight for key, weight in config.spec.controls.items()}
        data = default_spec(name, base, chosen, controls=weights, seed=config.spec.seed, guidance=config.spec.guidance)
        beside = layout.beside(path, base)
        if folder.write_spec(beside.spec, data):
            written += 1
            typer.echo(f"{layout.shown(beside.spec)}: written, template {chosen.name}")
    typer.echo(f"{written} written, {len(bases) - written} there already.")


@app.command()
def check(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="JSON files; all of inputs/ if left out.")] = None,
) -> None:
    """Validate JSON files as the daemon would."""
    wrong = 0
    found = list(files or _all_specs(shared(context).config()))
    for file in found:
        problem = _check(file)
        wrong += problem is not None
        typer.echo(problem if problem is not None else f"{layout.shown(os.fsencode(file))}: ok")
    if files is None:
        typer.echo(f"{len(found)} looked at, {wrong} to be put right.")
    if wrong:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    typer.echo(json.dumps(Spec.model_json_schema(), indent=2))


def _check(file: Path) -> str | None:
    """What is wrong with a JSON; None, and its warnings on the screen, if nothing is."""
    shown = layout.shown(os.fsencode(file))
    folder, path = InputsFolder(file.parent), os.fsencode(file.name)
    try:
        read = folder.read_spec(path)
        if read is None:
            return f"{shown}: there is no such file."
        spec = parse(read.data, clip_name=_clip_of(file, read.data), file=shown)
        folder.check_references(spec, path, read.data)
    except SpecInvalid as error:
        return explain(error).rstrip()
    except PovwatchError as error:
        return f"{shown}: {error}"
    for warning in lint(spec):
        typer.echo(f"{shown}: warning: {warning}")
    return None


def _clip_of(file: Path, data: bytes) -> bytes:
    """The clip that a JSON belongs to: the one beside it that goes by its name."""
    stem = os.fsencode(file.stem)
    beside = sorted(os.listdir(os.fsencode(file.parent)))  # noqa: PTH208 - bytes
    clips = [name for name in beside if layout.stem_of(name) == stem and not name.endswith(_NO_CLIP)]
    full = [name for name in beside if name == stem]
    try:
        named = os.fsencode(str(json.loads(data)["video_path"]))
    except (ValueError, KeyError, TypeError):
        named = b""
    if named in clips + full:
        return named
    return (full or clips or [named])[0]


_NO_CLIP = (b".json", b".txt", b".go", b".hold")


def _all_specs(config: Config) -> Iterable[Path]:
    for path, base in _bases(config).items():
        spec = config.paths.inputs / os.fsdecode(layout.beside(path, base).spec)
        if spec.exists():
            yield spec


def _bases(config: Config) -> dict[bytes, bytes]:
    """Every clip in inputs/ and the base that it goes by: as journalled, else first come by name."""
    extensions = frozenset(extension.encode() for extension in config.arrival.extensions)
    listing = scan(config.paths.inputs, extensions=extensions, recursive=config.arrival.recursive, clock=time.monotonic)
    try:
        with open_reader(config.paths.state) as reader:
            known = {path: known.base for path, known in reader.known().items()}
    except JournalError:
        known = {}
    return layout.assign_bases(sorted(listing.clips, key=layout.precedence), known)
