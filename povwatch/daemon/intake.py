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
import heapq
import os
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from povwatch import layout
from povwatch.arrival.scan import ClipUnreadable, sample
from povwatch.arrival.settle import Settle
from povwatch.arrival.signature import Signature, size_of
from povwatch.arrival.writers import Writers, writer_open
from povwatch.container import Report, examine
from povwatch.errors import NotAVideo, PovwatchError
from povwatch.fs import open_beneath
from povwatch.job import CLAIMED, Job, JobState, Waiting
from povwatch.journal import StaleJobError
from povwatch.media.errors import MediaStopped
from povwatch.media.info import VideoInfo
from povwatch.media.run import PROBE, call
from povwatch.units import spell_duration, spell_size
from povwatch.voice import say

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from povwatch.daemon.background import Background
    from povwatch.daemon.ledger import Ledger
    from povwatch.daemon.notices import Notices

INCOMPLETE_PATIENCE = 900.0
"""Seconds after which an incomplete clip gets an error file."""

GONE_PATIENCE = 5.0
"""Seconds after which a clip that is gone cancels its job: an editor or a sync tool may put it back."""

WRITER_RETRY = 1.0
"""Seconds between two looks at who writes."""

PERCENT_STEP = 10
"""Percent between two lines about an arriving clip."""

INSPECT_TIMEOUT = 1800.0
"""Seconds for a look at every packet: a day of video on a slow disk."""

SEEN_MAX = 200
"""More clips than that at once are one line in the log."""

TICK_SECONDS = 0.2
"""The loop has other things to do as well."""

ENDLESS_SHARE = 3
"""So many times `arrival.settle` must a file be quiet whose format does not say where it ends."""

LINK_TODO = "Links are not followed: copy the video itself into the folder."


class Phase(Enum):
    """Where a clip is on its way in."""

    SETTLING = auto()
    """Sampled until it stays the same."""
    INSPECTING = auto()
    """A child looks at every packet."""
    WAITING = auto()
    """Something is missing; the next change wakes it."""
    IN = auto()
    """Arrived; watched for changes only."""


