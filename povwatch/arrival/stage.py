"""The arrival stage: the clips on their way in.

A clip has arrived when all four hold:

1. Its stat signature is the same in at least 3 samples over `arrival.settle`.
2. It is not empty.
3. No local process has it open for writing.
4. Its container is complete, every packet is there, and it decodes. Damage only costs frames: see media/probe.py.

Each clip has its own timer, so a slow copy never delays other clips.

This file follows the clips, and samples them until they have settled. settled.py then decides whether they have
arrived, and problems.py acts on what keeps them from it. A clip arrives once for all of its looks: see joining.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from povwatch.arrival.clip_files import ClipFiles
from povwatch.arrival.damaged import DamagedClips
from povwatch.arrival.followed import FollowedClip, FollowedClips, Phase
from povwatch.arrival.joining import Joining
from povwatch.arrival.problems import ArrivalProblems
from povwatch.arrival.progress import ArrivalProgress
from povwatch.arrival.settle import Settle
from povwatch.arrival.settled import SettledClips
from povwatch.core import layout
from povwatch.core.changes import Cancelled, Changed
from povwatch.core.errors import NotAVideo, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, Job, JobState, Waiting
from povwatch.core.looks import OWN
from povwatch.core.retry import FAULTS_PATIENCE
from povwatch.core.stage import Mishap, Stage
from povwatch.core.units import spell_size
from povwatch.files.scan import ClipUnreadable
from povwatch.files.signature import Signature, identity_of, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from povwatch.arrival.inspections import Inspections
    from povwatch.arrival.known_root import KnownRoot
    from povwatch.config.settings import Arrival
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

GONE_PATIENCE = 5.0
"""Seconds until a missing clip's job is cancelled: an editor or a sync tool may put the clip back."""

MISSING_MAX = 100_000
"""Missing clips that are remembered: as many as a renamed folder may hold."""

SEEN_MAX = 200
"""Beyond so many new clips at once, they share one log line."""

ADD_AT_ONCE = 2_000
"""Clips in one transaction. It is about as fast as all at once, and 100,000 new clips do not fill the memory."""

TICK_SECONDS = 0.2
"""The longest that a tick may keep the loop from its other work."""

LET_GO_QUIET = 90.0
"""Seconds for which a cancelled copy that still grows is not taken for a new clip. Rescans are half a minute apart."""

SAMPLE_AGAIN = 2.0
"""Seconds until a clip is sampled again after povwatch itself failed."""

LINK_TODO = "Links are not followed: copy the video itself into the folder."


