"""All workers of this daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.workers.other_processes import of_workers
from povwatch.workers.places import stage_of
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from povwatch.core.clock import Clock
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus
    from povwatch.workers.places import Place


class Crew:
    """Starts and ends the workers, and knows their states."""

    def __init__(self, clock: Clock, monitor: GpuMonitor) -> None:
        self._clock = clock
        self._monitor = monitor
        self.places: list[Place] = []
        self._since: dict[int, tuple[str, int]] = {}
        """Each worker's last known state, and since when it holds."""
        monitor.watch(self._sample)

    def add(self, places: list[Place]) -> None:
        """Start workers; they load while clips arrive."""
        self.places += places
        for place in places:
            place.supervisor.start()
            place.start_due(self._clock.boot())

    def stop(self, why: str) -> None:
        """Tell the workers to end. Poll their supervisors until `stopped`."""
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
    def loading(self) -> int:
        """Workers that are loading the engine."""
        return sum(place.supervisor.state is SupervisorState.LOADING for place in self.places)

    @property
    def generating(self) -> int:
        """Workers that have a job."""
        return sum(place.generating for place in self.places)

    @property
    def on_gpus(self) -> list[Place]:
        """The workers that have a GPU."""
        return [place for place in self.places if place.gpus]

    @property
    def pids(self) -> set[int]:
        """The workers' process ids."""
        return {place.supervisor.pid for place in self.places if place.supervisor.pid is not None}

    def where(self, place: Place) -> str:
        """The worker in brackets, for the end of a sentence; empty if there is only one."""
        return f" ({place.label})" if len(self.places) > 1 else ""

    def gpu_name(self, place: Place) -> str:
        """Name of a worker's GPU, if it is known; empty without one."""
        return next((gpu.name for gpu in self._monitor.latest.found if gpu.uuid in place.gpus), "")

    def facts(self) -> list[dict[str, Any]]:
        """The workers, for `status`."""
        return [self._fact(place) for place in self.places]

    def _fact(self, place: Place) -> dict[str, Any]:
        state = str(place.supervisor.state)
        was, since = self._since.get(place.number, ("", 0))
        if was != state:
            since = round(self._clock.wall())
            self._since[place.number] = state, since
        error = place.supervisor.last_error
        return {
            "label": place.label,
            "pid": place.supervisor.pid,
            "state": state,
            "since": since,
            "loading": stage_of(place),
            "job": place.run.job if place.run else None,
            "gpu": self.gpu_name(place),
            "gpus": list(place.gpus),
            "waits": place.gate.waits if place.gate else "",
            "problem": str(error) if error else None,
        }

    def _sample(self, gpus: Gpus) -> None:
        """Record the running jobs' use of their GPUs."""
        now = self._clock.boot()
        for place in self.on_gpus:
            if place.run is not None and place.generating and place.supervisor.pid is not None:
                place.run.use.add(now, gpus, place.gpus, of_workers(gpus, {place.supervisor.pid}))