@dataclass(slots=True)
class Track:
    """One clip that has a job under way."""

    job: int
    signature: bytes
    phase: Phase
    since: float
    settle: Settle | None = None
    percent: int = -PERCENT_STEP
    gone_at: float | None = None
    held_back: bytes | None = None
    warned: bool = False


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
        """
        self._root = root
        self._settle = settle
        self._network = network
        self._blind_said = False
        self._ledger = ledger
        self._background = background
        self._notices = notices
        self._arrived = arrived
        self._withdrawn = withdrawn
        self._tracks: dict[bytes, Track] = {}
        self._due: list[tuple[float, bytes]] = []
        self._root_fd = -1

    def open_root(self) -> None:
        """Open inputs/, anew after it was away."""
        if self._root_fd >= 0:
            os.close(self._root_fd)
        self._root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def moving(self) -> bool:
        """Whether a clip is on its way in and will go on without anybody's help."""
        return any(
            t.phase in {Phase.SETTLING, Phase.INSPECTING} or t.gone_at is not None for t in self._tracks.values()
        )

    @property
    def paths(self) -> Iterable[bytes]:
        """The clips with a job under way."""
        return self._tracks.keys()

    # -- what the lookout sees

    def appeared(self, clips: Iterable[tuple[bytes, bytes]], now: float) -> None:
        """Clips that are in the folder, with their signatures."""
        fresh = []
        for path, signature in clips:
            if track := self._tracks.get(path):
                track.gone_at = None
                if signature != track.signature:
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
            self._track(job, now)

    def again(self, path: bytes, now: float, *, force: bool = False) -> Job | None:
        """A clip is to run once more: it arrives anew, with a new job. None if it is not there."""
        signature = self._sample(path)
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
            self._plan(path, now + GONE_PATIENCE)

    def linked(self, path: bytes, signature: Signature) -> None:
        """A symlink to a video: rejected in words, never followed."""
        known = self._ledger.known.get(path)
        if known is not None and (not known.state.ended or known.source_stat == signature):
            return
        (job,) = self._ledger.add([(path, signature)])
        self._reject(job, NotAVideo("It is a symbolic link.", LINK_TODO), signature)

    def hold_back(self, partials: Mapping[bytes, bytes], now: float) -> None:
        """Clips beside which an unfinished copy of them lies, with its name: they wait for it."""
        for path, track in self._tracks.items():
            was, track.held_back = track.held_back, partials.get(path)
            if was and not track.held_back:
                self._plan(path, now)

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
        self._track(dataclasses.replace(job, source_stat=self._sample(job.path) or b""), now)

    # -- the timers

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._due[0][0] if self._due else None

    def tick(self, now: float) -> None:
        """Look at the clips whose time has come, as many as fit into a part of a second; the rest is due at once."""
        if not self._due or self._due[0][0] > now:
            return
        until = self._ledger.clock.boot() + TICK_SECONDS
        with self._ledger.journal.batch():
            while self._due and self._due[0][0] <= now and self._ledger.clock.boot() < until:
                self._look_at_next(now)

    def _look_at_next(self, now: float) -> None:
        """Look at the clip that is due first."""
        _, path = heapq.heappop(self._due)
        track = self._tracks.get(path)
        if track is None:
            return
        if track.gone_at is not None:
            self._check_gone(path, track, now)
        elif track.phase in {Phase.SETTLING, Phase.WAITING}:
            self._look(path, track, now)

    def _look(self, path: bytes, track: Track, now: float) -> None:
        """Sample a clip that still arrives; go on with it when it has settled."""
        try:
            signature = self._sample(path)
        except ClipUnreadable as error:
            self._incomplete(path, track, self._ledger.job(track.job), str(error), now)
            return
        if signature is None:
            self.absent(path, now)
            return
        if signature != track.signature:
            self._changed(path, track, signature, now)
            return
        if track.phase is Phase.WAITING:
            self._warn(track, now)
            return
        assert track.settle is not None  # noqa: S101 - settling clips have one
        track.settle.observe(signature, now, self._settle)
        job = self._ledger.job(track.job)
        if track.held_back:
            self._wait(job, Waiting.INCOMPLETE, f"{layout.shown(track.held_back)} is still beside it")
            self._plan(path, now + self._settle)
        elif not track.settle.settled(self._settle):
            self._report_arriving(job, track)
            self._plan(path, track.settle.next_sample(self._settle))
        else:
            self._settled(path, track, job, now)

    def _settled(self, path: bytes, track: Track, job: Job, now: float) -> None:
        """It stays the same: is anybody writing, is it whole, is it a video?"""
        assert track.settle is not None  # noqa: S101 - settling clips have one
        fd = self._open(path)
        if fd is None:
            self.absent(path, now)
            return
        try:
            writers = writer_open(fd, network=self._network)
            if writers is Writers.UNKNOWN and not self._network and not self._blind_said:
                self._blind_said = True
                say("writers-unseen")
            if writers is Writers.OPEN:
                self._wait(job, Waiting.WRITER_OPEN, "a program has it open for writing")
                self._plan(path, now + WRITER_RETRY)
                return
            report = examine(fd, size_of(track.signature))
        finally:
            os.close(fd)
        if report.not_video:
            self._reject(job, NotAVideo(report.why, "Replace it with the video itself, or delete it."), track.signature)
        elif not report.complete:
            self._incomplete(path, track, job, report.why, now)
        elif not report.end_known and not track.settle.settled(ENDLESS_SHARE * self._settle):
            self._plan(path, track.settle.next_sample(self._settle))
        else:
            self._inspect(track, job, report)

    def _inspect(self, track: Track, job: Job, report: Report) -> None:
        track.phase = Phase.INSPECTING
        key, signature = ("inspect", job.id), track.signature
        if self._background.busy(key):  # one that is being cancelled: its end looks again
            return
        file = str(self._root / os.fsdecode(job.path))

        def work(cancelled: threading.Event) -> VideoInfo:
            args = {"path": file, "kind": str(report.kind)}
            found = call("inspect", args, timeout=INSPECT_TIMEOUT, limits=PROBE, cancelled=cancelled)
            return VideoInfo.from_json(found)

        self._background.submit(key, work, lambda outcome: self._inspected(job.path, job.id, signature, outcome))

    def _inspected(self, path: bytes, job_id: int, signature: bytes, outcome: VideoInfo | Exception) -> None:
        now = self._ledger.clock.boot()
        track = self._tracks.get(path)
        if track is None or track.job != job_id:
            return
        if track.signature != signature or self._sample(path) != signature or isinstance(outcome, MediaStopped):
            track.phase = Phase.SETTLING  # it changed meanwhile: what was found is about another file
            self._plan(path, now)
            return
        job = self._ledger.job(job_id)
        if isinstance(outcome, NotAVideo):
            self._reject(job, outcome, signature)
        elif isinstance(outcome, PovwatchError):
            self._incomplete(path, track, job, str(outcome), now)
        elif isinstance(outcome, Exception):
            raise outcome
        elif not outcome.complete:
            self._incomplete(path, track, job, outcome.why, now)
        else:
            track.phase = Phase.IN
            self._notices.clear(job)
            self._arrived(dataclasses.replace(job, source_stat=signature), outcome)

    def _incomplete(self, path: bytes, track: Track, job: Job, why: str, now: float) -> None:
        self._wait(job, Waiting.INCOMPLETE, why)
        track.phase = Phase.WAITING
        if not track.warned:
            self._plan(path, track.since + INCOMPLETE_PATIENCE)
        if now - track.since >= INCOMPLETE_PATIENCE:
            self._warn(track, now)

    def _warn(self, track: Track, now: float) -> None:
        """Something has been missing for long: say so beside the clip, once."""
        if track.warned or now - track.since < INCOMPLETE_PATIENCE:
            return
        track.warned = True
        job = self._ledger.job(track.job)
        todo = "Copy it again. If it is still being copied, there is nothing to do: it goes on by itself."
        file = self._notices.write(job, "is still incomplete", job.detail, todo)
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
            job = self._wait(job, Waiting.SETTLING, "")
        if track.phase is not Phase.SETTLING:
            track.phase, track.since, track.warned = Phase.SETTLING, now, False
        if track.settle is None:
            track.settle = Settle()
        track.settle.observe(signature, now, self._settle)
        self._report_arriving(job, track)
        self._plan(path, track.settle.next_sample(self._settle))

    def _check_gone(self, path: bytes, track: Track, now: float) -> None:
        assert track.gone_at is not None  # noqa: S101 - the caller looked
        signature = self._sample(path)
        if signature is not None:
            track.gone_at = None
            self.appeared([(path, signature)], now)
            if track.phase is Phase.SETTLING:
                self._plan(path, now)
        elif now - track.gone_at < GONE_PATIENCE:
            self._plan(path, track.gone_at + GONE_PATIENCE)
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
        self._plan(job.path, settle.next_sample(self._settle))

    def _plan(self, path: bytes, when: float) -> None:
        heapq.heappush(self._due, (when, path))

    def _sample(self, path: bytes) -> bytes | None:
        return sample(self._root_fd, path)

    def _open(self, path: bytes) -> int | None:
        try:
            return open_beneath(self._root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            return None

    def _wait(self, job: Job, waiting: Waiting, detail: str) -> Job:
        try:
            return self._ledger.wait(job, waiting, detail)
        except StaleJobError:
            return self._ledger.job(job.id)

    def _report_arriving(self, job: Job, track: Track) -> None:
        """How much has come, every ten per cent, where the container tells."""
        fd = self._open(job.path)
        if fd is None:
            return
        try:
            report = examine(fd, size_of(track.signature))
        finally:
            os.close(fd)
        if report.percent is None or report.complete or report.percent < track.percent + PERCENT_STEP:
            return
        track.percent = int(report.percent)
        say("arriving", job, percent=f"{report.percent:.0f} %", size=spell_size(size_of(track.signature)))


def describe(info: VideoInfo) -> dict[str, object]:
    """What the log says of a clip that has arrived."""
    return {
        "frames": info.frames,
        "shape": f"{info.display_width}x{info.display_height}",
        "rate": f"{float(info.fps):.3f}".rstrip("0").rstrip("."),
        "duration": spell_duration(info.duration),
        "codec": info.codec,
    }
