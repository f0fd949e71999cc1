"""A clip's JSON during its grace: written if there is none, read, and validated."""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.changes import Prioritised
from povwatch.core.errors import EnvironmentFault, SpecInvalid
from povwatch.core.events import say
from povwatch.core.job import JobState
from povwatch.core.looks import OWN, refusal, stem
from povwatch.files.signature import identity_of, same_content, written_on
from povwatch.grace.named_files import upright
from povwatch.media.info import VideoInfo
from povwatch.spec.first import choose, first_spec, needs_digest, priority_for, variants_for
from povwatch.spec.lint import lint
from povwatch.spec.parse import SIZE_MAX, Label, names_other, parse, refused, renamed
from povwatch.spec.variables import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.config.settings import SpecDefaults
    from povwatch.core.job import Job
    from povwatch.engines.abilities import Abilities
    from povwatch.grace.named_files import NamedFiles
    from povwatch.grace.prompt_filters import PromptFilters
    from povwatch.journal.store import JobStore
    from povwatch.media.fit import Shape
    from povwatch.spec.inputs_folder import InputsFolder, SpecFile
    from povwatch.spec.model import Spec
    from povwatch.spec.prompts import Template

SURE_AFTER = 0.4
"""Seconds after a change until an invalid JSON counts as a mistake: many editors truncate first, then write."""


@dataclass(slots=True)
class SpecReading:
    """What was found in a clip's JSON when it was last read. Only SpecFiles writes these fields."""

    digest: str = ""
    """Digest of the JSON's bytes; empty if it is to be validated anew."""
    stat: bytes | None = None
    """Its stat signature."""
    spec: Spec | None = None
    """None if it cannot be run."""
    refers: bool = False
    """Whether the JSON names other files. They may come or go while the JSON stays the same."""
    problem: SpecInvalid | None = None
    """Why it cannot be run."""
    sure_at: float = 0.0
    """Until then (boot clock) an invalid JSON may be half written: it has just changed."""
    unmeasured: str = ""
    """The fields whose files are still to be measured, for people."""
    hindrance: str = ""
    """Why the machine cannot measure them, as sentences."""
    checked: bool = False
    """Whether the guardrail's filters have said something of its texts since it was validated."""

    def unsure(self, now: float) -> bool:
        """Whether an invalid JSON may still be half written."""
        return self.problem is not None and now < self.sure_at

    def hear(self) -> None:
        """Have the JSON validated at the next read: the guardrail's filters have said something."""
        self.checked = True

    def forget(self) -> None:
        """Have the JSON validated at the next read as if for the first time."""
        self.digest = ""


