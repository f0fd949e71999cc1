"""povwatch check: validates JSON files as the daemon would, without a daemon."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path  # noqa: TC003 - typer reads it as it runs
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.arrival.look_files import RENAME
from povwatch.cli.app import shared, verbs
from povwatch.cli.clips_here import bases, listing, probed, recorded_info
from povwatch.cli.prefetch import kind_here
from povwatch.core import layout, looks
from povwatch.core.errors import PovwatchError, SpecInvalid
from povwatch.engines.abilities import REAL, Abilities
from povwatch.engines.guardrail_filters import lacking
from povwatch.gpu import nvml
from povwatch.grace.named_files import judge, measure, unusable, upright
from povwatch.grace.prompt_filters import refusals
from povwatch.media.fit import Shape
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.lint import lint
from povwatch.spec.parse import named_clip, parse, refused
from povwatch.spec.problems import explain
from povwatch.workers.filters_here import FiltersHere
from povwatch.workers.launch import text_filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from povwatch.config.settings import Config
    from povwatch.core.errors import Problem
    from povwatch.media.info import Measured
    from povwatch.spec.model import Spec
    from povwatch.spec.references import NamedFile

NO_CLIP = (b".json", b".txt", b".go", b".hold")
"""Suffixes of the files beside clips."""


@verbs.command()
def check(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="JSON files; all of inputs/ if left out.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="KIND", help="Judge for this engine; goes over engine.kind.")
    ] = None,
) -> None:
    """Validate JSON files as the daemon would."""
    config = shared(context).config(engine=engine)
    kind = kind_here(config)
    refused_names = _refused_names(config)
    wrong = 0
    found = list(files or _all_specs(config))
    with closing(_Filters(config, kind)) as filters:
        judged = _Judge(config, Abilities.of(kind, config.engine, nvml.read_gpus()), filters)
        for file in found:
            why = refused_names.get(os.path.abspath(file))  # noqa: PTH100 - no link is followed
            problem = f"{layout.shown(os.fsencode(file))}: {why} {RENAME}" if why else judged.problem(file)
            wrong += problem is not None
            typer.echo(problem if problem is not None else f"{layout.shown(os.fsencode(file))}: ok")
    if files is None:
        typer.echo(f"{len(found)} looked at, {wrong} to be put right.")
    if wrong:
        raise typer.Exit(1)


class _Filters:
    """The guardrail's text filters, which are loaded for the first valid JSON if their files are here."""

    def __init__(self, config: Config, kind: str) -> None:
        launch = text_filters(config, kind)
        if launch and lacking(kind, language_model=launch.config["language_model"]):
            launch = None  # doctor says so, and the engine checks the prompts
        self._launch = launch
        self._loaded: FiltersHere | None = None

    def refusals(self, texts: Mapping[str, str]) -> list[Problem]:
        """The texts that a filter refuses, by their fields. If the filters fail, a line says so, once."""
        if self._launch is None:
            return []
        try:
            if self._loaded is None:
                typer.echo("The guardrail's text filters are loaded, which takes some seconds ...", err=True)
                self._loaded = FiltersHere(self._launch)
            return refusals(dict(zip(texts, self._loaded.said(list(texts.values())), strict=True)))
        except PovwatchError as error:
            typer.echo(f"The guardrail's text filters check no prompt here: {error}", err=True)
            self._launch = None
            return []

    def close(self) -> None:
        """End their worker."""
        if self._loaded is not None:
            self._loaded.close()


