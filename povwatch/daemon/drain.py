"""When --once is over: nothing can move any more without somebody's help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.job import CLAIMED, JobState, Waiting
from povwatch.core.scope import ALL
from povwatch.daemon.summary import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.arrival.folder_monitor import Lookout
    from povwatch.arrival.stage import Intake
    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.core.scope import Scope
    from povwatch.journal.store import Ledger
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew
    from povwatch.workers.places import Hurdle
    from povwatch.workers.pool import EngineRoom

STUCK = frozenset({Waiting.HELD, Waiting.INVALID_SPEC, Waiting.INCOMPLETE, Waiting.INPUTS_AWAY, Waiting.INPUTS_REFUSED})
"""What is never waited on: somebody has to do something first."""

NOT_INSPECTED = frozenset({Waiting.PAUSED, Waiting.DISK_FULL})
"""What an arriving clip waits on that the machine does not let us inspect; in its grace, one whose JSON has no room or
names a file that cannot be measured."""


class Drain:
    """Looks whether the folder is drained."""

    def __init__(
        self,
        config: Config,
        *,
        ledger: Ledger,
        lookout: Lookout,
        intake: Intake,
        idle: Callable[[], bool],
        availability: Availability,
        crew: Crew,
        engine_room: EngineRoom,
        hurdle: Callable[[], Hurdle | None],
        hook_stuck: Callable[[Job], bool] = lambda _: False,
        scope: Scope = ALL,
    ) -> None:
        """Make it.

        Args:
            config: the configuration.
            ledger: the jobs.
            lookout: what is in inputs/.
            intake: the clips on their way in.
            idle: whether no work is under way.
            availability: whether the engine can take jobs.
            crew: the workers.
            engine_room: whether the engine was started.
            hurdle: why no job may start, as far as the machine's folders tell.
            hook_stuck: whether a job waits for a hook that cannot be started here.
            scope: the clips that this povwatch is for.
        """
        self._scope = scope
        self._patience = config.engine.attempts
        self._ledger = ledger
        self._lookout = lookout
        self._intake = intake
        self._idle = idle
        self._availability = availability
        self._crew = crew
        self._engine_room = engine_room
        self._hurdle = hurdle
        self._hook_stuck = hook_stuck

    def over(self) -> bool:
        """Whether nothing can move any more."""
        if self._lookout.away is not None:
            return True
        if self._lookout.scanned_at is None or self._intake.moving or not self._idle():
            return False
        return all(map(self._stands, self._ledger.in_state(JobState.GRACE, JobState.QUEUED, *CLAIMED)))

    def outcome(self) -> Outcome:
        """What became of every clip that is there and meant, or that ended in this run."""
        clips = self._lookout.clips()
        here = {path for path in clips if path in self._scope} | {job.path for job in self._ledger.ended.values()}
        jobs = [job for path in sorted(here) if (job := self._ledger.of_path(path))]
        others = [path for path in sorted(clips) if path not in self._scope]
        left = [path for path in others if (known := self._ledger.known.get(path)) is None or not known.state.ended]
        waiting = any(job.state is JobState.QUEUED and job.waiting_on not in STUCK for job in jobs)
        hurdle = self._hurdle() or self._availability.hurdle(self._ledger.clock.boot()) if waiting else None
        unable = closed = None
        if hurdle is not None and hurdle.asked:
            closed = hurdle.problem
        elif hurdle is not None:
            engine = hurdle.waiting is Waiting.ENGINE_UNAVAILABLE
            unable = f"The engine is not available: {hurdle.problem}" if engine else hurdle.problem
        if unable is None:  # no clip can be inspected: what one waits on says why
            early = (job for job in jobs if job.state in {JobState.ARRIVING, JobState.GRACE})
            unable = next((job.detail for job in early if job.waiting_on in NOT_INSPECTED), None)
        ended = frozenset(self._ledger.ended)
        return Outcome(jobs, unable, self._lookout.away, closed, ended=ended, left=left)

    def _stands(self, job: Job) -> bool:
        """Whether a job goes nowhere by itself."""
        if job.waiting_on in STUCK or self._hook_stuck(job):
            return True
        if job.path not in self._scope and job.state not in CLAIMED:
            return True
        if job.state is JobState.QUEUED:
            return self._hopeless()
        if job.state is JobState.GRACE:
            return job.waiting_on in NOT_INSPECTED
        # The machine does not allow the step now; the next start tries again. A hook goes on by itself.
        steps = {JobState.CHECKING, JobState.PUBLISHING}
        return job.state in steps and job.waiting_on not in {None, Waiting.HOOK, Waiting.RETRY_AT}

    def _hopeless(self) -> bool:
        """Whether this machine runs nothing: no room, or no engine, or it failed as often as a clip may fail."""
        available = self._availability
        if self._hurdle() is not None or max(available.pauses, available.blind_looks) >= self._patience:
            return True
        # One that still loads, or waits for its turn to, may come through.
        failing = all(place.failures >= self._patience for place in self._crew.places)
        return available.engine is not None and (failing or not self._engine_room.started)
