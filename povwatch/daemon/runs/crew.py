"""The workers of this daemon, all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.daemon.gpus.neighbours import of_workers
from povwatch.engine.states import SupervisorState
from povwatch.voice import say

if TYPE_CHECKING:
    from povwatch.daemon.clock import Clock
    from povwatch.daemon.gpus.eye import GpuEye
    from povwatch.daemon.runs.places import Place
    from povwatch.gpu import Gpus


class Crew:
    """Starts them, ends them, and knows what they are at."""

    def __init__(self, clock: Clock, eye: GpuEye, kind: str) -> None:
        """Nobody is there yet.

        Args:
            clock: the time.
            eye: looks at the GPUs.
            kind: of the engine.
        """
        self._clock = clock
        self._eye = eye
        self._kind = kind
        self.places: list[Place] = []
        eye.watch(self._sample)

    def start(self, places: list[Place]) -> None:
        """Start the workers; they load while clips arrive."""
        say("engine-loading", engine=self._kind)
        self.places = places
        for place in places:
            place.supervisor.start()

    def stop(self, why: str) -> None:
        """Tell the workers to end; their supervisors are to be polled until `stopped`."""
        for place in self.places:
            if place.supervisor.state is not SupervisorState.STOPPED:
                place.supervisor.stop(why)

    @property
    def stopped(self) -> bool:
        """Whether every worker has ended."""
        return all(place.supervisor.state is SupervisorState.STOPPED for place in self.places)

    @property
    def loaded(self) -> bool:
        """Whether any worker has the engine loaded."""
        return any(place.supervisor.capabilities for place in self.places)

    @property
    def generating(self) -> int:
        """How many workers have a job at hand."""
        return sum(place.generating for place in self.places)

    @property
    def on_gpus(self) -> list[Place]:
        """The workers that have a GPU."""
        return [place for place in self.places if place.gpus]

    @property
    def pids(self) -> set[int]:
        """The workers' process ids."""
        return {place.supervisor.pid for place in self.places if place.supervisor.pid is not None}

    def gpu_name(self, place: Place) -> str:
        """What the GPU of a worker is called, as far as was seen; empty without one."""
        return next((gpu.name for gpu in self._eye.latest.found if gpu.uuid in place.gpus), "")

    def facts(self) -> list[dict[str, Any]]:
        """The workers, for `status`."""
        return [
            {
                "pid": place.supervisor.pid,
                "state": str(place.supervisor.state),
                "job": place.run.job if place.run else None,
                "gpu": self.gpu_name(place),
                "problem": str(place.supervisor.last_error) if place.supervisor.last_error else None,
            }
            for place in self.places
        ]

    def _sample(self, gpus: Gpus) -> None:
        """Note what the jobs at hand use of their GPUs."""
        now = self._clock.boot()
        for place in self.on_gpus:
            if place.run is not None and place.generating and place.supervisor.pid is not None:
                place.run.use.add(now, gpus, place.gpus, of_workers(gpus, {place.supervisor.pid}))