@dataclass(frozen=True, slots=True)
class _Judge:
    config: Config
    abilities: Abilities
    filters: _Filters

    def problem(self, file: Path) -> str | None:
        """The error in a JSON; None if it is valid, after printing its warnings."""
        shown = layout.shown(os.fsencode(file))
        if os.path.isdir(file):  # noqa: PTH112 - Path's raises where a name is too long for any file
            return f"{shown}: a folder. Name the JSON files in it, or nothing for all of {self.config.paths.inputs}."
        if file.suffix.lower() in self.config.arrival.extensions:
            return f"{shown}: a clip. Name its JSON, which is beside it: {layout.shown(os.fsencode(file.stem))}.json."
        folder, path = InputsFolder(file.parent), os.fsencode(file.name)
        try:
            read = folder.read_spec(path)
            if read is None:
                return f"{shown}: there is no such file."
            clip = file.parent / os.fsdecode(_clip_of(file, read.data))
            spec = parse(read.data, clip_name=os.fsencode(clip.name), file=shown)
            in_file = spec.prompt_path is not None
            problems: list[Problem] = []
            try:
                spec = folder.check_references(spec, path, read.data)
            except SpecInvalid as error:
                problems += error.problems
            if problems := [*self._problems(folder, path, spec, clip), *problems]:
                raise refused(problems, file=shown, data=read.data)
            texts = self.abilities.checked_texts(spec, in_file=in_file)
            if problems := self.filters.refusals(texts):
                raise refused(problems, file=shown, data=read.data)
        except SpecInvalid as error:
            return explain(error).rstrip()
        except PovwatchError as error:
            return f"{shown}: {error}"
        for warning in [*lint(spec), *self.abilities.notes(spec.asked(), spec.povwatch.speed)]:
            typer.echo(f"{shown}: warning: {warning}")
        return None

    def _problems(self, folder: InputsFolder, path: bytes, spec: Spec, clip: Path) -> list[Problem]:
        """What the engine cannot do, and which files do not fit the clip, as far as known."""
        files = folder.named_files(spec, path)
        # Probing a clip takes a while, so it is done only if needed.
        shape = self._shape(clip) if files or self.abilities.kind in REAL else None
        problems = spec.in_its_words(self.abilities.refusals(spec.asked(), shape, spec.povwatch.speed))
        if shape is None:
            return problems

        def measured(named: NamedFile, kind: str) -> Measured | Problem:
            try:
                return measure(folder.root, named.path, kind)
            except PovwatchError as error:
                return unusable(error)

        return [*problems, *judge(files, spec, shape, abilities=self.abilities, measured=measured)[0]]

    def _shape(self, clip: Path) -> Shape | None:
        """A clip's shape, from the journal if the file has not changed; None if it is no complete video."""
        if info := recorded_info(self.config, clip):
            return upright(info)
        found = probed(clip)
        return Shape(found.frames, found.width, found.height, Fraction(found.rate)) if found else None


def _clip_of(file: Path, data: bytes) -> bytes:
    """The clip of a JSON: the one beside it that has its name."""
    stem = os.fsencode(file.stem)
    beside = sorted(os.listdir(os.fsencode(file.parent)))  # noqa: PTH208 - bytes
    clips = [name for name in beside if layout.stem_of(name) == stem and not name.endswith(NO_CLIP)]
    full = [name for name in beside if name == stem]
    try:
        named = os.fsencode(named_clip(data) or "")
    except UnicodeEncodeError:  # half a character: no file has such a name
        named = b""
    if b"\0" in named:
        named = b""
    if named in clips + full:
        return named
    if found := full or clips:
        return found[0]
    base = stem.rpartition(b".")[0]  # it may be the JSON of a further look
    clips = [name for name in beside if base in {layout.stem_of(name), name} and not name.endswith(NO_CLIP)]
    return named if named in clips or not clips else clips[0]


def _refused_names(config: Config) -> dict[str, str]:
    """Absolute paths of the JSONs in inputs/ whose look cannot have its name, with the reasons.

    Of two that differ in case alone, the first one can.
    """
    base_of, taken, found = bases(config), dict[bytes, list[str]](), dict[str, str]()
    for spec, owner in _owned(config):
        if not owner.look:
            continue
        others = taken.setdefault(owner.clip, [])
        if why := looks.refusal(owner.look, base_of[owner.clip], others=others):
            found[os.path.abspath(config.paths.inputs / os.fsdecode(spec))] = why  # noqa: PTH100 - no link is followed
        else:
            others.append(owner.look)
    return found


def _all_specs(config: Config) -> Iterable[Path]:
    for spec, _ in _owned(config):
        yield config.paths.inputs / os.fsdecode(spec)


def _owned(config: Config) -> Iterator[tuple[bytes, looks.Owner]]:
    """Every JSON in inputs/ that belongs to a clip, with its owner, in order."""
    holders = {(layout.split(path)[0], base): path for path, base in bases(config).items()}
    for spec in sorted(listing(config).specs):
        if owner := looks.owner(spec, lambda *base: holders.get(base), suffixes=config.arrival.suffixes):
            yield spec, owner
