"""povwatch specs, schema, prompts: the JSON files and their templates, without a daemon.

The rules of `specs --force`, which replaces existing files:

1. An edited JSON is never lost: it is kept beside the new one, as `.clip.json.old`.
   A text that povwatch itself wrote, byte for byte and from any template, is replaced.
2. A clip that runs or is done keeps its JSON: another one would make another run of it, and cost GPU minutes that
   nobody asked for.
3. A JSON that is open in an editor is left alone: saving it would undo the change.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import replace
from enum import Enum, StrEnum, auto
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli import complete, editor
from povwatch.cli.app import console, plain, shared, verbs
from povwatch.cli.clips_here import bases, digest_of, known, probed, recorded_info
from povwatch.core import layout
from povwatch.core.errors import ConfigError, EnvironmentFault, SpecInvalid
from povwatch.core.job import CLAIMED, JobState
from povwatch.files.signature import signature, written_on
from povwatch.service.log import one_line
from povwatch.spec.choices import looks_possible
from povwatch.spec.first import choose, first_spec, needs_digest, needs_duration
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.model import Spec
from povwatch.spec.prompts import check_name, configured_templates
from povwatch.spec.variables import VARIABLES, Facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from povwatch.config.settings import Config
    from povwatch.journal.reader import Known
    from povwatch.spec.prompts import Template


@verbs.command()
def specs(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Only the clips of this folder and those in it; all of inputs/ if left out."
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="The prompt template; goes over spec.template and spec.folders.",
            autocompletion=complete.templates,
        ),
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
    files = SpecWriter(config, templates, template=template, dry=dry_run)
    below = _below(config, folder)
    counts = dict.fromkeys(Outcome, 0)
    for path, base in bases(config).items():
        if not path.startswith(below):
            continue
        outcome, message = files.write(path, base, force=force)
        counts[outcome] += 1
        if message:
            typer.echo(f"{layout.shown(layout.beside(path, base).spec)}: {message}")
    would = "would be " if dry_run else ""
    text = f"{counts[Outcome.WRITTEN]} {would}written, {counts[Outcome.THERE]} there already"
    if force:
        text += f", {counts[Outcome.LEFT]} left as they are"
    if counts[Outcome.FAILED]:
        text += f", {counts[Outcome.FAILED]} not written"
    typer.echo(f"{text}.")
    if counts[Outcome.FAILED]:
        raise typer.Exit(1)


@verbs.command()
def schema(
    context: typer.Context,
    *,
    install: Annotated[
        bool,
        typer.Option("--install", help="Put it beside inputs/, where VS Code completes and checks JSONs by it."),
    ] = False,
) -> None:
    """Print the JSON Schema of a spec, for editors."""
    if not install:
        typer.echo(json.dumps(Spec.model_json_schema(), indent=2))
        return
    done = editor.install(shared(context).config().paths.inputs)
    for line in done.lines:
        console.print(plain(line), soft_wrap=True)
    if done.todo:
        typer.echo(done.todo)
        raise typer.Exit(1)


class What(StrEnum):
    """What the command does."""

    LIST = "list"
    SHOW = "show"


@verbs.command()
def prompts(
    context: typer.Context,
    what: Annotated[
        What,
        typer.Argument(metavar="list|show", help="list: all of them; show: one, as a file to start your own from."),
    ],
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="With show: which one.", autocompletion=complete.templates)
    ] = "",
) -> None:
    """List the prompt templates, or show one."""
    if (what is What.SHOW) != bool(template):
        raise typer.BadParameter("give a template's name with show, and none with list")
    config = shared(context).config()
    templates = configured_templates(config)
    if what is What.LIST:
        _list(config, templates)
        return
    check_name(template, templates, template)
    lines = templates[template].text.splitlines()
    lines += [f"# {{{name}}}: {' | '.join(words)}" for name, words in templates[template].choices.items()]
    typer.echo("\n".join(map(one_line, lines)))


def _list(config: Config, templates: Mapping[str, Template]) -> None:
    """Print every template on a line, then what their texts may contain."""
    rows = [("template", "from", "controls", "for")]
    for name, found in sorted(templates.items()):
        mine = config.spec.templates and found.place.startswith(config.spec.templates)
        draws = f"[{looks_possible(found.choices):,} looks] " if found.choices else ""
        rows.append((name, "yours" if mine else "povwatch", _controls(found), f"{draws}{found.description}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        line = plain("  ".join(cells).rstrip())
        console.print(f"[bold]{line}[/bold]" if row is rows[0] else line, soft_wrap=True)
    console.print()
    usual = ", ".join(f"{key} {weight:g}" for key, weight in config.spec.controls.items())
    yours = config.spec.templates or "a folder of yours, which spec.templates names"
    console.print(plain(f"Used for new clips: {config.spec.template}. Yours go into {yours}."), soft_wrap=True)
    console.print(plain(f"A template without controls leaves them to spec.controls: {usual}."), soft_wrap=True)
    console.print("In their texts you may write:")
    for variable, meaning in VARIABLES.items():
        console.print(plain(f"  {{{variable}}}  {meaning}"), soft_wrap=True)
    choice = "  {light: morning sun|lamp}  one of these, drawn for each clip; {light} elsewhere stands for the same"
    console.print(plain(choice), soft_wrap=True)


def _controls(template: Template) -> str:
    """A template's controls and their weights in a few words, such as "edge 1, seg 0.4 (mask), vis 0.6"."""
    words = []
    for key, control in template.controls.items():
        masked = " (mask)" if control.get("mask_path") or control.get("mask_prompt") else ""
        words.append(f"{key} {control.get('control_weight', 1.0):g}{masked}")
    if template.settings.get("guided_generation_mask"):
        words.append("guided by a mask")
    return ", ".join(words) or "-"


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


