"""A worker, as the daemon sees it, and its attempt."""

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
    from povwatch.workers.load_turns import LoadGate
    from povwatch.workers.protocol import Progress
    from povwatch.workers.supervisor import Supervisor

STARTING = "starting"
"""The supervisor's name for the stage before its worker has reported one."""

LAST_WORDS = 30
"""Lines of a worker's output kept for a failure: a traceback and the lines before it."""


@dataclass(slots=True)
class Run:
    """An attempt that a worker has."""

    job: int
    run_id: str
    attempt: Attempt
    started: float
    """When it was claimed, or when its copies were begun ahead of that."""
    prepared: bool = False
    """Whether its working copy exists."""
    copied: Gauge = field(default_factory=Gauge)
    """Progress of its copies."""
    generating_since: float | None = None
    progress: Progress | None = None
    """The engine's last report."""
    left: float | None = None
    """Seconds that generating still takes, estimated at that report."""
    said: int = 0
    """Tenths of the progress that the log has."""
    noted_at: float = 0.0
    """When the journal last got the progress."""
    cancel: str | None = None
    """Why it is to be cancelled; None if it is not."""
    use: GpuUsage = field(default_factory=GpuUsage)
    """Its use of the GPU."""
    expected: float | None = None
    """Seconds that generating is expected to take, by earlier jobs."""


@dataclass(slots=True)
class Place:
    """A worker and the attempt that it has or waits for."""

    supervisor: Supervisor
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that the worker sees; empty for an engine that needs none."""
    preflight: Preflight | None = None
    """Checks these GPUs for room before a worker starts."""
    gate: LoadGate | None = None
    """Says when a worker may load."""
    number: int = 1
    """Number of the worker, from 1."""
    indices: tuple[int, ...] = ()
    """NVML's indices of its GPUs."""
    run: Run | None = None
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_WORDS))
    """Last lines of the worker's output that are not logged yet."""
    to_tell: int = 0
    """Further lines to log: a failed worker's output may arrive after the report of its failure."""

    @property
    def before(self) -> frozenset[int]:
        """Processes that were on the GPUs before the worker."""
        return self.preflight.before if self.preflight else frozenset()

    @property
    def label(self) -> str:
        """The worker for people: "worker 2 on GPU 1"."""
        return label(self.number, self.indices)

    @property
    def failures(self) -> int:
        """Times in a row that its worker could not be started or loaded, or was lost."""
        return self.supervisor.failures + (self.preflight.refusals if self.preflight else 0)

    @property
    def generating(self) -> bool:
        """Whether the worker has a job, and not merely waits for its copies."""
        return self.run is not None and self.run.generating_since is not None

    def start_due(self, now: float) -> None:
        """Start the next worker if it is due and may load."""
        if self.supervisor.due(now) and (self.gate is None or self.gate(now)):
            self.supervisor.spawn(now)

    def forget_words(self) -> None:
        """Drop the lines so far: they say nothing about the next failure."""
        self.last_words.clear()
        self.to_tell = 0


def stage_of(place: Place) -> str:
    """Stage of a worker's load, for people; empty if it does not load or has not reported one."""
    loading = place.supervisor.loading
    if loading is None:
        return ""
    stage, fraction = loading
    if stage == STARTING:
        return ""
    return stage if fraction is None else f"{stage}, {int(fraction * 10) * 10} %"


def label(number: int, indices: Sequence[int]) -> str:
    """A worker for people; `indices` are its GPUs'."""
    on = f" on GPU {', '.join(map(str, indices))}" if indices else ""
    return f"worker {number}{on}"
