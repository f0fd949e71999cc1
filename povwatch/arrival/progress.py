"""Logs how much of a clip has arrived, every ten per cent, if its container tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.arrival.clip_files import have_examined
from povwatch.arrival.tracks import PERCENT_STEP, Phase
from povwatch.container import Report, TakesLonger
from povwatch.core.errors import PovwatchError
from povwatch.core.events import say
from povwatch.core.units import spell_size
from povwatch.files.signature import size_of

if TYPE_CHECKING:
    from povwatch.arrival.clip_files import ClipFiles
    from povwatch.arrival.tracks import Track, Tracks
    from povwatch.core.background import Background
    from povwatch.core.job import Job


class Progress:
    """Reads a growing clip's container: at once if that is quick, else in a child process, one for each clip."""

    def __init__(self, tracks: Tracks, clips: ClipFiles, walks: Background) -> None:
        self._tracks = tracks
        self._clips = clips
        self._walks = walks

    def report(self, job: Job, track: Track) -> None:
        """Log how much has arrived, if it is ten per cent more than the last line said."""
        size, key = size_of(track.signature), ("glance", job.id)
        try:
            report = self._clips.report(job.path, size, glance=True)
        except TakesLonger:
            if not self._walks.busy(key):  # else it grows faster than a child reads it; try at a later change
                root = self._clips.root
                then = lambda outcome: self._glanced(job, size, outcome)  # noqa: E731 - its line would be too long
                self._walks.submit(key, then, have_examined, root, job.path, size, glance=True)
            return
        if report is not None:
            _say(job, track, report, size)

    def forget(self, job: Job) -> None:
        """Stop the child process of a job that ended."""
        self._walks.cancel(("glance", job.id))

    def _glanced(self, job: Job, size: int, outcome: Report | Exception) -> None:
        """Log what a child process found. If it failed, the inspection of the settled clip is early enough."""
        track = self._tracks.get(job.path)
        if isinstance(outcome, Report):
            if track is not None and track.job == job.id and track.phase is Phase.SETTLING:
                _say(job, track, outcome, size)
        elif not isinstance(outcome, PovwatchError):
            raise outcome


def _say(job: Job, track: Track, report: Report, size: int) -> None:
    if not size or report.percent is None or report.complete or report.percent < track.percent + PERCENT_STEP:
        return
    track.percent = int(report.percent)
    say("arriving", job, percent=f"{track.percent} %", size=spell_size(size))
