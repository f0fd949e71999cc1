"""Pauses the queue after the machine failed a job, unless others can go on or the reason is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.errors import OutputsAway, OutputsNotWritable
from povwatch.core.job import Waiting

if TYPE_CHECKING:
    from povwatch.core.clock import Clock
    from povwatch.core.errors import EnvironmentFault
    from povwatch.publish.outputs_watch import OutputsWatch
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew


class QueuePauses:
    """Keeps jobs from starting for a while."""

    def __init__(self, clock: Clock, availability: Availability, crew: Crew, outputs_watch: OutputsWatch) -> None:
        self._clock = clock
        self._availability = availability
        self._crew = crew
        self._outputs_watch = outputs_watch

    def pause(self, waiting: Waiting, error: EnvironmentFault, until: float, *, prepared: bool) -> bool:
        """See attempt.failed.Pauses and Availability.pause."""
        if waiting in {Waiting.GPU_LOST, Waiting.GPU_BUSY} and self._crew.loaded:
            return False  # the other workers have GPUs of their own
        outputs = isinstance(error, OutputsNotWritable | OutputsAway)
        if outputs and self._outputs_watch.refuses(self._clock.boot()):
            return False  # it logs that once, and sees when it is over
        return self._availability.pause(waiting, error, until, prepared=prepared)
