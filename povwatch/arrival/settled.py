"""Has settled clips inspected, and judges what was found: is anybody writing it, is it whole, is it a video?

What takes longer than the loop may wait is read by a child process: see inspections.py.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from povwatch.arrival.followed import INCOMPLETE_TODO, FollowedClip, Phase
from povwatch.arrival.inspections import Inspection
from povwatch.container import VIDEO_KINDS, Report, TakesLonger
from povwatch.core.changes import Arrived
from povwatch.core.command import command
from povwatch.core.errors import EnvironmentFault, NotAVideo, PovwatchError
from povwatch.core.job import Job, Waiting
from povwatch.core.units import spell_duration, spell_pace, spell_rate
from povwatch.files.signature import size_of
from povwatch.media.errors import KILLED_MAX, MediaKilled, MediaStopped
from povwatch.media.info import NOTHING, VideoInfo

if TYPE_CHECKING:
    from povwatch.arrival.clip_files import ClipFiles
    from povwatch.arrival.followed import FollowedClips
    from povwatch.arrival.inspections import Inspections
    from povwatch.arrival.joining import Joining
    from povwatch.arrival.problems import ArrivalProblems
    from povwatch.files.signature import Signature
    from povwatch.journal.store import JobStore

WRITER_RETRY = 1.0
"""Seconds between two checks for writers."""

ENDLESS_SHARE = 3
"""A file whose format has no defined end must be quiet for so many times `arrival.settle`."""

DAMAGED_TODO = "If this is all that there is of it, have what can be decoded run: {go}"


class SettledClips:
    """Decides whether clips that have settled have arrived."""

    def __init__(
        self,
        store: JobStore,
        clips: FollowedClips,
        files: ClipFiles,
        *,
        inspections: Inspections,
        problems: ArrivalProblems,
        joining: Joining,
    ) -> None:
        self._store = store
        self._clips = clips
        self._files = files
        self._inspections = inspections
        self._problems = problems
        self._joining = joining

    def examine(self, clip: FollowedClip, job: Job, now: float) -> bool:
        """Examine a quiet clip: is anybody writing it, is it whole, is it a video? Returns False if it is gone."""
        if self._files.is_written(clip.path):
            self._store.wait(job, Waiting.WRITER_OPEN, "a program has it open for writing")
            self._clips.plan(clip, now + WRITER_RETRY)
            return True
        size = size_of(clip.signature)
        try:
            report = self._files.report(clip.path, size)
        except TakesLonger:
            self.inspect(Inspection.EXAMINE, clip, job, size=size)
            return True
        if report is not None:
            self._judge_report(clip, job, report, now)
        return report is not None

    def inspect(self, what: Inspection, clip: FollowedClip, job: Job, **args: object) -> None:
        """Let a child process inspect a clip. If an earlier one is being cancelled, its end brings the clip back."""
        clip.phase = Phase.INSPECTING
        if clip.settle is None:  # the clip was incomplete
            self._clips.observe(clip, clip.signature, self._store.clock.boot())
        self._inspections.start(what, job, partial(self._inspected, job, clip.signature), **args)

    def cancel(self, job: Job) -> None:
        """Cancel the child processes that inspect a clip."""
        for what in (Inspection.EXAMINE, Inspection.PACKETS, Inspection.DECODE):
            self._inspections.cancel(what, job.id)

    def _inspected(self, job: Job, signature: Signature, outcome: Report | VideoInfo | Exception) -> None:
        """Act on what a child process found out about a clip with this signature."""
        now = self._store.clock.boot()
        clip = self._clips.of(job)
        if clip is None:
            return
        if isinstance(outcome, EnvironmentFault) or (isinstance(outcome, MediaKilled) and clip.faults < KILLED_MAX):
            # Check this before sampling the clip, which may fail for the same cause.
            self._problems.try_later(clip, outcome, now)
            return
        if not isinstance(outcome, Report) or not outcome.complete:  # the inspection of a whole clip may fail too
            clip.faults = 0
        unchanged = clip.signature == signature and self._files.sample_or_none(job.path) == signature
        if not unchanged or isinstance(outcome, MediaStopped):  # the answer is about another file
            clip.phase = Phase.SETTLING
            self._clips.plan(clip, now)
            return
        job = self._store.job(job.id)
        if isinstance(outcome, NotAVideo):
            self._problems.reject(job, outcome, signature)
        elif isinstance(outcome, PovwatchError):
            self._problems.incomplete(clip, job, outcome, now)
        elif isinstance(outcome, Exception):
            raise outcome
        elif isinstance(outcome, Report):
            self._judge_report(clip, job, outcome, now)
        else:
            self._judge_video(clip, job, outcome, now)

    def _judge_report(self, clip: FollowedClip, job: Job, report: Report, now: float) -> None:
        """Act on the container's report."""
        clip.phase = Phase.SETTLING
        if report.not_video:
            error = NotAVideo(report.why, "Replace it with the video itself, or delete it.")
            self._problems.reject(job, error, clip.signature)
        elif not report.complete and job.damaged == clip.signature and report.kind in VIDEO_KINDS:
            self.inspect(Inspection.DECODE, clip, job, kind=str(report.kind), missing=report.why)
        elif not report.complete:
            todo = _todo(job, decodes=bool(report.video))
            self._problems.incomplete(clip, job, PovwatchError(report.why, todo), now)
        elif not report.end_known and not self._clips.settled(clip, times=ENDLESS_SHARE):
            self._clips.plan_sample(clip)
        else:
            self.inspect(Inspection.PACKETS, clip, job, kind=str(report.kind))

    def _judge_video(self, clip: FollowedClip, job: Job, info: VideoInfo, now: float) -> None:
        """Act on what the clip contains."""
        decodes = info.why != NOTHING
        if info.undecided:
            self.inspect(Inspection.DECODE, clip, job, kind=info.container)
        elif info.complete:
            self._arrived(clip, job, info)
        elif decodes and job.damaged == clip.signature:
            self.inspect(Inspection.DECODE, clip, job, kind=info.container, missing=info.why)
        else:
            self._problems.incomplete(clip, job, PovwatchError(info.why, _todo(job, decodes=decodes)), now)

    def _arrived(self, clip: FollowedClip, job: Job, info: VideoInfo) -> None:
        clip.phase, clip.settle = Phase.ARRIVED, None
        self._problems.clear(job)
        arrived = Arrived(
            described=described(info),
            source_hash=info.sha256,
            source_stat=clip.signature,
            source_info=json.dumps(info.to_json()),
            now=self._store.clock.wall(),
        )
        self._store.apply(job, arrived)
        self._joining.clip_arrived(job.path, clip.signature)


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
    if not decodes:
        return INCOMPLETE_TODO
    return f"{INCOMPLETE_TODO} {DAMAGED_TODO.format(go=command('go', '--damaged', clip=job.called))}"
