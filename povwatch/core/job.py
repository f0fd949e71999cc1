"""A job: one look of one clip on its way from state to state.

The rules, which TRANSITIONS below spells out:

1. A job moves forward through the states, or ends.
2. Until a job is claimed (`running`) its clip and JSON may still change, so it may go back to `grace` or `arriving`.
3. From `running` it goes back to `queued` only when it is released or retried.
4. From `checking` it goes back to `queued` when the artifact is not what was asked for, or when another seed is tried:
   see quality.py. If a later seed fails for good, it is `checking` again, with the best of the others.
5. `publishing` leads only to `done`, and inference never runs again for that job. If povwatch itself keeps failing
   there, the job is `failed` and its files are kept.
6. An end is final: another run of the same clip is another job. The exception: a job that failed after generation keeps
   its artifact, and `retry` takes it from `failed` to `checking` to finish it.
7. Hooks are no states: `before` hooks run while a job is `queued`, `after` hooks while it is `publishing` and all its
   files are in outputs/. Meanwhile it waits on `hook`.
8. A clip that comes again with the same JSON is `done` at once: its result exists already.
9. A clip's own job carries its arrival. The jobs of its other looks come out of `arriving` together with it, and those
   that are added later leave `arriving` at once.

The drawing in ARCHITECTURE.md is made from TRANSITIONS (`python -m povwatch.core.job`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from povwatch.core import looks

if TYPE_CHECKING:
    from collections.abc import Sequence


class JobState(StrEnum):
    """Where a job stands."""

    ARRIVING = "arriving"
    """Bytes still come in, or they are not yet known to be a whole video."""
    GRACE = "grace"
    """The clip is whole and its JSON exists; there is time to edit it."""
    QUEUED = "queued"
    """Admitted; waits for a worker. An edit of the JSON still takes it back to `grace`."""
    RUNNING = "running"
    """Claimed: the spec is frozen and a worker has it."""
    CHECKING = "checking"
    """The worker is done; its artifact is being checked."""
    PUBLISHING = "publishing"
    """Checked and promised; it is being made visible."""
    DONE = "done"
    """Published."""
    FAILED = "failed"
    """Given up; `error` says why and what to do."""
    BLOCKED = "blocked"
    """The engine's guardrail refused it."""
    REJECTED = "rejected"
    """No video, or its JSON stayed invalid past `grace.max`."""
    CANCELLED = "cancelled"
    """Withdrawn: the clip was deleted, or somebody cancelled it."""

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self in ENDS


S = JobState

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    S.ARRIVING: frozenset({S.GRACE, S.REJECTED, S.FAILED, S.DONE, S.CANCELLED}),
    S.GRACE: frozenset({S.QUEUED, S.ARRIVING, S.REJECTED, S.FAILED, S.DONE, S.CANCELLED}),
    S.QUEUED: frozenset({S.RUNNING, S.GRACE, S.ARRIVING, S.FAILED, S.CANCELLED}),
    S.RUNNING: frozenset({S.CHECKING, S.QUEUED, S.ARRIVING, S.FAILED, S.BLOCKED, S.CANCELLED}),
    S.CHECKING: frozenset({S.PUBLISHING, S.QUEUED, S.FAILED, S.CANCELLED}),
    S.PUBLISHING: frozenset({S.DONE, S.FAILED}),
    S.DONE: frozenset(),
    S.FAILED: frozenset({S.CHECKING}),
    S.BLOCKED: frozenset(),
    S.REJECTED: frozenset(),
    S.CANCELLED: frozenset(),
}
"""The states that a job may go to, from each state."""

ENDS = frozenset({S.DONE, S.FAILED, S.BLOCKED, S.REJECTED, S.CANCELLED})
"""The states that a job does not leave by itself."""

BAD_ENDS = frozenset({S.FAILED, S.BLOCKED, S.REJECTED})
"""The ends of a job that somebody wanted and that has no result."""

CLAIMED = frozenset({S.RUNNING, S.CHECKING, S.PUBLISHING})
"""The states with an attempt under way. A job found in one of them after a crash is orphaned."""

EDITABLE = frozenset(JobState) - CLAIMED - ENDS
"""The states in which the clip and its JSON may still change. A job can be held or started in them."""

WAITING = EDITABLE - {S.ARRIVING}
"""The states of a job whose clip has arrived and that has no attempt under way."""


