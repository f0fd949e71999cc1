"""The interfaces of what takes turns in the loop. JobStore.apply calls the stages by a job's state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from povwatch.core.changes import Change
    from povwatch.core.errors import PovwatchError
    from povwatch.core.job import Job, JobState


class JobListener:
    """Takes turns in the loop and is told of jobs that were added, have changed or have ended.

    An exception in one of these methods costs that job an attempt, see daemon/mishaps.py.
    """

    needs_inputs: ClassVar[bool] = False
    """Whether it takes no turn while inputs/ is away."""

    def tick(self, now: float) -> None:
        """Take a turn of the loop. `now` is on the boot clock."""

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, on the boot clock; None if only an event brings work."""
        return None

    def added(self, job: Job) -> None:
        """A job was added; its transaction is committed. Must be quick: a hundred thousand clips may arrive at once."""

    def changed(self, old: Job, new: Job, change: Change) -> None:
        """A job was changed; its transaction is committed. `old` is the job before it."""

    def ended(self, job: Job) -> None:
        """A job has ended, in whichever stage. Safe to repeat."""

    def beside_changed(self, path: bytes) -> None:
        """A file in inputs/ other than a clip may have changed: a JSON, a marker, an editor's lock."""

    def clip_gone(self, job: Job, specs: Sequence[bytes]) -> None:
        """A job was cancelled, its clip is gone, and it is not on its way under another name.

        `specs` are the JSONs of the clip's looks that never had a job.
        """

    def inputs_back(self, now: float) -> None:
        """inputs/ was away until now (boot clock)."""


class Stage(JobListener, ABC):
    """One stage of a clip's way. It owns the jobs in some states; each state belongs to one stage.

    Every change of a job's state calls `leave` of the old owner and `enter` of the new one, once the change is
    journalled.
    """

    states: ClassVar[tuple[JobState, ...]]
    """The states that it owns."""

    def enter(self, job: Job) -> None:
        """A job has come into one of these states from another stage."""

    def leave(self, job: Job) -> None:
        """A job has left these states; `job` is as it was before."""

    @abstractmethod
    def resume(self, job: Job) -> str:
        """Go on with a job that an earlier start left in one of these states.

        Returns:
            What follows, for the summary: "to run again". Empty if nothing has to be said.
        """

    @abstractmethod
    def cancel(self, job: Job, why: str) -> None:
        """End a job that is no longer wanted, now or as soon as its work can be stopped."""

    @abstractmethod
    def try_again(self, mishap: Mishap) -> None:
        """Try a job again after an unforeseen failure."""

    @abstractmethod
    def give_up(self, job: Job, error: PovwatchError) -> None:
        """End a job after its last unforeseen failure."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """An unforeseen failure of a job's step."""

    job: Job
    error: PovwatchError
    pause: float
    """Seconds until the next try, if the job has to wait for it."""


class Mishaps(Protocol):
    """Handles unforeseen exceptions: see daemon/mishaps.py."""

    def charge(self, job_id: int, step: str, error: Exception, /) -> None:
        """A job's step raised this error. `step` is for people, in the past tense: "claimed"."""

    def work_failed(self, key: Hashable, error: Exception, /) -> None:
        """The result of work in the background could not be handled. See background.JobWork."""

    def repeat(self, key: Hashable, what: str, step: Callable[[], None], /) -> None:
        """Take a step, and take it again after a pause as long as it raises. `what` is for people: "ended job 12"."""


class Raise:
    """Raises every unforeseen error: nobody handles them."""

    def charge(self, _job_id: int, _step: str, error: Exception) -> None:
        """Raise it."""
        raise error

    def work_failed(self, _key: Hashable, error: Exception) -> None:
        """Raise it."""
        raise error

    def repeat(self, _key: Hashable, _what: str, step: Callable[[], None]) -> None:
        """Do it, without a second try."""
        step()