class Outcome(Enum):
    """The outcome for one clip."""

    WRITTEN = auto()
    THERE = auto()
    LEFT = auto()
    FAILED = auto()


class SpecWriter:
    """The JSON files of the clips in inputs/."""

    def __init__(
        self, config: Config, templates: Mapping[str, Template], *, template: str | None = None, dry: bool = False
    ) -> None:
        """`template` is a requested one, which overrides each folder's; `dry` writes nothing."""
        self._config = config
        self._templates = templates
        self._template = template
        self._dry = dry
        self._folder = InputsFolder(config.paths.inputs)

    def write(self, path: bytes, base: bytes, *, force: bool) -> tuple[Outcome, str]:
        """Write a clip's JSON, or replace it; returns the outcome and a message."""
        spec = layout.beside(path, base).spec
        there = os.path.lexists(self._config.paths.inputs / os.fsdecode(spec))
        if there and not force:
            return Outcome.THERE, ""
        if there and (why := self._reason_to_keep(path, spec)):
            return Outcome.LEFT, f"left as it is: {why}"
        try:
            return self._write(path, base, spec, there=there)
        except (EnvironmentFault, FileExistsError) as error:
            return Outcome.FAILED, f"not written: {error}"

    def _write(self, path: bytes, base: bytes, spec: bytes, *, there: bool) -> tuple[Outcome, str]:
        template = choose(self._config.spec, self._templates, path, template=self._template)
        facts = self.facts(path, template)
        if facts is None:
            has = "{duration}" if needs_duration(template) else "choices, which are drawn for the clip's content"
            return (
                Outcome.FAILED,
                f"not written: template {template.name} has {has}, and the clip is no whole video (yet)",
            )
        data = first_spec(self._config.spec, template, base, facts)
        if there:
            return self._replace(spec, data, template, facts, base)
        if self._dry or self._folder.write_spec(spec, data):
            return Outcome.WRITTEN, self._message("written", template)
        return Outcome.THERE, ""

    def _reason_to_keep(self, path: bytes, spec: bytes) -> str:
        """The reason why an existing JSON must stay; empty if it may be replaced."""
        job = self._known.get(path)
        if job is not None and job.state in CLAIMED:
            return f"the clip is {job.state}"
        if job is not None and job.state is JobState.DONE:
            return "the clip is done, and another JSON would run it again; remove the JSON first if you want that"
        try:
            if lock := self._folder.editor_open(spec, time.time()):
                return f"it is open in an editor ({layout.shown(lock)} is there)"
            self._folder.read_spec(spec)
        except (EnvironmentFault, SpecInvalid) as error:
            return str(error)
        return ""

    def _replace(self, spec: bytes, data: bytes, template: Template, facts: Facts, base: bytes) -> tuple[Outcome, str]:
        file = self._folder.read_spec(spec)
        old = file.data if file else b""
        if old == data:
            return Outcome.THERE, ""

        def ours(text: bytes) -> bool:
            return text in self._ours(facts, base, drawn=b'"drawn"' in text)

        if self._dry:
            kept = "" if ours(old) else "; what somebody wrote there would be kept beside it"
        else:
            aside = self._folder.rewrite_spec(spec, data, ours=ours)
            kept = "" if aside is None else f"; what somebody wrote there is kept as {layout.shown(aside)}"
        return Outcome.WRITTEN, self._message("written anew", template) + kept

    def _message(self, what: str, template: Template) -> str:
        return f"{'would be ' if self._dry else ''}{what}, template {template.name}"

    def _ours(self, facts: Facts, base: bytes, *, drawn: bool) -> set[bytes]:
        """Every text that povwatch itself may have written there; of templates with choices only if `drawn`."""
        clip = self._config.paths.inputs / os.fsdecode(facts.path)
        if facts.duration is None and any(needs_duration(template) for template in self._templates.values()):
            facts = replace(facts, duration=self._duration(clip))
        if drawn and facts.digest is None:
            facts = replace(facts, digest=digest_of(self._config, clip))
        found = set()
        for template in [*self._templates.values(), *self._of_folder(facts.path)]:
            lacks = (needs_duration(template) and facts.duration is None) or (
                needs_digest(template) and not facts.digest
            )
            if not lacks:
                found.add(first_spec(self._config.spec, template, base, facts))
        return found

    def _of_folder(self, path: bytes) -> Iterator[Template]:
        """Every template as it is for this clip's folder."""
        for name in self._templates:
            with contextlib.suppress(ConfigError):  # it does not go with the folder's negative prompt
                yield choose(self._config.spec, self._templates, path, template=name)

    def facts(self, path: bytes, template: Template) -> Facts | None:
        """The facts about a clip; None if its template needs what only a whole video has, and the clip is none."""
        clip: Path = self._config.paths.inputs / os.fsdecode(path)
        duration = digest = None
        if needs_duration(template) and (duration := self._duration(clip)) is None:
            return None
        if needs_digest(template) and (digest := digest_of(self._config, clip)) is None:
            return None
        try:
            return Facts(path, written_on(signature(clip.lstat())), duration, digest)
        except OSError:  # it has just gone away
            return None

    def _duration(self, clip: Path) -> float | None:
        if info := recorded_info(self._config, clip):
            return info.duration
        found = probed(clip)
        rate = Fraction(found.rate) if found else Fraction(0)
        return float(found.frames / rate) if found and rate else None

    @cached_property
    def _known(self) -> dict[bytes, Known]:
        return known(self._config)