class Waiting(StrEnum):
    """What a job waits on. A reason, not a state."""

    SETTLING = "settling"
    """The file has to stay unchanged for `arrival.settle`."""
    INCOMPLETE = "incomplete"
    """Part of the file is missing."""
    WRITER_OPEN = "writer-open"
    """A local process has the file open for writing."""
    GRACE = "grace"
    """There is time to edit the JSON."""
    EDITING = "editing"
    """An editor has the JSON open."""
    HELD = "held"
    """Somebody holds it: by `povwatch hold`, a marker, or the JSON."""
    INVALID_SPEC = "invalid-spec"
    """The JSON is invalid; the error file says where."""
    GPU_BUSY = "gpu-busy"
    """Another process holds the GPU."""
    GPU_LOST = "gpu-lost"
    """The GPU does not answer."""
    ENGINE_UNAVAILABLE = "engine-unavailable"
    """The engine cannot be loaded here at present."""
    WORKERS_AWAY = "workers-away"
    """No machine has a worker at present: this one has none, and the pool offers none."""
    DISK_FULL = "disk-full"
    """Too little space is left."""
    INPUTS_AWAY = "inputs-away"
    """The inputs folder is gone or is not the one that was there."""
    INPUTS_REFUSED = "inputs-refused"
    """The inputs folder is there, but povwatch may not write the clip's JSON in it."""
    PAUSED = "paused"
    """The queue is paused, or the machine cannot start a process to inspect the clip."""
    HOOK = "hook"
    """A hook runs for this job, or has to run for another clip first."""
    RETRY_AT = "retry-at"
    """The next attempt comes after a pause."""
    TURN = "turn"
    """Other jobs go first."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the journal holds it. Times are seconds since the epoch."""

    id: int
    path: bytes
    """The clip, relative to inputs/, as the file system spells it."""
    base: bytes
    """The name that the clip's files share; see layout.py."""
    state: JobState
    waiting_on: Waiting | None = None
    detail: str = ""
    """One sentence about the wait, for people."""
    run_id: str | None = None
    """The fencing token of the attempt under way. An end that does not carry it changes nothing."""
    attempts: int = 0
    """Attempts charged so far."""
    crashes: int = 0
    """How often the daemon or the machine went down while the job ran, since its last seed was over. Attempts do not
    include these.
    """
    priority: int = 0
    """Higher goes first; equal ones go by age."""
    hold: bool = False
    """Somebody said `povwatch hold`."""
    go: bool = False
    """Somebody said `povwatch go`."""
    force: bool = False
    """Somebody said `povwatch retry --force`: it runs even if the same was published before."""
    damaged: bytes | None = None
    """Signature of the file for which somebody said `povwatch go --damaged`: whatever decodes of it is run."""
    spec_hash: str | None = None
    """Hash of the spec's canonical values, without the `povwatch` block."""
    spec_json: str | None = None
    """The spec, frozen at the claim."""
    spec_digest: str | None = None
    """SHA-256 of the JSON's bytes when the grace last began. Other bytes restart the grace."""
    spec_stat: bytes | None = None
    """The JSON's stat signature when it was last read."""
    source_hash: str | None = None
    """SHA-256 of the clip's bytes."""
    source_stat: bytes | None = None
    """The clip's stat signature when it was last looked at."""
    source_info: str | None = None
    """What the probe found in the clip, as JSON."""
    grace_left: float | None = None
    """Seconds of grace that were left at `grace_saved_at`."""
    grace_saved_at: float | None = None
    invalid_since: float | None = None
    """Since when the JSON is invalid."""
    not_before: float = 0.0
    """No attempt before this time."""
    engine: str | None = None
    """The kind of engine that ran it last."""
    artifact: str | None = None
    """The worker's artifact, as JSON, from `checking` on."""
    promise: str | None = None
    """The promise to publish, as JSON, from `publishing` on."""
    output: str | None = None
    """The published file, relative to outputs/."""
    error: str | None = None
    """Why it ended, and what to do. For a job that is done: which `after` hook failed."""
    created_at: float = 0.0
    updated_at: float = 0.0
    tries: str | None = None
    """The seeds whose results are over, as JSON of quality.Tries; None if none is judged."""
    look: str = looks.OWN
    """Which look of the clip it makes; empty for that of the clip's own JSON. See looks.py."""

    @property
    def stem(self) -> bytes:
        """The name that its files in inputs/ share: its JSON, markers and error file."""
        return looks.stem(self.base, self.look)

    @property
    def label(self) -> bytes:
        """The `name` in its JSON, unless its user wrote another."""
        return looks.label_of(self.base, self.look)

    @property
    def called(self) -> bytes:
        """Its clip and look, for people and for commands: `clip.mp4`, `clip.mp4@night`."""
        return looks.called(self.path, self.look)

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.state.ended

    @property
    def name_refused(self) -> bool:
        """Whether it is a look that cannot have its name: it was rejected before it joined its clip's arrival."""
        return self.state is JobState.REJECTED and self.look != looks.OWN and self.source_info is None

    @property
    def kept(self) -> bool:
        """Whether it failed after generation, with its artifact kept for another try to finish it."""
        return self.state is JobState.FAILED and self.artifact is not None


def grouped(found: Sequence[Job]) -> list[Job]:
    """The jobs with those of a clip's further looks behind the first one of the clip; else in their order."""
    several = {job.path for job in found if job.look != looks.OWN}
    first: dict[bytes, int] = {}
    for number, job in enumerate(found):
        first.setdefault(job.path, number)
    order = enumerate(found)
    return [job for _, job in sorted(order, key=lambda one: first[one[1].path] if one[1].path in several else one[0])]


def may_go(old: JobState, new: JobState) -> bool:
    """Whether a job in `old` may go to `new`."""
    return new in TRANSITIONS[old]


def drawing() -> str:
    """TRANSITIONS as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {S.ARRIVING}"]
    for old, onward in TRANSITIONS.items():
        lines += [f"    {old} --> {new}" for new in JobState if new in onward]
        if old in ENDS:
            lines.append(f"    {old} --> [*]")
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawing())  # noqa: T201 - this is its output
