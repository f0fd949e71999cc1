"""A clip from first sight to arrived: settled, closed by its writer, whole, and a video.

The rule (all four hold):

1. Its stat signature is the same in at least 3 samples over `arrival.settle`.
2. It is not empty.
3. No local process has it open for writing.
4. Its container is complete, every packet demuxes and its tail decodes.

A clip has a timer of its own: a slow copy never delays its neighbours.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from typing import TYPE_CHECKING

from povwatch import layout
from povwatch.arrival.scan import ClipUnreadable
from povwatch.arrival.settle import Settle
from povwatch.arrival.signature import Signature, size_of
from povwatch.daemon.clip_files import ClipFiles
from povwatch.daemon.tracks import INCOMPLETE_TODO, PERCENT_STEP, Phase, Track, Tracks
from povwatch.errors import NotAVideo, PovwatchError
from povwatch.job import CLAIMED, Job, JobState, Waiting
from povwatch.journal import StaleJobError
from povwatch.media.errors import MediaStopped
from povwatch.units import spell_size
from povwatch.voice import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from povwatch.container import Report
    from povwatch.daemon.background import Background
    from povwatch.daemon.ledger import Ledger
    from povwatch.daemon.notices import Notices
    from povwatch.media.info import VideoInfo

INCOMPLETE_PATIENCE = 900.0
"""Seconds after which an incomplete clip gets an error file."""

GONE_PATIENCE = 5.0
"""Seconds after which a clip that is gone cancels its job: an editor or a sync tool may put it back."""

WRITER_RETRY = 1.0
"""Seconds between two looks at who writes."""

SEEN_MAX = 200
"""More clips than that at once are one line in the log."""

TICK_SECONDS = 0.2
"""The loop has other things to do as well."""

ENDLESS_SHARE = 3
"""So many times `arrival.settle` must a file be quiet whose format does not say where it ends."""

LINK_TODO = "Links are not followed: copy the video itself into the folder."


class Intake:
    """Every clip on its way in."""

    def __init__(
        self,
        root: Path,
        *,
        settle: float,
        network: bool,
        ledger: Ledger,
        background: Background,
        notices: Notices,
        arrived: Callable[[Job, VideoInfo], None],
        withdrawn: Callable[[Job, str], None],
        broken: Callable[[tuple[str, int], Exception], None],
    ) -> None:
        """Make it.

        Args:
            root: inputs/.
            settle: seconds.
            network: whether inputs/ is on a network file system, where leases mean nothing.
            ledger: the jobs.
            background: where the inspection runs.
            notices: the error files.
            arrived: told of a job whose clip is in.
            withdrawn: told of a job whose clip is gone or changed, and why.
            broken: told of a job whose clip raised what nobody foresaw.
        """
        self._clips = ClipFiles(root, network=network)
        self._settle = settle
        self._ledger = ledger
        self._background = background
        self._notices = notices
        self._arrived = arrived
        self._withdrawn = withdrawn
        self._broken = broken
        self._tracks = Tracks()
        self.patience = INCOMPLETE_PATIENCE
        """Seconds after which an incomplete clip gets an error file."""

    def open_root(self) -> None:
        """Open inputs/, anew after it was away."""
        self._clips.open_root()

    @property
    def moving(self) -> bool:
        """Whether a clip is on its way in and will go on without anybody's help."""
        return any(
            (t.phase in {Phase.SETTLING, Phase.INSPECTING} and t.held_back is None) or t.gone_at is not None
            for t in self._tracks.values()
        )

    @property
    def jobs_left(self) -> bool:
        """Whether a job is under way that would be lost if another folder were taken for inputs/."""
        return any(count for state, count in self._ledger.counts.items() if not state.ended)

    @property
    def paths(self) -> Iterable[bytes]:
        """The clips with a job under way."""
        return iter(self._tracks)

    # -- what the lookout sees

    def appeared(self, clips: Iterable[tuple[bytes, bytes]], now: float) -> None:
        """Clips that are in the folder, with their signatures."""
        fresh = []
        for path, signature in clips:
            if track := self._tracks.get(path):
                track.gone_at = None
                if signature != track.signature:
                    with self._at_its_expense(track.job):
                        self._changed(path, track, signature, now)
                continue
            known = self._ledger.known.get(path)
            if known is None or (known.state.ended and signature != known.source_stat):
                fresh.append((path, signature))
            elif not known.state.ended:
                self._follow(self._ledger.job(known.job), signature, now)
        if not fresh:
            return
        jobs = self._ledger.add(fresh)
        if len(jobs) > SEEN_MAX:
            say("seen-many", count=len(jobs), first=jobs[0].path)
        for job in jobs:
            if len(jobs) <= SEEN_MAX:
                say("seen", job, size=spell_size(size_of(job.source_stat or b"")))
            self._say_base(job)
            self._track(job, now)

    def recall(self, now: float) -> None:
        """Follow the clips of all jobs from before the last start, seen or not: what is not there is `absent` next."""
        for path, known in self._ledger.known.items():
            if not known.state.ended and path not in self._tracks:
                self._follow(self._ledger.job(known.job), known.source_stat or b"", now)

    def again(self, path: bytes, now: float, *, force: bool = False) -> Job | None:
        """A clip is to run once more: it arrives anew, with a new job. None if it is not there.

        Raises:
            ClipUnreadable: it is there and cannot be opened.
        """
        signature = self._clips.sample(path)
        if signature is None:
            return None
        (job,) = self._ledger.add([(path, signature)], force=force)
        self._track(job, now)
        return job

    def absent(self, path: bytes, now: float) -> None:
        """A clip is not in the folder any more; it has a few seconds to come back."""
        track = self._tracks.get(path)
        if track is not None and track.gone_at is None:
            track.gone_at = now
            self._tracks.plan(path, now + GONE_PATIENCE)

    def linked(self, path: bytes, signature: Signature) -> None:
        """A symlink to a video: rejected in words, never followed."""
        known = self._ledger.known.get(path)
        if known is not None and (not known.state.ended or known.source_stat == signature):
            return
        (job,) = self._ledger.add([(path, signature)])
        self._reject(job, NotAVideo("It is a symbolic link.", LINK_TODO), signature)

    def hold_back(self, partials: Mapping[bytes, bytes], now: float) -> None:
        """Take in beside which clips an unfinished copy of them lies, with its name: they wait for it."""
        for path, track in self._tracks.items():
            was, track.held_back = track.held_back, partials.get(path)
            if was and not track.held_back:
                self._tracks.plan(path, now)

    def forget(self, job: Job) -> None:
        """A job ended: its clip is known by its signature alone from now on."""
        track = self._tracks.get(job.path)
        if track is not None and track.job == job.id:
            self._background.cancel(("inspect", job.id))
            del self._tracks[job.path]

    def signature(self, job: Job) -> Signature | None:
        """The clip's signature as it was last seen."""
        track = self._tracks.get(job.path)
        return track.signature if track is not None and track.job == job.id else job.source_stat

    def return_to_arriving(self, job: Job) -> None:
        """A claimed clip turned out to have changed: it arrives anew."""
        now = self._ledger.clock.boot()
        self._track(dataclasses.replace(job, source_stat=self._clips.sample_or_none(job.path) or b""), now)

    # -- the timers

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._tracks.next_deadline()

    def tick(self, now: float) -> None:
        """Look at the clips whose time has come, as many as fit into a part of a second; the rest is due at once."""
        due = self._tracks.next_deadline()
        if due is None or due > now:
            return
        until = self._ledger.clock.boot() + TICK_SECONDS
        with self._ledger.journal.batch():
            while self._ledger.clock.boot() < until and (path := self._tracks.take_due(now)) is not None:
                self._look_at(path, self._tracks[path], now)

    def _look_at(self, path: bytes, track: Track, now: float) -> None:
        with self._at_its_expense(track.job):
            if track.gone_at is not None:
                self._check_gone(path, track, now)
            elif track.phase in {Phase.SETTLING, Phase.WAITING}:
                self._look(path, track, now)

    def _look(self, path: bytes, track: Track, now: float) -> None:
        """Sample a clip that still arrives; go on with it when it has settled."""
        try:
            signature = self._clips.sample(path)
        except ClipUnreadable as error:
            self._incomplete(path, track, self._ledger.job(track.job), error, now)
            return
        if signature is None:
            self.absent(path, now)
            return
        if signature != track.signature:
            self._changed(path, track, signature, now)
            return
        if track.phase is Phase.WAITING:
            self._warn(path, track, now)
            return
        assert track.settle is not None  # noqa: S101 - settling clips have one
        track.settle.observe(signature, now, self._settle)
        job = self._ledger.job(track.job)
        if track.held_back:
            self._wait(job, Waiting.INCOMPLETE, f"{layout.shown(track.held_back)} is still beside it")
            self._tracks.plan(path, now + self._settle)
        elif not track.settle.settled(self._settle):
            self._report_arriving(job, track)
            self._tracks.plan(path, track.settle.next_sample(self._settle))
        else:
            self._settled(path, track, job, now)

    def _settled(self, path: bytes, track: Track, job: Job, now: float) -> None:
        """It stays the same: is anybody writing, is it whole, is it a video?"""
        assert track.settle is not None  # noqa: S101 - settling clips have one
        if self._clips.is_written(path):
            self._wait(job, Waiting.WRITER_OPEN, "a program has it open for writing")
            self._tracks.plan(path, now + WRITER_RETRY)
        elif (report := self._clips.report(path, size_of(track.signature))) is None:
            self.absent(path, now)
        else:
            self._judge(path, track, job, report, now)

    def _judge(self, path: bytes, track: Track, job: Job, report: Report, now: float) -> None:
        """Go by what the container says of itself."""
        assert track.settle is not None  # noqa: S101 - settling clips have one
        if report.not_video:
            self._reject(job, NotAVideo(report.why, "Replace it with the video itself, or delete it."), track.signature)
        elif not report.complete:
            self._incomplete(path, track, job, PovwatchError(report.why, INCOMPLETE_TODO), now)
        elif not report.end_known and not track.settle.settled(ENDLESS_SHARE * self._settle):
            self._tracks.plan(path, track.settle.next_sample(self._settle))
        else:
            self._inspect(track, job, report)

    def _inspect(self, track: Track, job: Job, report: Report) -> None:
        track.phase = Phase.INSPECTING
        key, signature = ("inspect", job.id), track.signature
        if self._background.busy(key):  # one that is being cancelled: its end looks again
            return
        work = self._clips.inspection(job.path, report.kind)
        self._background.submit(key, work, lambda outcome: self._inspected(job.path, job.id, signature, outcome))

    def _inspected(self, path: bytes, job_id: int, signature: bytes, outcome: VideoInfo | Exception) -> None:
        now = self._ledger.clock.boot()
        track = self._tracks.get(path)
        if track is None or track.job != job_id:
            return
        if (
            track.signature != signature
            or self._clips.sample_or_none(path) != signature
            or isinstance(outcome, MediaStopped)
        ):
            track.phase = Phase.SETTLING  # it changed meanwhile: what was found is about another file
            self._tracks.plan(path, now)
            return
        job = self._ledger.job(job_id)
        if isinstance(outcome, NotAVideo):
            self._reject(job, outcome, signature)
        elif isinstance(outcome, PovwatchError):
            self._incomplete(path, track, job, outcome, now)
        elif isinstance(outcome, Exception):
            raise outcome
        elif not outcome.complete:
            self._incomplete(path, track, job, PovwatchError(outcome.why, INCOMPLETE_TODO), now)
        else:
            track.phase = Phase.IN
            self._notices.clear(job)
            self._arrived(dataclasses.replace(job, source_stat=signature), outcome)

    def _incomplete(self, path: bytes, track: Track, job: Job, error: PovwatchError, now: float) -> None:
        self._wait(job, Waiting.INCOMPLETE, error.what)
        track.phase, track.todo = Phase.WAITING, error.todo or INCOMPLETE_TODO
        self._warn(path, track, now)

    def _warn(self, path: bytes, track: Track, now: float) -> None:
        """Something has been missing for long: say so beside the clip, once."""
        if track.warned:
            return
        if now - track.since < self.patience:
            self._tracks.plan(path, track.since + self.patience)
            return
        track.warned = True
        job = self._ledger.job(track.job)
        file = self._notices.write(job, "is still incomplete", job.detail, track.todo)
        say("incomplete", job, problem=job.detail, error_file=file)

    def _reject(self, job: Job, error: PovwatchError, signature: Signature) -> None:
        file = self._notices.write(job, "is rejected", error.what, error.todo)
        said = {"problem": str(error), "error_file": file}
        job = self._ledger.move(
            job,
            "rejected",
            said=said,
            state=JobState.REJECTED,
            waiting_on=None,
            detail="",
            error=str(error),
            source_stat=signature,
        )
        self.forget(job)

    def _changed(self, path: bytes, track: Track, signature: bytes, now: float) -> None:
        """A clip under way has another signature."""
        track.signature = signature
        job = self._ledger.job(track.job)
        if job.state in CLAIMED:
            return  # the run has its private copy; the new file is looked at when the run is over
        self._background.cancel(("inspect", job.id))
        if job.state is not JobState.ARRIVING:
            self._withdrawn(job, "changed")
            job = self._ledger.move(
                self._ledger.job(job.id), "changed", state=JobState.ARRIVING, waiting_on=Waiting.SETTLING, detail=""
            )
        elif job.waiting_on is not Waiting.SETTLING:
            job = self._wait(job, Waiting.SETTLING, "", quiet=True)
        if track.phase is not Phase.SETTLING:
            track.phase, track.since, track.warned = Phase.SETTLING, now, False
        if track.settle is None:
            track.settle = Settle()
        track.settle.observe(signature, now, self._settle)
        self._report_arriving(job, track)
        self._tracks.plan(path, track.settle.next_sample(self._settle))

    def _check_gone(self, path: bytes, track: Track, now: float) -> None:
        assert track.gone_at is not None  # noqa: S101 - the caller looked
        try:
            signature = self._clips.sample(path)
        except ClipUnreadable:
            signature = track.signature  # it is there
        if signature is not None:
            track.gone_at = None
            self.appeared([(path, signature)], now)
            self._tracks.plan(path, now)
        elif now - track.gone_at < GONE_PATIENCE:
            self._tracks.plan(path, track.gone_at + GONE_PATIENCE)
        else:
            self._withdrawn(self._ledger.job(track.job), "gone")

    # -- helpers

    def _follow(self, job: Job, signature: bytes, now: float) -> None:
        """A job from before the last start: go on with it."""
        if job.state is JobState.ARRIVING:
            self._track(dataclasses.replace(job, source_stat=signature), now)
            return
        self._tracks[job.path] = track = Track(job.id, job.source_stat or b"", Phase.IN, now)
        if signature != job.source_stat:
            self._changed(job.path, track, signature, now)

    def _track(self, job: Job, now: float) -> None:
        signature = job.source_stat or b""
        settle = Settle()
        settle.observe(signature, now, self._settle)
        self._tracks[job.path] = Track(job.id, signature, Phase.SETTLING, now, settle)
        self._tracks.plan(job.path, settle.next_sample(self._settle))

    @contextmanager
    def _at_its_expense(self, job: int) -> Iterator[None]:
        """What nobody foresaw costs that clip's job, and no other."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._broken(("arrival", job), error)

    def _say_base(self, job: Job) -> None:
        """A clip whose files do not go by its stem is told apart in the log."""
        stem = layout.stem_of(layout.split(job.path)[1])
        if job.base != stem:
            say("base-chosen", job, stem=stem, spec=layout.beside(job.path, job.base).spec)

    def _wait(self, job: Job, waiting: Waiting, detail: str, *, quiet: bool = False) -> Job:
        try:
            return self._ledger.wait(job, waiting, detail, quiet=quiet)
        except StaleJobError:
            return self._ledger.job(job.id)

    def _report_arriving(self, job: Job, track: Track) -> None:
        """How much has come, every ten per cent, where the container tells."""
        report = self._clips.report(job.path, size_of(track.signature))
        if report is None:
            return
        if report.percent is None or report.complete or report.percent < track.percent + PERCENT_STEP:
            return
        track.percent = int(report.percent)
        say("arriving", job, percent=f"{report.percent:.0f} %", size=spell_size(size_of(track.signature)))