class SpecFiles:
    """The JSON files of clips."""

    def __init__(
        self,
        defaults: SpecDefaults,
        store: JobStore,
        folder: InputsFolder,
        *,
        templates: Mapping[str, Template],
        abilities: Abilities,
        named: NamedFiles,
        prompts: PromptFilters,
    ) -> None:
        self._abilities = abilities
        self._prompts = prompts
        self._named = named
        self._defaults = defaults
        self._store = store
        self._folder = folder
        self._templates = templates
        self._carried: set[bytes] = set()
        """JSONs that were copied to the new name of their clip, which is gone under the old one."""

    @property
    def engine(self) -> str:
        """The kind of the engine that they are judged for."""
        return self._abilities.kind

    def read(self, reading: SpecReading, job: Job) -> bool:
        """Read a job's JSON and bring `reading` up to date; False if there is no JSON.

        Raises:
            EnvironmentFault: the folder is away, or fails.
        """
        path = layout.beside(job.path, job.stem).spec
        try:
            file = self._folder.read_spec(path)
            if file is not None and file.digest != reading.digest:
                file = self._mended(job, path, file)
        except SpecInvalid as error:
            reading.spec, reading.problem, reading.digest, reading.sure_at = None, error, error.what, 0.0
            reading.unmeasured = reading.hindrance = ""
            return True
        if file is None:
            return False
        if reading.stat not in {None, file.signature}:
            reading.sure_at = self._store.clock.boot() + SURE_AFTER
        reading.stat = file.signature
        if file.digest != reading.digest or reading.problem or reading.refers or reading.checked:
            self._validate(reading, job, path, file)
        return True

    def meaning(self, job: Job, file: SpecFile, info: VideoInfo) -> Spec | None:
        """The spec of a JSON; None if it cannot be run."""
        try:
            spec = parse(file.data, clip_name=layout.split(job.path)[1], file="")
            return self._resolved(spec, layout.beside(job.path, job.stem).spec, file, upright(info))
        except (SpecInvalid, EnvironmentFault):
            return None

    def ensure(self, job: Job, duration: float | None, *, again: bool = False) -> SpecFile | None:
        """Write the JSON unless there is one, and read it. None if it cannot be read.

        `duration` is in seconds; `again` says that there was a JSON, which somebody deleted.

        Raises:
            EnvironmentFault: the folder does not take it.
        """
        beside = layout.beside(job.path, job.stem)
        self._carried.discard(beside.spec)
        data = self._default(job, duration)
        try:
            if self._folder.write_spec(beside.spec, data):
                template = choose(self._defaults, self._templates, job.path)
                fields = {"spec": beside.spec, "template": template.name}
                self._store.journal.note(job, "spec-written", self._store.clock.wall(), fields)
                say("spec-rewritten" if again else "spec-written", job, **fields)
            file = self._folder.read_spec(beside.spec)
            return None if file is None else self._mended(job, beside.spec, file)
        except SpecInvalid:
            return None

    def write_variants(self, job: Job, duration: float | None, *, held: bool) -> None:
        """Write the JSONs of the further looks that a new clip gets. Those of a clip that is held are held, too.

        `duration` is in seconds.

        Raises:
            EnvironmentFault: the folder does not take one.
        """
        if job.spec_digest is not None or not self._store.journal.is_first(job):  # its grace began before, or it is old
            return
        for name in variants_for(self._defaults, job.path):
            look = replace(job, look=name)
            spec = layout.beside(job.path, look.stem).spec
            if self._is_others(look):
                holder = self._store.journal.holder(layout.split(spec)[0], look.stem)
                self._store.note(job, "look-left-out", {"template": name, "spec": spec, "holder": holder})
                continue
            if self._folder.write_spec(spec, self._default(look, duration, template=name, held=held)):
                self._store.note(job, "spec-written", {"spec": spec, "template": name})

    def existing(self, job: Job) -> SpecFile | None:
        """Read the JSON of a further look. None if it cannot be read; povwatch writes none in its place.

        Raises:
            EnvironmentFault: the folder is away, or fails.
        """
        path = layout.beside(job.path, job.stem).spec
        self._carried.discard(path)
        try:
            file = self._folder.read_spec(path)
            return None if file is None else self._mended(job, path, file)
        except SpecInvalid:
            return None

    def withdrawn(self, job: Job) -> str:
        """Why a job is no longer wanted whose JSON is missing; empty if the JSON is to be written again.

        Deleting `clip.json` withdraws the clip's own look if another look of it has a JSON.
        """
        if job.look != OWN:
            return "its JSON was deleted"
        if not job.spec_digest:  # it never had one
            return ""
        for look, known in self._store.looks.get(job.path, {}).items():
            spec = layout.spec_beside(job.path, stem(job.base, look))
            if known.state is not JobState.REJECTED and self._folder.present(spec):
                return f"its JSON was deleted, and {layout.shown(spec)} is another look of the clip"
        return ""

    def carry_looks(self, job: Job, before: Job) -> None:
        """Copy the JSONs of a renamed clip's further looks to its new name. They are taken in like any others.

        Those stay that are another clip's, here or there, or whose name no look can have.

        Raises:
            EnvironmentFault: the folder does not take one.
        """
        for look in sorted(self._folder.looks_beside(before.path, before.base)):
            was, now = replace(before, look=look), replace(job, look=look)
            if not refusal(look, job.base) and not self._is_others(was) and not self._is_others(now):
                self.carry(now, was)

    def _is_others(self, job: Job) -> bool:
        """Whether the name of a look's JSON is that of another clip's own."""
        holder = self._store.journal.holder(layout.split(job.path)[0], job.stem)
        return holder is not None and self._folder.present(holder)

    def carry(self, job: Job, before: Job) -> bool:
        """Copy a renamed clip's JSON to its new name, so that no edit is lost; False if nothing was copied.

        The copy gets the new `video_path`, and never replaces a JSON. The old JSON belongs to its user and stays.
        `before` is the same file's job under its old name.

        Raises:
            EnvironmentFault: the folder does not take it.
        """
        old, new = layout.beside(before.path, before.stem).spec, layout.beside(job.path, job.stem).spec
        try:
            file = self._folder.read_spec(old)
        except SpecInvalid:
            return False
        if file is None or len(file.data) > SIZE_MAX:
            return False
        was, now = (Label(layout.split(each.path)[1], each.label) for each in (before, job))
        if not self._folder.write_spec(new, renamed(file.data, was, now)):
            return False
        self._carried.add(old)
        fields = {"before": before.path, "spec": new, "left": old}
        self._store.note(job, "spec-carried", fields)
        return True

    def _mended(self, job: Job, path: bytes, file: SpecFile) -> SpecFile:
        """A clip's JSON. If it names the clip by an earlier name, its `video_path` is corrected first.

        So users may rename the clip and its JSON one after the other. The JSON stays as it is if another clip has that
        name, or if the folder refuses the change.
        """
        folder, now = layout.split(job.path)
        if len(file.data) > SIZE_MAX or (name := names_other(file.data, now)) is None:
            return file
        try:
            before = self._called_before(job, name)
            if before is None or self._folder.exists(posixpath.join(folder, name)):
                return file
            data = renamed(file.data, Label(name, before.label), Label(now, job.label))
            self._folder.rewrite_spec(path, data, ours=lambda text: text == file.data)
            mended = self._folder.read_spec(path)
        except EnvironmentFault:
            return file
        if mended is None:
            return file
        self._store.note(job, "spec-mended", {"before": before.path, "spec": path, "now": now})
        return mended

    def renamed_from(self, job: Job) -> Job | None:
        """The job of the same file under an earlier name, which went missing; None if there is none.

        `job` has arrived, with its hash.
        """
        number = self._store.missing.get(identity_of(job.source_stat)) if job.source_stat else None
        before = None if number is None else self._store.job(number)
        if before is not None and before.look != job.look:
            before = self._store.of_path(before.path, job.look)
        return before if before and before.path != job.path and self._is_former(before, job) else None

    def _called_before(self, job: Job, name: bytes) -> Job | None:
        """The newest job of the same file under this earlier name; None if it never had that name."""
        for path, known in self._store.known.items():
            if path.endswith(name) and path != job.path and layout.split(path)[1] == name:
                before = self._store.job(known.job)
                if self._is_former(before, job):
                    return before
        return None

    def _is_former(self, before: Job, job: Job) -> bool:
        """Whether a job is of the same file under a name that no longer exists."""
        if not before.source_stat or not job.source_stat or not same_content(before.source_stat, job.source_stat):
            return False
        return before.source_hash in {None, job.source_hash} and not self._folder.present(before.path)

    def left_behind(self, job: Job) -> list[bytes]:
        """The JSON of a job whose clip is gone, if somebody edited it and it was not copied to a new name."""
        path = layout.beside(job.path, job.stem).spec
        try:
            file = self._folder.read_spec(path)
        except (SpecInvalid, EnvironmentFault):
            return []
        if file is None or not self.not_carried([path]):
            return []
        if job.source_hash is None and needs_digest(choose(self._defaults, self._templates, job.path)):
            return [path]  # the clip never arrived; whether somebody edited its JSON cannot be told
        info = json.loads(job.source_info) if job.source_info else {}
        return [] if file.data == self._default(job, info.get("duration")) else [path]

    def not_carried(self, specs: Sequence[bytes]) -> list[bytes]:
        """Those of these JSONs that were not copied to a new name of their clip, which is gone."""
        left = [spec for spec in specs if spec not in self._carried]
        self._carried.difference_update(specs)
        return left

    def _default(self, job: Job, duration: float | None, *, template: str | None = None, held: bool = False) -> bytes:
        """The JSON that povwatch writes for a look of a clip, from the folder's template or a named one."""
        chosen = choose(self._defaults, self._templates, job.path, template=template)
        date = written_on(job.source_stat) if job.source_stat else ""
        facts = Facts(job.path, date, duration, digest=job.source_hash)
        changes = {"povwatch": {"start": "hold"}} if held else {}
        return first_spec(self._defaults, chosen, job.label, facts, look=job.look, changes=changes)

    def _validate(self, reading: SpecReading, job: Job, path: bytes, file: SpecFile) -> None:
        """Validate a JSON as it was read."""
        was, new = reading.digest, file.digest != reading.digest
        reading.digest, reading.unmeasured, reading.hindrance, reading.checked = file.digest, "", "", False
        clip = upright(VideoInfo.from_json(json.loads(job.source_info))) if job.source_info else None
        name = layout.shown(layout.split(path)[1])
        unmeasured: list[str] = []
        try:
            spec = parse(file.data, clip_name=layout.split(job.path)[1], file=name)
            reading.refers = bool(spec.referenced_paths())
            in_file = spec.prompt_path is not None
            spec = self._resolved(spec, path, file, clip)
            problems = self._prompts.refusals(job.id, spec, in_file=in_file)
            if clip and spec.referenced_paths():
                now = self._store.clock.boot()
                unfit, unmeasured = self._named.judge(job.id, spec, path, clip, now, abilities=self._abilities)
                problems += unfit
            if problems:
                raise refused(problems, file=name, data=file.data)
        except SpecInvalid as error:
            reading.spec, reading.problem = None, error
            return
        except EnvironmentFault:
            reading.digest = was  # these contents are not judged yet
            raise
        reading.unmeasured = ", ".join(unmeasured)
        if unmeasured:
            reading.hindrance = self._named.hindrance(job.id)
        if unmeasured and reading.problem and not new:
            return  # it was invalid and is not yet known to be valid
        reading.spec, reading.problem = spec, None
        if new:
            for warning in [*lint(spec), *self._abilities.notes(spec.asked(), spec.povwatch.speed)]:
                say("lint", job, spec=path, warning=warning)
        priority = priority_for(self._defaults, job.path, spec)
        if priority != job.priority:
            self._store.apply(self._store.job(job.id), Prioritised(priority=priority))

    def _resolved(self, spec: Spec, path: bytes, file: SpecFile, clip: Shape | None) -> Spec:
        """A spec with its prompt, once its files exist and the engine can run it.

        Raises:
            SpecInvalid: it cannot be run.
            EnvironmentFault: the folder is away, or fails.
        """
        problems = spec.in_its_words(self._abilities.refusals(spec.asked(), clip, spec.povwatch.speed))
        try:
            spec = self._folder.check_references(spec, path, file.data)
        except (
            SpecInvalid
        ) as error:  # say both: the missing files may be needless, since the engine has no use for them
            problems += error.problems
        if problems:
            raise refused(problems, file=layout.shown(layout.split(path)[1]), data=file.data)
        return spec
