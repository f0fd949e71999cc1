"""The arrival stage: the clips on their way in, and when each is looked at next. arriving.py does the looking.

Each clip has its own timer, so a slow copy never delays other clips.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from typing import TYPE_CHECKING

from povwatch.arrival.arriving import Arriving
from povwatch.arrival.clip_files import ClipFiles
from povwatch.arrival.tracks import GONE_PATIENCE, Phase, Track, Tracks
from povwatch.core import layout
from povwatch.core.changes import Cancelled, Failed, StillDamaged
from povwatch.core.errors import NotAVideo, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.retry import FAULTS_PATIENCE
from povwatch.core.stage import Stage
from povwatch.core.units import spell_size
from povwatch.files.scan import ClipUnreadable
from povwatch.files.signature import Signature, identity_of, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from povwatch.arrival.known_root import KnownRoot
    from povwatch.arrival.looks import Looks
    from povwatch.config.settings import Arrival
    from povwatch.journal.store import JobStore
    from povwatch.service.requests import Answer
    from povwatch.spec.error_files import ErrorFiles

INCOMPLETE_PATIENCE = 900.0
"""Seconds after which an incomplete clip gets an error file."""

SEEN_MAX = 200
"""Beyond so many new clips at once, they share one log line."""

ADD_AT_ONCE = 2_000
"""Clips in one transaction. It is about as fast as all at once, and 100,000 new clips do not fill the memory."""

TICK_SECONDS = 0.2
"""The longest that a tick may keep the loop from its other work."""

LET_GO_QUIET = 90.0
"""Seconds for which a cancelled copy that still grows is not taken for a new clip. Rescans are half a minute apart."""

LOOK_AGAIN = 2.0
"""Seconds until a clip is looked at again after povwatch itself failed."""

LINK_TODO = "Links are not followed: copy the video itself into the folder."


class ArrivalStage(Stage):
    """Owns the clips on their way in, and watches the clip of every job that has not ended."""

    states = (JobState.ARRIVING,)

    def __init__(
        self,
        config: Arrival,
        *,
        store: JobStore,
        root: KnownRoot,
        looks: Looks,
        error_files: ErrorFiles,
        patience: float = INCOMPLETE_PATIENCE,
    ) -> None:
        self._store = store
        self._error_files = error_files
        self._clips = ClipFiles(root.inputs, network=root.guard.is_network)
        self._tracks = Tracks(store.missing)
        self._arriving = Arriving(
            self._tracks,
            self._clips,
            settle=config.network_settle if root.guard.is_network else config.settle,
            patience=patience,
            store=store,
            looks=looks,
            error_files=error_files,
        )
        self._cancelled: dict[bytes, tuple[Signature, float]] = {}
        """Clips that were cancelled while they arrived: their last signature, and when it was seen."""

    def open_root(self) -> None:
        """Open inputs/, again after it was away."""
        self._clips.open_root()

    def close(self) -> None:
        """Close inputs/."""
        self._clips.close_root()

    @property
    def moving(self) -> bool:
        """Whether a clip is arriving and goes on without anybody's help."""
        return any(
            (t.phase in {Phase.SETTLING, Phase.INSPECTING} and t.held_back is None and t.faults < FAULTS_PATIENCE)
            or t.gone_at is not None
            for t in self._tracks.values()
        )

    @property
    def on_the_way(self) -> int:
        """Number of clips that have not arrived yet."""
        return sum(track.phase is not Phase.IN for track in self._tracks.values())

    @property
    def jobs_left(self) -> bool:
        """Whether a job would be lost if another folder were taken for inputs/."""
        return any(count for state, count in self._store.counts.items() if not state.ended)

    @property
    def paths(self) -> Iterable[bytes]:
        """The clips whose job has not ended."""
        return iter(self._tracks)

    # -- what the folder monitor sees

    def appeared(self, clips: Iterable[tuple[bytes, bytes]], now: float) -> None:
        """Take in clips that exist, with their signatures."""
        fresh = []
        for clip in clips:
            path, signature = clip
            if path not in self._store.scope:
                continue
            if track := self._tracks.get(path):
                track.gone_at = None
                if signature != track.signature:
                    with self._charged_to(track.job):
                        self._arriving.changed(path, track, signature, now)
                continue
            known = self._store.known.get(path)
            if known is None or (known.state.ended and signature != known.source_stat):
                if path not in self._cancelled or not self._still_comes(path, signature, now):
                    fresh.append(clip)
            elif not known.state.ended:
                with self._charged_to(known.job):
                    self._follow(self._store.job(known.job), signature, now)
        self._add(fresh, now)

    def recall(self, now: float) -> None:
        """Follow the clips of all jobs from before the last start, seen or not. The missing ones are `absent` next."""
        for path, known in self._store.known.items():
            if not known.state.ended and path not in self._tracks and path in self._store.scope:
                with self._charged_to(known.job):
                    self._follow(self._store.job(known.job), known.source_stat or b"", now)

    def again(self, path: bytes, now: float, *, force: bool = False) -> Job | None:
        """Run a clip again: it arrives anew, with a new job. None if it does not exist.

        Raises:
            ClipUnreadable: it exists and cannot be opened.
        """
        signature = self._clips.sample(path)
        if signature is None:
            return None
        last = self._store.of_path(path)
        (job,) = self._store.add([(path, signature)], force=force)
        if last is not None and last.damaged == signature:  # the same file, as damaged as before
            job = self._store.apply(job, StillDamaged(signature=signature))
        self._arriving.begin(job, now)
        return job

    def absent(self, path: bytes, now: float) -> None:
        """Note that a clip is missing. It has a few seconds to come back."""
        self._tracks.lose(path, now)

    def linked(self, path: bytes, signature: Signature) -> None:
        """Reject a symlink to a video. Links are never followed."""
        known = self._store.known.get(path)
        if path not in self._store.scope:
            return
        if known is not None and (not known.state.ended or known.source_stat == signature):
            return
        (job,) = self._store.add([(path, signature)])
        with self._charged_to(job.id):
            self._arriving.reject(job, NotAVideo("It is a symbolic link.", LINK_TODO), signature)

    def hold_back(self, partials: Mapping[bytes, bytes], now: float) -> None:
        """Hold back the clips that have an unfinished copy beside them. `partials` maps clips to copies."""
        for path, track in self._tracks.items():
            was, track.held_back = track.held_back, partials.get(path)
            if was and not track.held_back:
                self._tracks.plan(path, now)

    def withdraw(self, job: Job, why: str) -> None:
        """Cancel a job, now or once its work has ended."""
        if self._store.cancel(job, why):
            return
        self._error_files.clear(job)
        signature = self.signature(job)
        self._store.apply(self._store.job(job.id), Cancelled(why=why, source_stat=signature))

    def release(self, job: Job, error: PovwatchError, pause: float) -> None:
        """See Stage. The clip is looked at anew."""
        del error, pause
        self._begin_anew(job)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._error_files.write(job, "failed", error.what, error.todo)
        self._store.apply(job, Failed(error=str(error)))

    def ended(self, job: Job) -> None:
        """See Stage. From now on only the clip's signature is known."""
        track = self._tracks.get(job.path)
        coming = track is not None and track.phase is not Phase.IN and track.gone_at is None and track.signature
        if job.state is JobState.CANCELLED and track is not None and coming:
            self._cancelled[job.path] = (track.signature, self._store.clock.boot())
        self._arriving.forget(job)

    def _add(self, fresh: list[tuple[bytes, Signature]], now: float) -> None:
        """Add a job for each new clip. Of two clips with one stem, the MP4 gets the stem's names."""
        fresh.sort(key=lambda clip: layout.precedence(clip[0]))
        if len(fresh) > SEEN_MAX:
            say("seen-many", count=len(fresh), first=fresh[0][0])
        for start in range(0, len(fresh), ADD_AT_ONCE):
            for job in self._store.add(fresh[start : start + ADD_AT_ONCE]):
                with self._charged_to(job.id):
                    if len(fresh) <= SEEN_MAX:
                        say("seen", job, size=spell_size(size_of(job.source_stat or b"")))
                    self._say_base(job)
                    self._arriving.begin(job, now)

    def _still_comes(self, path: bytes, signature: Signature, now: float) -> bool:
        """Whether this is the rest of a copy that was cancelled while it arrived, and no new clip."""
        last, seen_at = self._cancelled[path]
        grows = identity_of(signature) == identity_of(last) and size_of(signature) >= size_of(last)
        if not grows or now - seen_at >= LET_GO_QUIET:
            del self._cancelled[path]
            return False
        self._cancelled[path] = (signature, now)
        self._store.touch(self._store.job(self._store.known[path].job), source_stat=signature)
        return True

    def signature(self, job: Job) -> Signature | None:
        """The clip's last signature."""
        track = self._tracks.get(job.path)
        return track.signature if track is not None and track.job == job.id else job.source_stat

    def run_damaged(self, job: Job, answer: Callable[[Answer], None]) -> None:
        """Run whatever decodes of an incomplete clip; see Arriving."""
        self._arriving.run_damaged(job, answer)

    def enter(self, job: Job) -> None:
        """See Stage. A claimed clip has changed, or could not be inspected: it arrives anew."""
        if (track := self._tracks.get(job.path)) is not None and track.job == job.id and track.phase is Phase.SETTLING:
            return  # this stage itself noticed the change
        self._begin_anew(job)

    def _begin_anew(self, job: Job) -> None:
        now = self._store.clock.boot()
        signature = self._clips.sample_or_none(job.path) or b""
        if job.damaged is not None and job.damaged != signature:
            job = self._arriving.forget_damaged(job)
        self._arriving.begin(dataclasses.replace(job, source_stat=signature), now)

    # -- the timers

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._tracks.next_deadline()

    def tick(self, now: float) -> None:
        """Look at the clips whose timers have ended, for at most TICK_SECONDS. The rest stays due."""
        due = self._tracks.next_deadline()
        if due is None or due > now:
            return
        until = self._store.clock.boot() + TICK_SECONDS
        with self._store.together():
            while self._store.clock.boot() < until and (path := self._tracks.take_due(now)) is not None:
                try:
                    self._look_at(path, self._tracks[path], now)
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs this clip's job and no other
                    if path in self._tracks:  # its timer was used up
                        self._tracks.plan(path, self._store.clock.boot() + LOOK_AGAIN)
                    self._store.mishaps.of(("arrival", self._store.known[path].job), error)

    def _look_at(self, path: bytes, track: Track, now: float) -> None:
        if track.gone_at is not None:
            self._check_gone(path, track, now)
        elif track.phase in {Phase.SETTLING, Phase.WAITING}:
            self._arriving.look(path, track, now)

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
            self.withdraw(self._store.job(track.job), "the clip was deleted")

    # -- helpers

    def _follow(self, job: Job, signature: bytes, now: float) -> None:
        """Go on with a job from before the last start."""
        if job.damaged not in {None, signature}:
            job = self._arriving.forget_damaged(job)
        if job.state is JobState.ARRIVING:
            waited = 0.0
            if job.waiting_on is Waiting.INCOMPLETE and signature == job.source_stat:  # the file is unchanged
                waited = max(0.0, self._store.clock.wall() - job.updated_at)
            self._arriving.begin(dataclasses.replace(job, source_stat=signature), now, since=now - waited)
            return
        self._tracks[job.path] = track = Track(job.id, job.source_stat or b"", Phase.IN, now)
        if signature != job.source_stat:
            self._arriving.changed(job.path, track, signature, now)

    @contextmanager
    def _charged_to(self, job: int) -> Iterator[None]:
        """Charge an unforeseen error to this job alone."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._store.mishaps.of(("arrival", job), error)

    def _say_base(self, job: Job) -> None:
        """Log a base that is not the clip's stem."""
        stem = layout.stem_of(layout.split(job.path)[1])
        if job.base != stem:
            holder = self._store.journal.holder(layout.split(job.path)[0], stem)
            why = f"{layout.shown(stem)} is {'too long' if holder is None else f'taken by {layout.shown(holder)}'}"
            say("base-chosen", job, why=why, stem=stem, holder=holder, spec=layout.beside(job.path, job.base).spec)
