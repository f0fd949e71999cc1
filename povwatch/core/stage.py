"""What a stage of a clip's way is. The state of a job is what routes it: see JobStore.apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from povwatch.core.errors import PovwatchError
    from povwatch.core.job import Job, JobState


class Stage:
    """A stretch of a clip's way: it has the jobs in some states, each state belongs to one stage.

    Every change of a job's state calls `leave` of the stage that had it and `enter` of the stage that has it now, once
    the change is journalled. A job that ends is told to every stage: each may keep something of it.
    What one of these raises costs that job, see daemon/mishaps.py.
    """

    states: ClassVar[tuple[JobState, ...]] = ()
    """The states whose jobs it has."""

    def enter(self, job: Job) -> None:
        """A job has come into one of its states from another stage."""

    def leave(self, job: Job) -> None:
        """A job, as it was, is in none of its states any more."""

    def ended(self, job: Job) -> None:
        """A job has ended, wherever it was. Safe to repeat."""

    def resume(self, job: Job, *, crashed: bool) -> str:
        """Go on with a job from before the last start.

        Args:
            job: in one of its states.
            crashed: whether the last daemon was ended without a word.

        Returns:
            What follows, for the summary: "to run again". Empty if nothing has to be said.
        """
        raise NotImplementedError

    def cancel(self, job: Job, why: str) -> bool:
        """A job is no longer wanted: end it, now or as soon as its work can be ended.

        Returns:
            False if nothing of it is under way, so that whoever asks may end it.
        """
        del job, why
        return False

    def beside_changed(self, path: bytes) -> None:
        """A file in inputs/ that is no clip may have changed: a JSON, a marker, an editor's lock."""

    def inputs_back(self, now: float) -> None:
        """inputs/ was away until now (boot clock)."""

    def release(self, job: Job, error: PovwatchError, pause: float) -> None:
        """A job's step failed as nobody foresaw: try it again, after so many seconds if it has to wait."""
        raise NotImplementedError

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """A job's step failed so for the last time: end the job."""
        raise NotImplementedError


class Mishaps(Protocol):
    """Who deals with what nobody foresaw: see daemon/mishaps.py."""

    def of(self, key: Hashable, error: Exception) -> None:
        """Something raised this in the midst of a job's step; the key's second part is the job's number."""

    def later(self, key: Hashable, step: Callable[[], None], *, pause: float) -> None:
        """Do something at once, and again later if it raises."""
