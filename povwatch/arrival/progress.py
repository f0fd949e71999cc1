"""Logs how much of each clip has arrived, as far as its container tells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from povwatch.arrival.followed import PERCENT_STEP, FollowedClip, Phase
from povwatch.arrival.inspections import Inspection
from povwatch.container import Report, TakesLonger
from povwatch.core.errors import PovwatchError
from povwatch.core.events import say
from povwatch.core.units import spell_size
from povwatch.files.signature import size_of

if TYPE_CHECKING:
    from povwatch.arrival.clip_files import ClipFiles
    from povwatch.arrival.followed import FollowedClips
    from povwatch.arrival.inspections import Inspections
    from povwatch.core.job import Job
    from povwatch.media.info import VideoInfo


class ArrivalProgress:
    """Logs every ten per cent of a clip that arrives."""

    def __init__(self, clips: FollowedClips, files: ClipFiles, inspections: Inspections) -> None:
        self._clips = clips
        self._files = files
        self._inspections = inspections

    def report(self, job: Job, clip: FollowedClip) -> None:
        """Log how much has arrived, every ten per cent, if the container tells."""
        size = size_of(clip.signature)
        try:
            report = self._files.report(job.path, size, glance=True)
        except TakesLonger:  # if one is under way, the file grows faster than a child reads it; try at a later change
            self._inspections.start(Inspection.GLANCE, job, partial(self._glanced, job, size), size=size)
            return
        if report is not None:
            _say_progress(job, clip, report, size)

    def cancel(self, job: Job) -> None:
        """Cancel the child process that finds out how much has arrived."""
        self._inspections.cancel(Inspection.GLANCE, job.id)

    def _glanced(self, job: Job, size: int, outcome: Report | VideoInfo | Exception) -> None:
        """Log what a child process found. If it failed, the inspection of the settled clip is early enough."""
        clip = self._clips.of(job)
        if isinstance(outcome, Report):
            if clip is not None and clip.phase is Phase.SETTLING:
                _say_progress(job, clip, outcome, size)
        elif isinstance(outcome, Exception) and not isinstance(outcome, PovwatchError):
            raise outcome


def _say_progress(job: Job, clip: FollowedClip, report: Report, size: int) -> None:
    if not size or report.percent is None or report.complete or report.percent < clip.percent + PERCENT_STEP:
        return
    clip.percent = int(report.percent)
    say("arriving", job, percent=f"{clip.percent} %", size=spell_size(size))