class ArrivalStage(Stage):
    """Owns the clips on their way in, and follows the clip of every job that has not ended."""

    states = (JobState.ARRIVING,)
    needs_inputs = True

    def __init__(
        self,
        config: Arrival,
        *,
        store: JobStore,
        root: KnownRoot,
        inspections: Inspections,
        error_files: ErrorFiles,
    ) -> None:
        self._store = store
        self._files = ClipFiles(root.path, network=root.is_network)
        self._clips = FollowedClips(config.network_settle if root.is_network else config.settle)
        self.joining = Joining(store, self._clips, self._files)
        self._problems = ArrivalProblems(store, self._clips, error_files)
        self._progress = ArrivalProgress(self._clips, self._files, inspections)
        self._settled = SettledClips(
            store,
            self._clips,
            self._files,
            inspections=inspections,
            problems=self._problems,
            joining=self.joining,
        )
        self.damaged = DamagedClips(store, self._clips, self._files, inspections=inspections, settled=self._settled)
        self._cancelled: dict[bytes, tuple[Signature, float]] = {}
        """Clips that were cancelled while they arrived: their last signature, and when it was seen."""

    def open_root(self) -> None:
        """Open inputs/, again after it was away."""
        self._files.open_root()

    def close(self) -> None:
        """Close inputs/."""
        self._files.close_root()

    @property
    def paths(self) -> Iterable[bytes]:
        """The clips whose job has not ended."""
        return iter(self._clips)

    @property
    def on_the_way(self) -> int:
        """Number of clips that have not arrived yet."""
        return sum(clip.phase is not Phase.ARRIVED for clip in self._clips.values())

    @property
    def coming(self) -> set[tuple[int, int]]:
        """Device and inode of the clips that have not arrived yet."""
        coming = (clip for clip in self._clips.values() if clip.phase is not Phase.ARRIVED)
        return {identity_of(clip.signature) for clip in coming if clip.signature}

    @property
    def moving(self) -> bool:
        """Whether a clip is arriving and goes on without anybody's help."""
        under_way = {Phase.SETTLING, Phase.INSPECTING}
        return any(
            (clip.phase in under_way and clip.held_back is None and clip.faults < FAULTS_PATIENCE)
            or clip.gone_at is not None
            for clip in self._clips.values()
        )

    def signature(self, job: Job) -> Signature | None:
        """The clip's last signature."""
        clip = self._clips.of(job)
        return clip.signature if clip else job.source_stat

    # -- what the folder monitor sees

    def appeared(self, clips: Iterable[tuple[bytes, Signature]], now: float) -> None:
        """Take in clips that exist, with their signatures."""
        fresh = []
        for path, signature in clips:
            if path not in self._store.scope:
                continue
            if clip := self._clips.get(path):
                clip.gone_at = None
                with self._charged_to(clip.job):
                    if signature != clip.signature:
                        self._changed(clip, signature, now)
                    elif path in self._store.looks:
                        self.joining.join_waiting(path, signature, now)
                continue
            known = self._store.known.get(path)
            if known is None or (known.state.ended and signature != known.source_stat):
                if path not in self._cancelled or not self._still_comes(path, signature, now):
                    fresh.append((path, signature))
            elif not known.state.ended:
                with self._charged_to(known.job):
                    self._follow(self._store.job(known.job), signature, now)
            elif path in self._store.looks:
                self.joining.follow(path, now)
                self.joining.join_waiting(path, signature, now)
        self._add(fresh, now)

    def recall(self, now: float) -> None:
        """Follow the clips of all jobs from before the last start, seen or not. The missing ones are `absent` next."""
        for path, known in self._store.known.items():
            if not known.state.ended and path not in self._clips and path in self._store.scope:
                with self._charged_to(known.job):
                    self._follow(self._store.job(known.job), known.source_stat or b"", now)
        for path in [path for path in self._store.looks if path not in self._clips and path in self._store.scope]:
            self.joining.follow(path, now)

    def absent(self, path: bytes, now: float) -> None:
        """Note that a clip is missing. It has a few seconds to come back."""
        clip = self._clips.get(path)
        if clip is None or clip.gone_at is not None:
            return
        clip.gone_at = now
        missing = self._store.missing
        if len(missing) >= MISSING_MAX:
            missing.pop(next(iter(missing)))
        if clip.signature:
            known = self._store.known[clip.path]
            missing[identity_of(clip.signature)] = known.job
            if known.state is JobState.ARRIVING:  # if it was renamed, it is compared with what was seen last
                self._store.touch(self._store.job(known.job), source_stat=clip.signature)
        self._clips.plan(clip, now + GONE_PATIENCE)

    def linked(self, path: bytes, signature: Signature) -> None:
        """Reject a symlink to a video. Links are never followed."""
        known = self._store.known.get(path)
        if path not in self._store.scope:
            return
        if known is not None and (not known.state.ended or known.source_stat == signature):
            return
        (job,) = self._store.add([(path, signature)])
        with self._charged_to(job.id):
            self._problems.reject(job, NotAVideo("It is a symbolic link.", LINK_TODO), signature)

    def hold_back(self, partials: Mapping[bytes, bytes], now: float) -> None:
        """Hold back the clips that have an unfinished copy beside them. `partials` maps clips to copies."""
        for clip in self._clips.values():
            was, clip.held_back = clip.held_back, partials.get(clip.path)
            if was and not clip.held_back:
                self._clips.plan(clip, now)

    def _add(self, fresh: list[tuple[bytes, Signature]], now: float) -> None:
        """Add a job for each new clip. Of two clips with one stem, the MP4 gets the stem's names."""
        fresh.sort(key=lambda clip: layout.precedence(clip[0]))
        if len(fresh) > SEEN_MAX:
            say("seen-many", count=len(fresh), first=fresh[0][0])
        for start in range(0, len(fresh), ADD_AT_ONCE):
            for job in self._store.add(fresh[start : start + ADD_AT_ONCE]):
                signature = job.source_stat or b""
                with self._charged_to(job.id):
                    if len(fresh) <= SEEN_MAX:
                        say("seen", job, size=spell_size(size_of(signature)))
                    self._say_base(job)
                    self._clips.begin(job, signature, now)
                    self.joining.unsettle(job.path, signature)

    def _say_base(self, job: Job) -> None:
        """Log a base that is not the clip's stem."""
        folder, name = layout.split(job.path)
        stem = layout.stem_of(name)
        if job.base != stem:
            holder = self._store.journal.holder(folder, stem)
            why = f"{layout.shown(stem)} is {'too long' if holder is None else f'taken by {layout.shown(holder)}'}"
            say("base-chosen", job, why=why, stem=stem, holder=holder, spec=layout.beside(job.path, job.stem).spec)

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

    # -- a job comes into this stage, or ends

    def enter(self, job: Job) -> None:
        """See Stage. A claimed clip has changed, or could not be inspected: it arrives anew."""
        if job.look != OWN:
            self.joining.enter(job)
            return
        if (clip := self._clips.of(job)) and clip.phase is Phase.SETTLING:
            return  # this stage itself noticed the change
        self._begin_anew(job)

    def resume(self, job: Job) -> str:  # noqa: ARG002 - nothing is done with it
        """Nothing yet: the first rescan follows arriving clips again (`recall`)."""
        return ""

    def try_again(self, mishap: Mishap) -> None:
        """See Stage. The clip is sampled and inspected anew."""
        if mishap.job.look == OWN:
            self._begin_anew(mishap.job)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._problems.fail(job, error)

    def cancel(self, job: Job, why: str) -> None:
        """See Stage. The clip's last signature tells the rest of this copy from a new clip."""
        self._problems.clear(job)
        self._store.apply(job, Cancelled(why=why, source_stat=self.signature(job)))

    def ended(self, job: Job) -> None:
        """See JobListener. From now on only the clip's signature is known."""
        clip = self._clips.of(job)
        if clip is None:
            return
        coming = clip.phase is not Phase.ARRIVED and clip.gone_at is None and clip.signature
        if job.state is JobState.CANCELLED and coming:
            self._cancelled[job.path] = (clip.signature, self._store.clock.boot())
        self._settled.cancel(job)
        self._progress.cancel(job)
        del self._clips[job.path]
        self.joining.followed_ended(job, came=clip.phase is Phase.ARRIVED)

    def _follow(self, job: Job, signature: Signature, now: float) -> None:
        """Go on with a job from before the last start."""
        job = self.damaged.withdraw_if_changed(job, signature)
        if job.state is JobState.ARRIVING:
            waited = 0.0
            if job.waiting_on is Waiting.INCOMPLETE and signature == job.source_stat:  # the file is unchanged
                waited = max(0.0, self._store.clock.wall() - job.updated_at)
            self._clips.begin(job, signature, now, since=now - waited)
            return
        self._clips[job.path] = clip = FollowedClip(job.path, job.id, job.source_stat or b"", Phase.ARRIVED, now)
        if signature != job.source_stat:
            self._changed(clip, signature, now)

    def _begin_anew(self, job: Job) -> None:
        signature = self._files.sample_or_none(job.path) or b""
        job = self.damaged.withdraw_if_changed(job, signature)
        self._clips.begin(job, signature, self._store.clock.boot())

    # -- the timers

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._clips.next_deadline()

    def tick(self, now: float) -> None:
        """Sample the clips whose timers have ended, for at most TICK_SECONDS. The rest stays due."""
        due = self._clips.next_deadline()
        if due is None or due > now:
            return
        until = self._store.clock.boot() + TICK_SECONDS
        with self._store.together():
            while self._store.clock.boot() < until and (clip := self._clips.take_due(now)) is not None:
                try:
                    if clip.gone_at is not None:
                        self._check_gone(clip, now)
                    elif clip.phase in {Phase.SETTLING, Phase.WAITING}:
                        self._sample(clip, now)
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs this clip's job and no other
                    if clip.path in self._clips:  # its timer was used up
                        self._clips.plan(clip, self._store.clock.boot() + SAMPLE_AGAIN)
                    self._store.mishaps.charge(clip.job, "followed the clip of", error)

    def _check_gone(self, clip: FollowedClip, now: float) -> None:
        """Cancel the job of a clip that has been missing for a while."""
        assert clip.gone_at is not None  # noqa: S101 - the caller looked
        try:
            signature = self._files.sample(clip.path)
        except ClipUnreadable:
            signature = clip.signature  # it is there
        if signature is not None:
            clip.gone_at = None
            self.appeared([(clip.path, signature)], now)
            self._clips.plan(clip, now)
        elif now - clip.gone_at < GONE_PATIENCE:
            self._clips.plan(clip, clip.gone_at + GONE_PATIENCE)
        else:
            for job in self._store.open_looks(clip.path):
                self._store.cancel(job, "the clip was deleted")

    def _sample(self, clip: FollowedClip, now: float) -> None:
        """Sample an arriving clip, and inspect it once it has settled."""
        try:
            signature = self._files.sample(clip.path)
        except ClipUnreadable as error:
            self._problems.unreadable(clip, error, now)
            return
        if signature is None:
            self.absent(clip.path, now)
            return
        if signature != clip.signature:
            self._changed(clip, signature, now)
            return
        if clip.phase is Phase.WAITING:
            self._problems.warn(clip, now)
            return
        self._clips.observe(clip, signature, now)
        job = self._store.job(clip.job)
        settled = self._clips.settled(clip)
        if settled and clip.held_back is None:
            clip.held_back = self._files.partial_beside(clip.path, signature)  # it may have come after the last rescan
        if clip.held_back:
            self._problems.held_back(clip, job, clip.held_back, now)
        elif settled:
            if not self._settled.examine(clip, job, now):
                self.absent(clip.path, now)
        else:
            self._progress.report(job, clip)
            self._clips.plan_sample(clip)

    def _changed(self, clip: FollowedClip, signature: Signature, now: float) -> None:
        """Take in a changed signature of a clip under way."""
        clip.signature = signature
        job = self._store.job(clip.job)
        if job.look != OWN:  # the own job has ended: a new one carries the arrival of the new file
            self._add([(clip.path, signature)], now)
            return
        if job.state in CLAIMED:
            self.joining.unsettle(clip.path, signature)
            return  # the run has its private copy; the new file's turn comes after the run
        self._settled.cancel(job)
        job = self.damaged.withdraw_if_changed(job, signature)
        if clip.phase is not Phase.SETTLING:
            clip.phase, clip.since, clip.warned = Phase.SETTLING, now, False
        clip.settle = clip.settle or Settle()
        if job.state is not JobState.ARRIVING:
            job = self._store.apply(job, Changed())
        elif job.waiting_on is not Waiting.SETTLING:
            job = self._store.wait(job, Waiting.SETTLING, "", quiet=True)
        self.joining.unsettle(clip.path, signature)
        self._clips.observe(clip, signature, now)
        self._progress.report(job, clip)
        self._clips.plan_sample(clip)

    @contextmanager
    def _charged_to(self, job: int) -> Iterator[None]:
        """Charge an unforeseen error to this job alone."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._store.mishaps.charge(job, "followed the clip of", error)
