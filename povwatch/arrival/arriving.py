"""Follows one clip from its first bytes until it has arrived: settled, closed by its writer, whole, and a video.

The rule (all four hold):

1. Its stat signature is the same in at least 3 samples over `arrival.settle`.
2. It is not empty.
3. No local process has it open for writing.
4. Its container is complete, every packet is there, and it decodes. Damage only costs frames: see media/probe.py.

`povwatch go --damaged` runs whatever decodes of an incomplete clip. It holds for that version of the file only: when
the file changes, the clip arrives anew without it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from povwatch.arrival.clip_files import have_decoded, have_examined, have_glimpsed, have_inspected
from povwatch.arrival.progress import Progress
from povwatch.arrival.settle import Settle
from povwatch.arrival.tracks import DAMAGED_TODO, HELD_BACK_TODO, INCOMPLETE_TODO, Phase, Track, Tracks
from povwatch.container import VIDEO_KINDS, Kind, Report, TakesLonger
from povwatch.core import layout
from povwatch.core.changes import Arrived, Changed, DamagedWithdrawn, GoDamaged, NotVideo
from povwatch.core.command import command
from povwatch.core.errors import EnvironmentFault, NotAVideo, PovwatchError, SourceChanged
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, Job, JobState, Waiting
from povwatch.core.retry import backoff, waiting_for
from povwatch.core.sentences import joined
from povwatch.core.units import spell_duration, spell_pace, spell_rate
from povwatch.files.scan import ClipUnreadable
from povwatch.files.signature import Signature, size_of
from povwatch.journal import StaleJobError
from povwatch.media.errors import KILLED_MAX, MediaKilled, MediaStopped
from povwatch.media.info import NOTHING, VideoInfo
from povwatch.service.requests import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.arrival.clip_files import ClipFiles
    from povwatch.arrival.looks import Looks
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

T = TypeVar("T")

CHANGED = "it has just changed: ask again when it waits (incomplete)."

NO_INDEX = "Its index (moov) is missing or cannot be read, and without that no frame of an MP4 can be found."

WRITER_RETRY = 1.0
"""Seconds between two checks for writers."""

ENDLESS_SHARE = 3
"""A file whose format has no defined end must be quiet for so many times `arrival.settle`."""


class Arriving:
    """Samples and inspects a clip when its track's timer ends."""

    def __init__(
        self,
        tracks: Tracks,
        clips: ClipFiles,
        *,
        settle: float,
        patience: float,
        store: JobStore,
        looks: Looks,
        error_files: ErrorFiles,
    ) -> None:
        self._tracks = tracks
        self._clips = clips
        self._settle = settle
        self._patience = patience
        self._store = store
        self._looks = looks
        self._progress = Progress(tracks, clips, looks.walks)
        self._error_files = error_files

    def begin(self, job: Job, now: float, *, since: float | None = None) -> None:
        """Begin to follow a job's clip. `since` says since when it is incomplete, if before now (boot clock)."""
        signature = job.source_stat or b""
        settle = Settle()
        settle.observe(signature, now, self._settle)
        self._tracks[job.path] = Track(job.id, signature, Phase.SETTLING, now if since is None else since, settle)
        self._tracks.plan(job.path, settle.next_sample(self._settle))

    def look(self, path: bytes, track: Track, now: float) -> None:
        """Sample an arriving clip, and inspect it once it has settled."""
        try:
            signature = self._clips.sample(path)
        except ClipUnreadable as error:
            self._unreadable(path, track, self._store.job(track.job), error, now)
            return
        if signature is None:
            self._tracks.lose(path, now)
            return
        if signature != track.signature:
            self.changed(path, track, signature, now)
            return
        if track.phase is Phase.WAITING:
            self._warn(path, track, now)
            return
        assert track.settle is not None  # noqa: S101 - settling clips have one
        track.settle.observe(signature, now, self._settle)
        job = self._store.job(track.job)
        settled = track.settle.settled(self._settle)
        if settled and track.held_back is None:
            track.held_back = self._clips.partial_beside(path, signature)  # it may have come after the last rescan
        if track.held_back:
            self._held_back(path, track, job, layout.shown(track.held_back), now)
        elif not settled:
            self._progress.report(job, track)
            self._tracks.plan(path, track.settle.next_sample(self._settle))
        else:
            self._settled(path, track, job, now)

    def changed(self, path: bytes, track: Track, signature: bytes, now: float) -> None:
        """Take in a changed signature of a clip under way."""
        track.signature = signature
        job = self._store.job(track.job)
        if job.state in CLAIMED:
            return  # the run has its private copy; the new file's turn comes after the run
        self._call_off(job)
        if job.damaged not in {None, signature}:
            job = self.forget_damaged(job)
        if track.phase is not Phase.SETTLING:
            track.phase, track.since, track.warned = Phase.SETTLING, now, False
        if track.settle is None:
            track.settle = Settle()
        if job.state is not JobState.ARRIVING:
            job = self._store.apply(job, Changed())
        elif job.waiting_on is not Waiting.SETTLING:
            job = self._wait(job, Waiting.SETTLING, "", quiet=True)
        track.settle.observe(signature, now, self._settle)
        self._progress.report(job, track)
        self._tracks.plan(path, track.settle.next_sample(self._settle))

    def reject(self, job: Job, error: PovwatchError, signature: Signature) -> None:
        """End the job of a file that is no video. The error file says why."""
        file = self._error_files.write(job, "is rejected", error.what, error.todo)
        self._store.apply(job, NotVideo(error=str(error), error_file=file, source_stat=signature))

    def forget(self, job: Job) -> None:
        """Stop following the clip of a job that ended. From now on only its signature is known."""
        track = self._tracks.get(job.path)
        if track is not None and track.job == job.id:
            self._call_off(job)
            self._progress.forget(job)
            del self._tracks[job.path]

    # -- once it has settled

    def _settled(self, path: bytes, track: Track, job: Job, now: float) -> None:
        """Inspect a quiet clip: is anybody writing it, is it whole, is it a video?"""
        assert track.settle is not None  # noqa: S101 - settling clips have one
        size = size_of(track.signature)
        if self._clips.is_written(path):
            self._wait(job, Waiting.WRITER_OPEN, "a program has it open for writing")
            self._tracks.plan(path, now + WRITER_RETRY)
            return
        try:
            report = self._clips.report(path, size)
        except TakesLonger:
            self._examine(track, job, size)
            return
        if report is None:
            self._tracks.lose(path, now)
        else:
            self._judge(path, track, job, report, now)

    def _judge(self, path: bytes, track: Track, job: Job, report: Report, now: float) -> None:
        """Act on the container's report."""
        assert track.settle is not None  # noqa: S101 - settling clips have one
        track.phase = Phase.SETTLING
        if report.not_video:
            self.reject(job, NotAVideo(report.why, "Replace it with the video itself, or delete it."), track.signature)
        elif not report.complete and job.damaged == track.signature and report.kind in VIDEO_KINDS:
            self._decode(track, job, str(report.kind), report.why)
        elif not report.complete:
            self._incomplete(path, track, job, PovwatchError(report.why, _todo(job, decodes=bool(report.video))), now)
        elif not report.end_known and not track.settle.settled(ENDLESS_SHARE * self._settle):
            self._tracks.plan(path, track.settle.next_sample(self._settle))
        else:
            self._inspect(track, job, str(report.kind))

    def _examine(self, track: Track, job: Job, size: int) -> None:
        """Let a child process read a long index."""
        track.phase = Phase.INSPECTING
        key, signature = ("examine", job.id), track.signature
        if self._looks.walks.busy(key):  # it is being cancelled; its end looks again
            return
        self._looks.walks.submit(
            key,
            lambda outcome: self._answered(job.path, job.id, signature, outcome, self._judge),
            have_examined,
            *(self._clips.root, job.path, size),
        )

    def _inspect(self, track: Track, job: Job, kind: str) -> None:
        """Let a child process read every packet."""
        track.phase = Phase.INSPECTING
        key, signature = ("inspect", job.id), track.signature
        if self._looks.inspections.busy(key):  # as above
            return
        self._looks.inspections.submit(
            key,
            lambda outcome: self._answered(job.path, job.id, signature, outcome, self._inspected),
            have_inspected,
            *(self._clips.root, job.path, kind),
        )

    def _decode(self, track: Track, job: Job, kind: str, missing: str = "") -> None:
        """Let a child process decode the whole clip; of an incomplete one, what there is."""
        track.phase = Phase.INSPECTING
        if track.settle is None:  # the clip was incomplete
            track.settle = Settle()
            track.settle.observe(track.signature, self._store.clock.boot(), self._settle)
        key, signature = ("decode", job.id), track.signature
        if self._looks.decodes.busy(key):  # as above
            return
        self._looks.decodes.submit(
            key,
            lambda outcome: self._answered(job.path, job.id, signature, outcome, self._inspected),
            have_decoded,
            *(self._clips.root, job.path, kind, missing),
        )

    def _call_off(self, job: Job) -> None:
        """Cancel the child processes that inspect this clip."""
        self._looks.walks.cancel(("examine", job.id))
        self._looks.inspections.cancel(("inspect", job.id))
        self._looks.decodes.cancel(("decode", job.id))

    def _answered(
        self,
        path: bytes,
        job_id: int,
        signature: bytes,
        outcome: T | Exception,
        then: Callable[[bytes, Track, Job, T, float], None],
    ) -> None:
        now = self._store.clock.boot()
        track = self._tracks.get(path)
        if track is None or track.job != job_id:
            return
        if isinstance(outcome, EnvironmentFault) or (isinstance(outcome, MediaKilled) and track.faults < KILLED_MAX):
            # Check this before sampling the clip, which may fail for the same cause.
            self._later(path, track, self._store.job(job_id), outcome, now)
            return
        if not isinstance(outcome, Report) or not outcome.complete:  # the inspection of a whole clip may fail too
            track.faults = 0
        if (
            track.signature != signature
            or self._clips.sample_or_none(path) != signature
            or isinstance(outcome, MediaStopped)
        ):
            track.phase = Phase.SETTLING  # the clip changed meanwhile: the answer is about another file
            self._tracks.plan(path, now)
            return
        job = self._store.job(job_id)
        if isinstance(outcome, NotAVideo):
            self.reject(job, outcome, signature)
        elif isinstance(outcome, PovwatchError):
            self._incomplete(path, track, job, outcome, now)
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            then(path, track, job, outcome, now)

    def _inspected(self, path: bytes, track: Track, job: Job, info: VideoInfo, now: float) -> None:
        """Act on what the clip contains."""
        if info.undecided:
            self._decode(track, job, info.container)
            return
        if not info.complete and job.damaged == track.signature and info.why != NOTHING:
            self._decode(track, job, info.container, info.why)
            return
        if not info.complete:
            todo = _todo(job, decodes=info.why != NOTHING)
            self._incomplete(path, track, job, PovwatchError(info.why, todo), now)
            return
        track.phase, track.settle = Phase.IN, None
        self._error_files.clear(job)
        arrived = Arrived(
            described=described(info),
            source_hash=info.sha256,
            source_stat=track.signature,
            source_info=json.dumps(info.to_json()),
            now=self._store.clock.wall(),
        )
        self._store.apply(job, arrived)

    def _later(self, path: bytes, track: Track, job: Job, error: PovwatchError, now: float) -> None:
        """Try again later: the machine prevented the inspection, or killed its process. The clip is not to blame."""
        track.phase, track.faults = Phase.SETTLING, track.faults + 1
        waiting = Waiting.PAUSED
        if isinstance(error, EnvironmentFault) and not isinstance(error, SourceChanged):
            waiting = waiting_for(error)
        self._wait(job, waiting, str(error))
        self._tracks.plan(path, now + backoff(track.faults))

    def _unreadable(self, path: bytes, track: Track, job: Job, error: ClipUnreadable, now: float) -> None:
        """Try again later to open the clip. Granting a right or mounting a disk changes no file, so no event comes."""
        track.phase, track.faults, track.todo = Phase.SETTLING, track.faults + 1, error.todo
        track.settle = track.settle or Settle()
        self._wait(job, Waiting.PAUSED if error.passing else Waiting.INCOMPLETE, error.what)
        if not error.passing:
            self._warn(path, track, now)
        self._tracks.plan(path, now + backoff(track.faults))

    def _incomplete(self, path: bytes, track: Track, job: Job, error: PovwatchError, now: float) -> None:
        self._wait(job, Waiting.INCOMPLETE, error.what)
        track.phase, track.todo = Phase.WAITING, error.todo or INCOMPLETE_TODO
        track.settle = None  # 100,000 clips may wait here: keep equal bytes once
        if (seen := self._store.known[path].source_stat) == track.signature:
            track.signature = seen
        self._warn(path, track, now)

    def _held_back(self, path: bytes, track: Track, job: Job, partial: str, now: float) -> None:
        self._wait(job, Waiting.INCOMPLETE, f"{partial} is still beside it")
        track.todo = HELD_BACK_TODO.format(partial=partial)
        if now - track.since >= self._patience:
            self._warn(path, track, now)
        self._tracks.plan(path, now + self._settle)

    def _warn(self, path: bytes, track: Track, now: float) -> None:
        """Write an error file once something has been missing for long."""
        if track.warned:
            return
        if now - track.since < self._patience:
            self._tracks.plan(path, track.since + self._patience)
            return
        track.warned = True
        job = self._store.job(track.job)
        file = self._error_files.write(job, "is still incomplete", job.detail, track.todo)
        say("incomplete", job, problem=job.detail, error_file=file)

    # -- povwatch go --damaged

    def run_damaged(self, job: Job, answer: Callable[[Answer], None]) -> None:
        """Run whatever decodes of an incomplete clip, if anything does. `answer` gets one sentence, now or soon."""
        track = self._tracks.get(job.path)
        if track is None or self._looks.inspections.busy(("glimpse", job.id)):
            return  # the request is repeated
        if track.held_back:
            answer(Answer(done=False, text=joined(job.detail, track.todo)))
            return
        try:
            signature = self._clips.sample(job.path)
        except ClipUnreadable as error:
            answer(Answer(done=False, text=str(error)))
            return
        kind = self._clips.kind(job.path)
        if kind is None or signature != track.signature:
            why = "its beginning is missing" if signature == track.signature else CHANGED
            answer(Answer(done=False, text=f"nothing of it can be decoded: {why}." if kind is None else why))
            return
        self._looks.inspections.submit(
            ("glimpse", job.id),
            lambda outcome: self._glimpsed(job.id, signature, str(kind), outcome, answer),
            have_glimpsed,
            *(self._clips.root, job.path, str(kind)),
        )

    def _glimpsed(
        self,
        job_id: int,
        signature: Signature,
        kind: str,
        outcome: VideoInfo | Exception,
        answer: Callable[[Answer], None],
    ) -> None:
        job = self._store.job(job_id)
        track = self._tracks.get(job.path)
        if isinstance(outcome, (EnvironmentFault, MediaKilled)):
            answer(Answer(done=False, text=f"it cannot be looked at now: {outcome}"))
        elif track is None or track.signature != signature or job.waiting_on is not Waiting.INCOMPLETE:
            answer(Answer(done=False, text=CHANGED))
        elif isinstance(outcome, PovwatchError) or (isinstance(outcome, VideoInfo) and not outcome.complete):
            without = f" {NO_INDEX}" if isinstance(outcome, NotAVideo) and kind == str(Kind.MP4) else ""
            answer(Answer(done=False, text=f"nothing of it can be decoded. {job.detail}{without}"))
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            missing = job.detail
            job = self._store.apply(job, GoDamaged(signature=signature))
            if track.phase is Phase.WAITING:
                self._decode(track, job, kind, missing)
            answer(Answer(done=True, text=f"what can be decoded of it is run. {missing}"))

    def forget_damaged(self, job: Job) -> Job:
        """Withdraw `povwatch go --damaged` from a clip that has changed: it arrives like any other."""
        job = self._store.apply(job, DamagedWithdrawn())
        say("damaged-withdrawn", job)
        return job

    # -- helpers

    def _wait(self, job: Job, waiting: Waiting, detail: str, *, quiet: bool = False) -> Job:
        try:
            return self._store.wait(job, waiting, detail, quiet=quiet)
        except StaleJobError:
            return self._store.job(job.id)


def described(info: VideoInfo) -> dict[str, object]:
    """What the log says of a clip that has arrived."""
    return {
        "frames": info.frames,
        "shape": f"{info.display_width}x{info.display_height}",
        "rate": spell_rate(info.fps),
        "pace": spell_pace(info.fps, constant=info.constant),
        "duration": spell_duration(info.duration),
        "codec": info.codec,
    }


def _todo(job: Job, *, decodes: bool) -> str:
    """What to do about an incomplete clip. `decodes`: whether some of it may decode."""
    return (
        f"{INCOMPLETE_TODO} {DAMAGED_TODO.format(go=command('go', '--damaged', clip=job.path))}"
        if decodes
        else (INCOMPLETE_TODO)
    )
