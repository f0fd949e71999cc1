"""What is known beside one clip, and the JSON there: written where there is none, read and judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch import layout
from povwatch.errors import EnvironmentFault, SpecInvalid
from povwatch.job import Job, Waiting
from povwatch.spec import Spec, lint, parse
from povwatch.spec.folders import template_for
from povwatch.spec.prompts import Template, default_spec
from povwatch.voice import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.config import SpecDefaults
    from povwatch.daemon.ledger import Ledger
    from povwatch.grace import Grace
    from povwatch.spec.beside import InputsFolder, SpecFile


@dataclass(slots=True)
class Gate:
    """What is known beside one clip."""

    job: int
    grace: Grace
    look_at: float
    digest: str = ""
    stat: bytes | None = None
    """The JSON's stat signature when it was last read."""
    spec: Spec | None = None
    refers: bool = False
    """Whether the JSON names other files: those may come or go without it."""
    problem: SpecInvalid | None = None
    missing_since: float | None = None
    said: Waiting | None = field(default=Waiting.GRACE)


class SpecFiles:
    """The JSON files of clips."""

    def __init__(
        self, defaults: SpecDefaults, ledger: Ledger, folder: InputsFolder, templates: Mapping[str, Template]
    ) -> None:
        """Make it.

        Args:
            defaults: what a new JSON holds.
            ledger: the jobs.
            folder: where they are.
            templates: the prompts, by name.
        """
        self._defaults = defaults
        self._ledger = ledger
        self._folder = folder
        self._templates = templates

    def read(self, gate: Gate, job: Job) -> bool:
        """Read the JSON into the gate; False if there is none.

        Raises:
            EnvironmentFault: the folder is away, or fails.
        """
        path = layout.beside(job.path, job.base).spec
        try:
            file = self._folder.read_spec(path)
        except SpecInvalid as error:
            gate.spec, gate.problem, gate.digest = None, error, error.what
            return True
        if file is None:
            return False
        gate.missing_since = None
        gate.stat = file.signature
        if file.digest != gate.digest or gate.problem or gate.refers:
            self._judge(gate, job, path, file)
        return True

    def meaning(self, job: Job, file: SpecFile) -> Spec | None:
        """What a JSON asks for; None if it cannot be run."""
        _, name = layout.split(job.path)
        try:
            spec = parse(file.data, clip_name=name, file="")
            return self._folder.check_references(spec, layout.beside(job.path, job.base).spec, file.data)
        except (SpecInvalid, EnvironmentFault):
            return None

    def ensure(self, job: Job, *, again: bool = False) -> SpecFile | None:
        """See that there is a JSON; never over one that is there. None if it cannot be read.

        Raises:
            EnvironmentFault: the folder does not take it.
        """
        beside = layout.beside(job.path, job.base)
        _, name = layout.split(job.path)
        template = self._templates[template_for(self._defaults, job.path)]
        defaults = self._defaults
        controls = {str(key): weight for key, weight in defaults.controls.items()}
        data = default_spec(name, job.base, template, controls=controls, seed=defaults.seed, guidance=defaults.guidance)
        try:
            if self._folder.write_spec(beside.spec, data):
                said = {"spec": beside.spec, "template": template.name}
                self._ledger.journal.note(job, "spec-written", self._ledger.clock.wall(), said)
                say("spec-rewritten" if again else "spec-written", job, **said)
            return self._folder.read_spec(beside.spec)
        except SpecInvalid:
            return None

    def _judge(self, gate: Gate, job: Job, path: bytes, file: SpecFile) -> None:
        _, name = layout.split(job.path)
        new = file.digest != gate.digest
        gate.digest = file.digest
        try:
            spec = parse(file.data, clip_name=name, file=layout.shown(layout.split(path)[1]))
            gate.refers = bool(spec.referenced_paths())
            spec = self._folder.check_references(spec, path, file.data)
        except SpecInvalid as error:
            gate.spec, gate.problem = None, error
            return
        gate.spec, gate.problem = spec, None
        if new:
            for warning in lint(spec):
                say("lint", job, spec=path, warning=warning)
        if spec.povwatch.priority != job.priority:
            self._ledger.set_quietly(self._ledger.job(job.id), "waiting", priority=spec.povwatch.priority)
