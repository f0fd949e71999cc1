"""`povwatch go --damaged`: runs whatever decodes of an incomplete clip.

It holds for that version of the file only: when the file changes, the clip arrives anew without it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from povwatch.arrival.followed import Phase
from povwatch.arrival.inspections import Inspection
from povwatch.container import Kind, Report
from povwatch.core.changes import DamagedWithdrawn, GoDamaged
from povwatch.core.errors import EnvironmentFault, NotAVideo, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, Waiting
from povwatch.core.sentences import joined
from povwatch.files.scan import ClipUnreadable
from povwatch.media.errors import MediaKilled
from povwatch.service.requests import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.arrival.clip_files import ClipFiles
    from povwatch.arrival.followed import FollowedClips
    from povwatch.arrival.inspections import Inspections
    from povwatch.arrival.settled import SettledClips
    from povwatch.files.signature import Signature
    from povwatch.journal.store import JobStore
    from povwatch.media.info import VideoInfo

CHANGED = "it has just changed: ask again when it waits (incomplete)."

NO_INDEX = "Its index (moov) is missing or cannot be read, and without that no frame of an MP4 can be found."


class DamagedClips:
    """Runs damaged clips on request."""

    def __init__(
        self,
        store: JobStore,
        clips: FollowedClips,
        files: ClipFiles,
        *,
        inspections: Inspections,
        settled: SettledClips,
    ) -> None:
        self._store = store
        self._clips = clips
        self._files = files
        self._inspections = inspections
        self._settled = settled

    def run(self, job: Job, answer: Callable[[Answer], None]) -> None:
        """Run whatever decodes of an incomplete clip, if anything does. `answer` gets one sentence, now or soon."""
        clip = self._clips.get(job.path)
        if clip is None or self._inspections.busy(Inspection.GLIMPSE, job.id):
            return  # the request is repeated
        if clip.held_back:
            answer(Answer(done=False, text=joined(job.detail, clip.todo)))
            return
        try:
            signature = self._files.sample(job.path)
        except ClipUnreadable as error:
            answer(Answer(done=False, text=str(error)))
            return
        kind = self._files.kind(job.path)
        if kind is None or signature != clip.signature:
            why = "its beginning is missing" if signature == clip.signature else CHANGED
            answer(Answer(done=False, text=f"nothing of it can be decoded: {why}." if kind is None else why))
            return
        then = partial(self._glimpsed, job.id, signature, kind, answer)
        self._inspections.start(Inspection.GLIMPSE, job, then, kind=str(kind))

    def withdraw_if_changed(self, job: Job, signature: Signature) -> Job:
        """Withdraw the request from a clip that is another file now: it arrives like any other."""
        if job.damaged in {None, signature}:
            return job
        job = self._store.apply(job, DamagedWithdrawn())
        say("damaged-withdrawn", job)
        return job

    def _glimpsed(
        self,
        job_id: int,
        signature: Signature,
        kind: Kind,
        answer: Callable[[Answer], None],
        outcome: Report | VideoInfo | Exception,
    ) -> None:
        job = self._store.job(job_id)
        clip = self._clips.get(job.path)
        if isinstance(outcome, (EnvironmentFault, MediaKilled)):
            answer(Answer(done=False, text=f"it cannot be looked at now: {outcome}"))
        elif clip is None or clip.signature != signature or job.waiting_on is not Waiting.INCOMPLETE:
            answer(Answer(done=False, text=CHANGED))
        elif isinstance(outcome, Exception) and not isinstance(outcome, PovwatchError):
            raise outcome
        elif isinstance(outcome, PovwatchError) or not outcome.complete:
            without = f" {NO_INDEX}" if isinstance(outcome, NotAVideo) and kind is Kind.MP4 else ""
            answer(Answer(done=False, text=f"nothing of it can be decoded. {job.detail}{without}"))
        else:
            missing = job.detail
            job = self._store.apply(job, GoDamaged(signature=signature))
            if clip.phase is Phase.WAITING:
                self._settled.inspect(Inspection.DECODE, clip, job, kind=str(kind), missing=missing)
            answer(Answer(done=True, text=f"what can be decoded of it is run. {missing}"))
