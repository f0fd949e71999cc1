"""What is outside of a daemon and given to its parts: time, the driver, the watched folder's events, worker processes.

A test that stands in for one of these has everything else as it is in production. Media children and hooks are outside
too; they are started by `media.run.call` and `hooks.run.run`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.arrival.watch import Watcher
from povwatch.core.clock import Clock
from povwatch.core.waker import Waker
from povwatch.gpu import nvml as gpu
from povwatch.workers.process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.gpu.nvml import Gpus


@dataclass(frozen=True, slots=True)
class Outside:
    """As it is in production."""

    clock: Clock = field(default_factory=Clock)
    waker: Waker = field(default_factory=Waker)
    """How the loop sleeps."""
    look: Callable[[], Gpus] = gpu.look
    """Asks NVML; called in a thread."""
    watcher: Callable[..., Watcher] = Watcher
    """Makes what tells of changes in inputs/."""
    worker: Callable[..., WorkerProcess] = WorkerProcess
    """Starts a worker process."""
