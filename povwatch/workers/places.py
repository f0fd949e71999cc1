"""A worker's place, and the attempt in it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.core.mailbox import Gauge
from povwatch.gpu.usage import GpuUsage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.attempt.attempt import Attempt
    from povwatch.gpu.preflight import Preflight
    from povwatch.workers.events import JobProgress
    from povwatch.workers.load_turns import LoadGate
    from povwatch.workers.supervisor import Supervisor

STARTING = "starting"
"""What a supervisor calls the time until its worker says something itself."""

LAST_WORDS = 30
"""Lines of a worker's output that are kept for when it fails: a traceback and what stands before it."""


@dataclass(slots=True)
class Run:
    """An attempt under way at a worker."""

    job: int
    run_id: str
    attempt: Attempt
    started: float
    """When it was claimed, or when it was begun ahead of that."""
    prepared: bool = False
    """Whether its working copy is there."""
    copied: Gauge = field(default_factory=Gauge)
    """How much of its copies is made."""
    generating_since: float | None = None
    progress: JobProgress | None = None
    """What the engine said last."""
    left: float | None = None
    """Seconds that generating still takes, as far as was known then."""
    said: int = 0
    """The tenth that the log was told last."""
    noted_at: float = 0.0
    """When the journal was told last."""
    cancel: str | None = None
    """Why it is to be cancelled, if it is."""
    use: GpuUsage = field(default_factory=GpuUsage)
    """Of the GPU."""
    expected: float | None = None
    """Seconds that generating is expected to take, from what was learned so far."""


@dataclass(slots=True)
class Place:
    """A worker and the attempt that it has, or waits for."""

    supervisor: Supervisor
    gpus: tuple[str, ...] = ()
    """The UUIDs of the GPUs that the worker sees; empty for an engine that needs none."""
    preflight: Preflight | None = None
    """Asks for room on them before a worker is started."""
    gate: LoadGate | None = None
    """Says when a worker may load."""
    number: int = 1
    """Among the workers, from 1."""
    indices: tuple[int, ...] = ()
    """Of its GPUs, as NVML counts them."""
    run: Run | None = None
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_WORDS))
    """What the worker printed last, and nobody was told."""
    to_tell: int = 0
    """Lines that are still to be told: it failed, and what it printed may come after the word of that."""

    @property
    def before(self) -> frozenset[int]:
        """The processes that were on the GPUs before the worker was."""
        return self.preflight.before if self.preflight else frozenset()

    @property
    def label(self) -> str:
        """The worker for people: "worker 2 on GPU 1"."""
        return label(self.number, self.indices)

    @property
    def failures(self) -> int:
        """How often in a row its worker could not be started, could not be loaded, or was lost."""
        return self.supervisor.failures + (self.preflight.refusals if self.preflight else 0)

    @property
    def generating(self) -> bool:
        """Whether the worker has a job at hand, not merely waits for its copies."""
        return self.run is not None and self.run.generating_since is not None

    def forget_words(self) -> None:
        """What was printed so far says nothing about what comes."""
        self.last_words.clear()
        self.to_tell = 0


def stage_of(place: Place) -> str:
    """How far a worker's load is, for people; empty where it does not load or has not said anything itself."""
    loading = place.supervisor.loading
    if loading is None:
        return ""
    stage, fraction = loading
    if stage == STARTING:
        return ""
    return stage if fraction is None else f"{stage}, {int(fraction * 10) * 10} %"


def label(number: int, indices: Sequence[int]) -> str:
    """A worker for people.

    Args:
        number: among the workers, from 1.
        indices: of its GPUs.
    """
    on = f" on GPU {', '.join(map(str, indices))}" if indices else ""
    return f"worker {number}{on}"
