"""Decides when --once is over: when nothing can go on without somebody's help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from povwatch.core.job import CLAIMED, JobState, Waiting
from povwatch.daemon.summary import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.arrival.folder_monitor import FolderMonitor
    from povwatch.arrival.stage import ArrivalStage
    from povwatch.config.settings import Config
    from povwatch.core.blockers import Blockers
    from povwatch.core.job import Job
    from povwatch.hooks.stage import HookStage
    from povwatch.journal.store import JobStore
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew
    from povwatch.workers.pool import EngineRoom

STUCK = frozenset({Waiting.HELD, Waiting.INVALID_SPEC, Waiting.INCOMPLETE, Waiting.INPUTS_AWAY, Waiting.INPUTS_REFUSED})
"""Waits that --once does not wait for: somebody has to do something first."""

NOT_INSPECTED = frozenset({Waiting.PAUSED, Waiting.DISK_FULL})
"""Waits of an arriving clip that the machine prevents from being inspected. In its grace: the clip's JSON has no space,
or names a file that cannot be measured.
"""


class AtWork(Protocol):
    """Something that may work in threads."""

    @property
    def idle(self) -> bool:
        """Whether no work is under way."""


class Drain:
    """Checks whether the folder is drained."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        folder_monitor: FolderMonitor,
        arrival: ArrivalStage,
        at_work: Sequence[AtWork],
        availability: Availability,
        crew: Crew,
        engine_room: EngineRoom,
        blockers: Blockers,
        hooks: HookStage,
    ) -> None:
        self._patience = config.engine.attempts
        self._store = store
        self._folder_monitor = folder_monitor
        self._arrival = arrival
        self._at_work = at_work
        self._availability = availability
        self._crew = crew
        self._engine_room = engine_room
        self._blockers = blockers
        self._hooks = hooks

    def over(self) -> bool:
        """Whether nothing can go on by itself."""
        if self._folder_monitor.away is not None:
            return True
        if (
            self._folder_monitor.scanned_at is None
            or self._arrival.moving
            or not all(work.idle for work in self._at_work)
        ):
            return False
        return all(map(self._stands, self._store.in_state(JobState.GRACE, JobState.QUEUED, *CLAIMED)))

    def outcome(self) -> Outcome:
        """The outcome of every clip that exists and is in the scope, or that ended in this run."""
        clips = self._folder_monitor.clips()
        here = {path for path in clips if path in self._store.scope} | {job.path for job in self._store.ended.values()}
        jobs = [job for path in sorted(here) if (job := self._store.of_path(path))]
        others = [path for path in sorted(clips) if path not in self._store.scope]
        left = [path for path in others if (known := self._store.known.get(path)) is None or not known.state.ended]
        waiting = any(job.state is JobState.QUEUED and job.waiting_on not in STUCK for job in jobs)
        blocker = self._blockers.generating(self._store.clock.boot()) if waiting else None
        unable = closed = None
        if blocker is not None and blocker.asked:
            closed = blocker.problem
        elif blocker is not None:
            engine = blocker.waiting is Waiting.ENGINE_UNAVAILABLE
            unable = f"The engine is not available: {blocker.problem}" if engine else blocker.problem
        if unable is None:  # if no clip can be inspected, one of them has the reason
            early = (job for job in jobs if job.state in {JobState.ARRIVING, JobState.GRACE})
            unable = next((job.detail for job in early if job.waiting_on in NOT_INSPECTED), None)
        ended = frozenset(self._store.ended)
        return Outcome(jobs, unable, self._folder_monitor.away, closed, ended=ended, left=left)

    def _stands(self, job: Job) -> bool:
        """Whether a job does not go on by itself."""
        if job.waiting_on in STUCK or self._hooks.stuck(job):
            return True
        if job.path not in self._store.scope and job.state not in CLAIMED:
            return True
        if job.state is JobState.QUEUED:
            return self._hopeless()
        if job.state is JobState.GRACE:
            return job.waiting_on in NOT_INSPECTED
        # The machine does not allow the step now; the next start tries it again. A hook goes on by itself.
        steps = {JobState.CHECKING, JobState.PUBLISHING}
        return job.state in steps and job.waiting_on not in {None, Waiting.HOOK, Waiting.RETRY_AT}

    def _hopeless(self) -> bool:
        """Whether this machine can run nothing: it is blocked, has no engine, or failed as often as a clip may fail."""
        available = self._availability
        if self._blockers.starting() is not None or max(available.pauses, available.blind_looks) >= self._patience:
            return True
        # A worker that still loads, or waits to load, may succeed.
        failing = all(place.failures >= self._patience for place in self._crew.places)
        return available.engine is not None and (failing or not self._engine_room.started)
