"""Estimates how long jobs will take, from the ones that are done. engines/eta.py has the rule."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from povwatch.engines import eta

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.attempt.attempt import Attempt
    from povwatch.core.speed import Speed
    from povwatch.journal import JournalReader


class RuntimeEstimates:
    """Estimates for this engine, from this journal."""

    def __init__(self, journal: JournalReader, engine_kind: str) -> None:
        """Read the journal's `generated` events."""
        self._engine_kind = engine_kind
        done = (eta.Done.of(event.data) for event in journal.latest_events("generated", eta.KEPT))
        self._done = deque(filter(None, done), maxlen=eta.KEPT)

    def expected(
        self, info: Mapping[str, Any], spec: Mapping[str, Any], gpu: str, speed: Speed = "exact"
    ) -> float | None:
        """Seconds that generating a job will take; None if nothing similar was generated yet.

        Args:
            info: VideoInfo of the clip, as JSON.
            spec: upstream's fields; empty if unknown.
            gpu: the GPU's name; empty without one.
            speed: of the job.
        """
        size = eta.size(info, spec, self._engine_kind, speed)
        return eta.estimate(self._done, engine=self._engine_kind, gpu=gpu, **size)

    def learn(self, attempt: Attempt, gpu: str, seconds: float) -> dict[str, Any] | None:
        """Learn from a generated job, and return the record for the journal; None if a part was resumed."""
        if attempt.artifact.get("chunks_resumed"):
            return None
        size = eta.size(attempt.info, attempt.spec, self._engine_kind, attempt.speed)
        done = eta.Done(self._engine_kind, gpu, **size, seconds=round(seconds, 3))
        self._done.append(done)
        return asdict(done)
