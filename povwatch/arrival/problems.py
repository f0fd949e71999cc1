"""What keeps clips from arriving: the reason in the journal, the next try, and the error file once people must know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.arrival.followed import INCOMPLETE_TODO, FollowedClip, Phase
from povwatch.arrival.settle import Settle
from povwatch.core import layout
from povwatch.core.changes import Failed, NotVideo
from povwatch.core.errors import EnvironmentFault, SourceChanged
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.retry import backoff, waiting_for
from povwatch.spec.error_texts import Case

if TYPE_CHECKING:
    from povwatch.arrival.followed import FollowedClips
    from povwatch.core.errors import PovwatchError
    from povwatch.core.job import Job
    from povwatch.files.scan import ClipUnreadable
    from povwatch.files.signature import Signature
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

INCOMPLETE_PATIENCE = 900.0
"""Seconds after which an incomplete clip gets an error file."""

HELD_BACK_TODO = "If no program is copying it any more, delete {partial}: it is what an earlier copy has left."


class ArrivalProblems:
    """Acts on what keeps clips from arriving."""

    def __init__(self, store: JobStore, clips: FollowedClips, error_files: ErrorFiles) -> None:
        self._store = store
        self._clips = clips
        self._error_files = error_files

    # -- the job ends, or the problem does

    def reject(self, job: Job, error: PovwatchError, signature: Signature) -> None:
        """End the job of a file that is no video. The error file says why."""
        file = self._error_files.write(job, Case.NO_VIDEO, error.what, error.todo)
        self._store.apply(job, NotVideo(error=str(error), error_file=file, source_stat=signature))

    def fail(self, job: Job, error: PovwatchError) -> None:
        """End the job of a clip after its last unforeseen failure."""
        self._error_files.write(job, Case.FAILED, error.what, error.todo)
        self._store.apply(job, Failed(error=str(error)))

    def clear(self, job: Job) -> None:
        """Delete the clip's error file: there is no problem any more."""
        self._error_files.clear(job)

    # -- the clip waits

    def try_later(self, clip: FollowedClip, error: PovwatchError, now: float) -> None:
        """Try again later: the machine prevented the inspection, or killed its process. The clip is not to blame."""
        clip.phase, clip.faults = Phase.SETTLING, clip.faults + 1
        waiting = Waiting.PAUSED
        if isinstance(error, EnvironmentFault) and not isinstance(error, SourceChanged):
            waiting = waiting_for(error)
        self._store.wait(self._store.job(clip.job), waiting, str(error))
        self._clips.plan(clip, now + backoff(clip.faults))

    def unreadable(self, clip: FollowedClip, error: ClipUnreadable, now: float) -> None:
        """Try again later to open the clip. Granting a right or mounting a disk changes no file, so no event comes."""
        clip.phase, clip.faults, clip.todo = Phase.SETTLING, clip.faults + 1, error.todo
        clip.settle = clip.settle or Settle()
        waiting = Waiting.PAUSED if error.passing else Waiting.INCOMPLETE
        self._store.wait(self._store.job(clip.job), waiting, error.what)
        if not error.passing:
            self.warn(clip, now)
        self._clips.plan(clip, now + backoff(clip.faults))

    def incomplete(self, clip: FollowedClip, job: Job, error: PovwatchError, now: float) -> None:
        """Wait for the rest of the clip."""
        self._store.wait(job, Waiting.INCOMPLETE, error.what)
        clip.phase, clip.todo = Phase.WAITING, error.todo or INCOMPLETE_TODO
        clip.settle = None  # 100,000 clips may wait here: keep equal bytes once
        if (seen := self._store.known[clip.path].source_stat) == clip.signature:
            clip.signature = seen
        self.warn(clip, now)

    def held_back(self, clip: FollowedClip, job: Job, partial: bytes, now: float) -> None:
        """Wait until the unfinished copy beside the clip is gone."""
        unfinished = layout.shown(partial)
        self._store.wait(job, Waiting.INCOMPLETE, f"{unfinished} is still beside it")
        clip.todo = HELD_BACK_TODO.format(partial=unfinished)
        if now - clip.since >= INCOMPLETE_PATIENCE:
            self.warn(clip, now)
        self._clips.plan(clip, now + self._clips.settle)

    def warn(self, clip: FollowedClip, now: float) -> None:
        """Write an error file once something has been missing for long."""
        if clip.warned:
            return
        if now - clip.since < INCOMPLETE_PATIENCE:
            self._clips.plan(clip, clip.since + INCOMPLETE_PATIENCE)
            return
        clip.warned = True
        job = self._store.job(clip.job)
        file = self._error_files.write(job, Case.INCOMPLETE, job.detail, clip.todo)
        say("incomplete", job, problem=job.detail, error_file=file)
