"""The interface of a stage. JobStore.apply calls the stages by a job's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from povwatch.core.errors import PovwatchError
    from povwatch.core.job import Job, JobState


class Stage:
    """One stage of a clip's way. It owns the jobs in some states; each state belongs to one stage.

    The folder monitor and the hook stage own no state. They take their turns here too, and hear of ends.

    Every change of a job's state calls `leave` of the old owner and `enter` of the new one, once the change is
    journalled. Every stage is told when a job ends, since each may keep something for it. An exception in one of these
    methods costs that job an attempt, see daemon/mishaps.py.
    """

    states: ClassVar[tuple[JobState, ...]] = ()
    """The states that it owns."""

    needs_inputs: ClassVar[bool] = False
    """Whether it takes no turn while inputs/ is away."""

    def tick(self, now: float) -> None:
        """Take a turn of the loop. `now` is on the boot clock."""

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, on the boot clock; None if only an event brings work."""
        return None

    def enter(self, job: Job) -> None:
        """A job has come into one of these states from another stage."""

    def leave(self, job: Job) -> None:
        """A job has left these states; `job` is as it was before."""

    def ended(self, job: Job) -> None:
        """A job has ended, in whichever stage. Safe to repeat."""

    def resume(self, job: Job, *, crashed: bool) -> str:
        """Go on with a job that an earlier start left in one of these states.

        Arriving clips are followed again by the first rescan (ArrivalStage.recall).

        Args:
            crashed: whether the last daemon ended without a clean stop.

        Returns:
            What follows, for the summary: "to run again". Empty if nothing has to be said.
        """
        raise NotImplementedError  # asked of the owners of jobs whose clip has arrived

    def cancel(self, job: Job, why: str) -> bool:
        """End a job that is no longer wanted, now or as soon as its work can be stopped.

        Returns:
            False if none of its work is under way, so that the caller may end it.
        """
        del job, why
        return False

    def beside_changed(self, path: bytes) -> None:
        """A file in inputs/ other than a clip may have changed: a JSON, a marker, an editor's lock."""

    def inputs_back(self, now: float) -> None:
        """inputs/ was away until now (boot clock)."""

    def try_again(self, job: Job, error: PovwatchError, pause: float) -> None:
        """Try a job again after an unforeseen failure, after `pause` seconds if it has to wait."""
        raise NotImplementedError  # only a stage that owns states is asked

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """End a job after its last unforeseen failure."""
        raise NotImplementedError  # only a stage that owns states is asked


class Mishaps(Protocol):
    """Handles unforeseen exceptions: see daemon/mishaps.py."""

    def charge(self, job_id: int, step: str, error: Exception) -> None:
        """A job's step raised this error. `step` is for people, in the past tense: "claimed"."""

    def work_failed(self, key: Hashable, error: Exception) -> None:
        """The result of work in the background could not be handled. See background.JobWork."""

    def repeat(self, key: Hashable, step: Callable[[], None], *, what: str) -> None:
        """Take a step, and take it again after a pause as long as it raises. `what` is for people: "ended job 12"."""


class Raise:
    """Raises every unforeseen error: nobody handles them."""

    def charge(self, job_id: int, step: str, error: Exception) -> None:
        """Raise it."""
        del job_id, step
        raise error

    def work_failed(self, key: Hashable, error: Exception) -> None:
        """Raise it."""
        del key
        raise error

    def repeat(self, key: Hashable, step: Callable[[], None], *, what: str) -> None:
        """Do it, without a second try."""
        del key, what
        step()
