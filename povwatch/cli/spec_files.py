"""Writes one clip's JSON, for povwatch specs.

The rules of --force, which replaces existing files:

1. An edited JSON is never lost: it is kept beside the new one, as `.clip.json.old`.
   A text that povwatch itself wrote, byte for byte and from any template, is replaced.
2. A clip that runs or is done keeps its JSON: another one would make another run of it, and cost GPU minutes that
   nobody asked for.
3. A JSON that is open in an editor is left alone: saving it would undo the change.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from enum import Enum, auto
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from povwatch.cli.clips_here import journalled, known, looked_into
from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault, SpecInvalid
from povwatch.core.job import CLAIMED, JobState
from povwatch.files.signature import signature, written_on
from povwatch.spec.first import choose, first_spec, needs_duration
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.variables import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from povwatch.config.settings import Config
    from povwatch.journal.reader import Known
    from povwatch.spec.prompts import Template


class Done(Enum):
    """The outcome for one clip."""

    WRITTEN = auto()
    THERE = auto()
    LEFT = auto()
    FAILED = auto()


class SpecFiles:
    """The JSON files of the clips in inputs/."""

    def __init__(
        self, config: Config, templates: Mapping[str, Template], *, template: str | None = None, dry: bool = False
    ) -> None:
        """Write nothing yet.

        Args:
            templates: by name.
            template: a requested template, which overrides each folder's.
            dry: whether this is a dry run.
        """
        self._config = config
        self._templates = templates
        self._template = template
        self._dry = dry
        self._folder = InputsFolder(config.paths.inputs)

    def see_to(self, path: bytes, base: bytes, *, force: bool) -> tuple[Done, str]:
        """Write a clip's JSON, or replace it; returns the outcome and a message.

        Args:
            base: what the clip's files are called.
            force: whether an existing JSON is replaced.
        """
        spec = layout.beside(path, base).spec
        there = os.path.lexists(self._config.paths.inputs / os.fsdecode(spec))
        if there and not force:
            return Done.THERE, ""
        if there and (why := self._let_be(path, spec)):
            return Done.LEFT, f"left as it is: {why}"
        try:
            return self._write(path, base, spec, there=there)
        except (EnvironmentFault, FileExistsError) as error:
            return Done.FAILED, f"not written: {error}"

    def _write(self, path: bytes, base: bytes, spec: bytes, *, there: bool) -> tuple[Done, str]:
        template = choose(self._config.spec, self._templates, path, template=self._template)
        facts = self._facts(path, template)
        if facts is None:
            why = f"template {template.name} has {{duration}}, and the clip is no whole video (yet)"
            return Done.FAILED, f"not written: {why}"
        data = first_spec(self._config.spec, template, base, facts)
        if there:
            return self._anew(spec, data, template, facts, base)
        if self._dry or self._folder.write_spec(spec, data):
            return Done.WRITTEN, self._said("written", template)
        return Done.THERE, ""

    def _let_be(self, path: bytes, spec: bytes) -> str:
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

    def _anew(self, spec: bytes, data: bytes, template: Template, facts: Facts, base: bytes) -> tuple[Done, str]:
        file = self._folder.read_spec(spec)
        old = file.data if file else b""
        if old == data:
            return Done.THERE, ""

        def ours(text: bytes) -> bool:
            return text in self._ours(facts, base)

        if self._dry:
            kept = "" if ours(old) else "; what somebody wrote there would be kept beside it"
            return Done.WRITTEN, self._said("written anew", template) + kept
        aside = self._folder.rewrite_spec(spec, data, ours=ours)
        kept = "" if aside is None else f"; what somebody wrote there is kept as {layout.shown(aside)}"
        return Done.WRITTEN, self._said("written anew", template) + kept

    def _said(self, what: str, template: Template) -> str:
        return f"{'would be ' if self._dry else ''}{what}, template {template.name}"

    def _ours(self, facts: Facts, base: bytes) -> set[bytes]:
        """Every text that povwatch itself may have written there."""
        if facts.duration is None and any(needs_duration(template) for template in self._templates.values()):
            facts = replace(facts, duration=self._duration(self._config.paths.inputs / os.fsdecode(facts.path)))
        plain = [*self._templates.values()]
        of_folder = [choose(self._config.spec, self._templates, facts.path, template=name) for name in self._templates]
        usable = [t for t in [*plain, *of_folder] if facts.duration is not None or not needs_duration(t)]
        return {first_spec(self._config.spec, template, base, facts) for template in usable}

    def _facts(self, path: bytes, template: Template) -> Facts | None:
        """The facts about a clip; None if its template needs its duration and the clip cannot be probed."""
        clip: Path = self._config.paths.inputs / os.fsdecode(path)
        duration = None
        if needs_duration(template):
            duration = self._duration(clip)
            if duration is None:
                return None
        try:
            return Facts(path, written_on(signature(clip.lstat())), duration)
        except OSError:  # it has just gone away
            return None

    def _duration(self, clip: Path) -> float | None:
        if info := journalled(self._config, clip):
            return info.duration
        found = looked_into(clip)
        rate = Fraction(found.rate) if found else Fraction(0)
        return float(found.frames / rate) if found and rate else None

    @cached_property
    def _known(self) -> dict[bytes, Known]:
        return known(self._config)
