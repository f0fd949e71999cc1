"""The world outside of the daemon: time, the GPU driver, the watched folder's events, worker processes.

A test replaces one of these, and everything else is as in production. Media child processes and hooks are outside too;
`media.run.call` and `hooks.program.run_program` start them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.arrival.folder_monitor import HINTS_MAX
from povwatch.arrival.watch import Watcher
from povwatch.core.clock import Clock
from povwatch.core.mailbox import Mailbox
from povwatch.core.waker import Waker
from povwatch.engines.annotate.annotator import Annotator
from povwatch.gpu import nvml
from povwatch.workers.process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.gpu.nvml import Gpus
    from povwatch.workers.launch import Launch


@dataclass(frozen=True, slots=True)
class Outside:
    """The world of production, by default."""

    clock: Clock = field(default_factory=Clock)
    waker: Waker = field(default_factory=Waker)
    """Lets the loop sleep."""
    read_gpus: Callable[[], Gpus] = nvml.read_gpus
    """Asks NVML; called in a thread."""
    watcher: Callable[..., Watcher] = Watcher
    """Makes the watcher of inputs/."""
    worker: Callable[..., WorkerProcess] = WorkerProcess
    """Starts a worker process."""
    annotator: Callable[[Config], Annotator] = Annotator.of
    """Makes what computes controls with a model."""

    def new_watcher(self, config: Config) -> Watcher:
        """A watcher of inputs/ that is not started. Its hints wake the loop."""
        hints = Mailbox[bytes | None](self.waker.wake, most=HINTS_MAX)
        return self.watcher(config.paths.inputs, hints, recursive=config.arrival.recursive)

    def new_worker(self, launch: Launch) -> WorkerProcess:
        """Start a worker process. Its messages wake the loop.

        Raises:
            OSError: it cannot be started.
        """
        return self.worker(launch, clock=self.clock.boot, wake=self.waker.wake)
