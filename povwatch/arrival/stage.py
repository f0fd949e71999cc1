"""The arrival stage: the clips on their way in.

A clip has arrived when all four hold:

1. Its stat signature is the same in at least 3 samples over `arrival.settle`.
2. It is not empty.
3. No local process has it open for writing.
4. Its container is complete, every packet is there, and it decodes. Damage only costs frames: see media/probe.py.

Each clip has its own timer, so a slow copy never delays other clips. What takes longer than the loop may wait is read
by a child process: see inspections.py.

`povwatch go --damaged` runs whatever decodes of an incomplete clip. It holds for that version of the file only: when
the file changes, the clip arrives anew without it.

A clip arrives once for all of its looks (core/looks.py): its own job carries the arrival, and the jobs of the other
looks join it. If the own job has ended when the file changes, a new one carries the arrival of the new file.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from povwatch.arrival.clip_files import ClipFiles
from povwatch.arrival.followed import INCOMPLETE_TODO, PERCENT_STEP, FollowedClip, FollowedClips, Phase
from povwatch.arrival.inspections import Inspection
from povwatch.arrival.settle import Settle
from povwatch.container import VIDEO_KINDS, Kind, Report, TakesLonger
from povwatch.core import layout
from povwatch.core.changes import (
    Arrived,
    Cancelled,
    Changed,
    DamagedWithdrawn,
    Failed,
    GoDamaged,
    Joined,
    NotVideo,
    StillDamaged,
)
from povwatch.core.command import command
from povwatch.core.errors import EnvironmentFault, NotAVideo, PovwatchError, SourceChanged
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, WAITING, Job, JobState, Waiting
from povwatch.core.looks import OWN
from povwatch.core.retry import FAULTS_PATIENCE, backoff, waiting_for
from povwatch.core.sentences import joined
from povwatch.core.stage import Mishap, Stage
from povwatch.core.units import spell_duration, spell_pace, spell_rate, spell_size
from povwatch.files.scan import ClipUnreadable
from povwatch.files.signature import Signature, identity_of, size_of
from povwatch.media.errors import KILLED_MAX, MediaKilled, MediaStopped
from povwatch.media.info import NOTHING, VideoInfo
from povwatch.service.requests import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from povwatch.arrival.inspections import Inspections
    from povwatch.arrival.known_root import KnownRoot
    from povwatch.config.settings import Arrival
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

INCOMPLETE_PATIENCE = 900.0
"""Seconds after which an incomplete clip gets an error file."""

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

WRITER_RETRY = 1.0
"""Seconds between two checks for writers."""

ENDLESS_SHARE = 3
"""A file whose format has no defined end must be quiet for so many times `arrival.settle`."""

LINK_TODO = "Links are not followed: copy the video itself into the folder."

DAMAGED_TODO = "If this is all that there is of it, have what can be decoded run: {go}"

HELD_BACK_TODO = "If no program is copying it any more, delete {partial}: it is what an earlier copy has left."

CHANGED = "it has just changed: ask again when it waits (incomplete)."

NO_INDEX = "Its index (moov) is missing or cannot be read, and without that no frame of an MP4 can be found."


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
        self._inspections = inspections
        self._error_files = error_files
        self._settle = config.network_settle if root.is_network else config.settle
        self._files = ClipFiles(root.path, network=root.is_network)
        self._clips = FollowedClips()
        self._cancelled: dict[bytes, tuple[Signature, float]] = {}
        """Clips that were cancelled while they arrived: their last signature, and when it was seen."""
        self.arrived: set[bytes] = set()
        """Clips that have just arrived. The folder monitor takes them out: looks may wait for them."""

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
        clip = self._clip_of(job)
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
                        self._join_waiting(path, signature, now)
                continue
            known = self._store.known.get(path)
            if known is None or (known.state.ended and signature != known.source_stat):
                if path not in self._cancelled or not self._still_comes(path, signature, now):
                    fresh.append((path, signature))
            elif not known.state.ended:
                with self._charged_to(known.job):
                    self._follow(self._store.job(known.job), signature, now)
            elif path in self._store.looks:
                self._follow_looks(path, now)
                self._join_waiting(path, signature, now)
        self._add(fresh, now)

    def recall(self, now: float) -> None:
        """Follow the clips of all jobs from before the last start, seen or not. The missing ones are `absent` next."""
        for path, known in self._store.known.items():
            if not known.state.ended and path not in self._clips and path in self._store.scope:
                with self._charged_to(known.job):
                    self._follow(self._store.job(known.job), known.source_stat or b"", now)
        for path in [path for path in self._store.looks if path not in self._clips and path in self._store.scope]:
            self._follow_looks(path, now)

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
            missing[identity_of(clip.signature)] = self._store.known[clip.path].job
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
            self._reject(job, NotAVideo("It is a symbolic link.", LINK_TODO), signature)

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
                    self._begin(job, signature, now)
                    self._unsettle_looks(job.path, signature)

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

    def arrive_anew(self, path: bytes, now: float, *, force: bool = False) -> Job | None:
        """Have a clip arrive anew, with a new job. None if it does not exist.

        Raises:
            ClipUnreadable: it exists and cannot be opened.
        """
        signature = self._files.sample(path)
        if signature is None:
            return None
        last = self._store.of_path(path)
        (job,) = self._store.add([(path, signature)], force=force)
        if last is not None and last.damaged == signature:  # the same file, as damaged as before
            job = self._store.apply(job, StillDamaged(signature=signature))
        self._begin(job, signature, now)
        return job

    def enter(self, job: Job) -> None:
        """See Stage. A claimed clip has changed, or could not be inspected: it arrives anew."""
        if job.look != OWN:
            self._enter_look(job)
            return
        if (clip := self._clip_of(job)) and clip.phase is Phase.SETTLING:
            return  # this stage itself noticed the change
        self._begin_anew(job)

    def try_again(self, mishap: Mishap) -> None:
        """See Stage. The clip is sampled and inspected anew."""
        if mishap.job.look == OWN:
            self._begin_anew(mishap.job)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._error_files.write(job, "failed", error.what, error.todo)
        self._store.apply(job, Failed(error=str(error)))

    def cancel(self, job: Job, why: str) -> None:
        """See Stage. The clip's last signature tells the rest of this copy from a new clip."""
        self._error_files.clear(job)
        self._store.apply(job, Cancelled(why=why, source_stat=self.signature(job)))

    def ended(self, job: Job) -> None:
        """See JobListener. From now on only the clip's signature is known."""
        clip = self._clip_of(job)
        if clip is None:
            return
        coming = clip.phase is not Phase.ARRIVED and clip.gone_at is None and clip.signature
        if job.state is JobState.CANCELLED and coming:
            self._cancelled[job.path] = (clip.signature, self._store.clock.boot())
        self._call_off(job)
        self._inspections.cancel(Inspection.GLANCE, job.id)
        del self._clips[job.path]
        if job.path in self._store.looks:
            self._own_ended(job, came=clip.phase is Phase.ARRIVED)

    def _clip_of(self, job: Job) -> FollowedClip | None:
        clip = self._clips.get(job.path)
        return clip if clip is not None and clip.job == job.id else None

    def _follow(self, job: Job, signature: Signature, now: float) -> None:
        """Go on with a job from before the last start."""
        if job.damaged not in {None, signature}:
            job = self._forget_damaged(job)
        if job.state is JobState.ARRIVING:
            waited = 0.0
            if job.waiting_on is Waiting.INCOMPLETE and signature == job.source_stat:  # the file is unchanged
                waited = max(0.0, self._store.clock.wall() - job.updated_at)
            self._begin(job, signature, now, since=now - waited)
            return
        self._clips[job.path] = clip = FollowedClip(job.path, job.id, job.source_stat or b"", Phase.ARRIVED, now)
        if signature != job.source_stat:
            self._changed(clip, signature, now)

    def _begin_anew(self, job: Job) -> None:
        signature = self._files.sample_or_none(job.path) or b""
        if job.damaged not in {None, signature}:
            job = self._forget_damaged(job)
        self._begin(job, signature, self._store.clock.boot())

    def _begin(self, job: Job, signature: Signature, now: float, *, since: float | None = None) -> None:
        """Begin to sample a clip. `since` says since when it is incomplete, if before now (boot clock)."""
        settle = Settle()
        settle.observe(signature, now, self._settle)
        since = now if since is None else since
        clip = FollowedClip(job.path, job.id, signature, Phase.SETTLING, since, settle)
        self._clips[job.path] = clip
        self._clips.plan(clip, settle.next_sample(self._settle))

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
            self._unreadable(clip, error, now)
            return
        if signature is None:
            self.absent(clip.path, now)
            return
        if signature != clip.signature:
            self._changed(clip, signature, now)
            return
        if clip.phase is Phase.WAITING:
            self._warn(clip, now)
            return
        assert clip.settle is not None  # noqa: S101 - settling clips have one
        clip.settle.observe(signature, now, self._settle)
        job = self._store.job(clip.job)
        settled = clip.settle.settled(self._settle)
        if settled and clip.held_back is None:
            clip.held_back = self._files.partial_beside(clip.path, signature)  # it may have come after the last rescan
        if clip.held_back:
            self._held_back(clip, job, layout.shown(clip.held_back), now)
        elif settled:
            self._settled(clip, job, now)
        else:
            self._report_progress(job, clip)
            self._clips.plan(clip, clip.settle.next_sample(self._settle))

    def _changed(self, clip: FollowedClip, signature: Signature, now: float) -> None:
        """Take in a changed signature of a clip under way."""
        clip.signature = signature
        job = self._store.job(clip.job)
        if job.look != OWN:  # the own job has ended: a new one carries the arrival of the new file
            self._add([(clip.path, signature)], now)
            return
        if job.state in CLAIMED:
            self._unsettle_looks(clip.path, signature)
            return  # the run has its private copy; the new file's turn comes after the run
        self._call_off(job)
        if job.damaged not in {None, signature}:
            job = self._forget_damaged(job)
        if clip.phase is not Phase.SETTLING:
            clip.phase, clip.since, clip.warned = Phase.SETTLING, now, False
        clip.settle = clip.settle or Settle()
        if job.state is not JobState.ARRIVING:
            job = self._store.apply(job, Changed())
        elif job.waiting_on is not Waiting.SETTLING:
            job = self._store.wait(job, Waiting.SETTLING, "", quiet=True)
        self._unsettle_looks(clip.path, signature)
        clip.settle.observe(signature, now, self._settle)
        self._report_progress(job, clip)
        self._clips.plan(clip, clip.settle.next_sample(self._settle))

    def _report_progress(self, job: Job, clip: FollowedClip) -> None:
        """Log how much has arrived, every ten per cent, if the container tells."""
        size = size_of(clip.signature)
        try:
            report = self._files.report(job.path, size, glance=True)
        except TakesLonger:  # if one is under way, the file grows faster than a child reads it; try at a later change
            self._inspections.start(Inspection.GLANCE, job, partial(self._glanced, job, size), size=size)
            return
        if report is not None:
            _say_progress(job, clip, report, size)

    def _glanced(self, job: Job, size: int, outcome: Report | VideoInfo | Exception) -> None:
        """Log what a child process found. If it failed, the inspection of the settled clip is early enough."""
        clip = self._clip_of(job)
        if isinstance(outcome, Report):
            if clip is not None and clip.phase is Phase.SETTLING:
                _say_progress(job, clip, outcome, size)
        elif isinstance(outcome, Exception) and not isinstance(outcome, PovwatchError):
            raise outcome

    # -- once it has settled

    def _settled(self, clip: FollowedClip, job: Job, now: float) -> None:
        """Inspect a quiet clip: is anybody writing it, is it whole, is it a video?"""
        if self._files.is_written(clip.path):
            self._store.wait(job, Waiting.WRITER_OPEN, "a program has it open for writing")
            self._clips.plan(clip, now + WRITER_RETRY)
            return
        size = size_of(clip.signature)
        try:
            report = self._files.report(clip.path, size)
        except TakesLonger:
            self._inspect(Inspection.EXAMINE, clip, job, size=size)
            return
        if report is None:
            self.absent(clip.path, now)
        else:
            self._judge_report(clip, job, report, now)

    def _judge_report(self, clip: FollowedClip, job: Job, report: Report, now: float) -> None:
        """Act on the container's report."""
        assert clip.settle is not None  # noqa: S101 - settling clips have one
        clip.phase = Phase.SETTLING
        if report.not_video:
            error = NotAVideo(report.why, "Replace it with the video itself, or delete it.")
            self._reject(job, error, clip.signature)
        elif not report.complete and job.damaged == clip.signature and report.kind in VIDEO_KINDS:
            self._inspect(Inspection.DECODE, clip, job, kind=str(report.kind), missing=report.why)
        elif not report.complete:
            todo = _todo(job, decodes=bool(report.video))
            self._incomplete(clip, job, PovwatchError(report.why, todo), now)
        elif not report.end_known and not clip.settle.settled(ENDLESS_SHARE * self._settle):
            self._clips.plan(clip, clip.settle.next_sample(self._settle))
        else:
            self._inspect(Inspection.PACKETS, clip, job, kind=str(report.kind))

    def _inspect(self, what: Inspection, clip: FollowedClip, job: Job, **args: object) -> None:
        """Let a child process inspect a clip. If an earlier one is being cancelled, its end brings the clip back."""
        clip.phase = Phase.INSPECTING
        if clip.settle is None:  # the clip was incomplete
            clip.settle = Settle()
            clip.settle.observe(clip.signature, self._store.clock.boot(), self._settle)
        self._inspections.start(what, job, partial(self._inspected, job, clip.signature), **args)

    def _call_off(self, job: Job) -> None:
        """Cancel the child processes that inspect a settled clip."""
        for what in (Inspection.EXAMINE, Inspection.PACKETS, Inspection.DECODE):
            self._inspections.cancel(what, job.id)

    def _inspected(self, job: Job, signature: Signature, outcome: Report | VideoInfo | Exception) -> None:
        """Act on what a child process found out about a clip with this signature."""
        now = self._store.clock.boot()
        clip = self._clip_of(job)
        if clip is None:
            return
        if isinstance(outcome, EnvironmentFault) or (isinstance(outcome, MediaKilled) and clip.faults < KILLED_MAX):
            # Check this before sampling the clip, which may fail for the same cause.
            self._try_later(clip, outcome, now)
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
            self._reject(job, outcome, signature)
        elif isinstance(outcome, PovwatchError):
            self._incomplete(clip, job, outcome, now)
        elif isinstance(outcome, Exception):
            raise outcome
        elif isinstance(outcome, Report):
            self._judge_report(clip, job, outcome, now)
        else:
            self._judge_video(clip, job, outcome, now)

    def _judge_video(self, clip: FollowedClip, job: Job, info: VideoInfo, now: float) -> None:
        """Act on what the clip contains."""
        decodes = info.why != NOTHING
        if info.undecided:
            self._inspect(Inspection.DECODE, clip, job, kind=info.container)
        elif info.complete:
            self._arrived(clip, job, info)
        elif decodes and job.damaged == clip.signature:
            self._inspect(Inspection.DECODE, clip, job, kind=info.container, missing=info.why)
        else:
            self._incomplete(clip, job, PovwatchError(info.why, _todo(job, decodes=decodes)), now)

    def _arrived(self, clip: FollowedClip, job: Job, info: VideoInfo) -> None:
        clip.phase, clip.settle = Phase.ARRIVED, None
        self._error_files.clear(job)
        arrived = Arrived(
            described=described(info),
            source_hash=info.sha256,
            source_stat=clip.signature,
            source_info=json.dumps(info.to_json()),
            now=self._store.clock.wall(),
        )
        self._store.apply(job, arrived)
        self.arrived.add(job.path)
        if job.path in self._store.looks:
            self._join_waiting(job.path, clip.signature, self._store.clock.boot())

    # -- a clip that is not in yet

    def _reject(self, job: Job, error: PovwatchError, signature: Signature) -> None:
        """End the job of a file that is no video. The error file says why."""
        file = self._error_files.write(job, "is rejected", error.what, error.todo)
        self._store.apply(job, NotVideo(error=str(error), error_file=file, source_stat=signature))

    def _try_later(self, clip: FollowedClip, error: PovwatchError, now: float) -> None:
        """Try again later: the machine prevented the inspection, or killed its process. The clip is not to blame."""
        clip.phase, clip.faults = Phase.SETTLING, clip.faults + 1
        waiting = Waiting.PAUSED
        if isinstance(error, EnvironmentFault) and not isinstance(error, SourceChanged):
            waiting = waiting_for(error)
        self._store.wait(self._store.job(clip.job), waiting, str(error))
        self._clips.plan(clip, now + backoff(clip.faults))

    def _unreadable(self, clip: FollowedClip, error: ClipUnreadable, now: float) -> None:
        """Try again later to open the clip. Granting a right or mounting a disk changes no file, so no event comes."""
        clip.phase, clip.faults, clip.todo = Phase.SETTLING, clip.faults + 1, error.todo
        clip.settle = clip.settle or Settle()
        waiting = Waiting.PAUSED if error.passing else Waiting.INCOMPLETE
        self._store.wait(self._store.job(clip.job), waiting, error.what)
        if not error.passing:
            self._warn(clip, now)
        self._clips.plan(clip, now + backoff(clip.faults))

    def _incomplete(self, clip: FollowedClip, job: Job, error: PovwatchError, now: float) -> None:
        """Wait for the rest of the clip."""
        self._store.wait(job, Waiting.INCOMPLETE, error.what)
        clip.phase, clip.todo = Phase.WAITING, error.todo or INCOMPLETE_TODO
        clip.settle = None  # 100,000 clips may wait here: keep equal bytes once
        if (seen := self._store.known[clip.path].source_stat) == clip.signature:
            clip.signature = seen
        self._warn(clip, now)

    def _held_back(self, clip: FollowedClip, job: Job, unfinished: str, now: float) -> None:
        """Wait until the unfinished copy beside the clip is gone."""
        self._store.wait(job, Waiting.INCOMPLETE, f"{unfinished} is still beside it")
        clip.todo = HELD_BACK_TODO.format(partial=unfinished)
        if now - clip.since >= INCOMPLETE_PATIENCE:
            self._warn(clip, now)
        self._clips.plan(clip, now + self._settle)

    def _warn(self, clip: FollowedClip, now: float) -> None:
        """Write an error file once something has been missing for long."""
        if clip.warned:
            return
        if now - clip.since < INCOMPLETE_PATIENCE:
            self._clips.plan(clip, clip.since + INCOMPLETE_PATIENCE)
            return
        clip.warned = True
        job = self._store.job(clip.job)
        file = self._error_files.write(job, "is still incomplete", job.detail, clip.todo)
        say("incomplete", job, problem=job.detail, error_file=file)

    # -- the looks of a clip beside its own

    def rerun(self, job: Job, now: float, *, force: bool = False) -> Job | None:
        """Run a look of a clip again, with a new job. None if the clip does not exist. `job` is its last one.

        The clip's own look has it arrive anew. Another look waits for the clip if it is not the file that has arrived.

        Raises:
            ClipUnreadable: the clip exists and cannot be opened.
        """
        if job.look == OWN:
            return self.arrive_anew(job.path, now, force=force)
        if again := self.join(job.path, job.look, spec=layout.beside(job.path, job.stem).spec, force=force):
            return again
        if (signature := self._files.sample(job.path)) is None:
            return None
        (again,) = self._store.add([(job.path, signature)], look=job.look, force=force)
        if job.path not in self._clips:
            self._follow_looks(job.path, now)
        return again

    def join(self, path: bytes, look: str, *, spec: bytes, force: bool = False) -> Job | None:
        """Add a job for a look of a clip that has arrived, with its grace ahead; None if the clip has not arrived.

        Args:
            spec: the look's JSON, relative to inputs/.
            force: run it even if the same was published before.

        Raises:
            ClipUnreadable: the clip exists and cannot be opened.
        """
        signature = self._files.sample(path)
        own = self._arrived_as(path, signature)
        if own is None or signature is None:
            self._complete_rebuilt(path, signature)
            return None
        with self._store.together():
            (job,) = self._store.add([(path, signature)], look=look, force=force)
            self._join(job, own, spec)
        if path not in self._clips:
            self._follow_looks(path, self._store.clock.boot())
        return self._store.job(job.id)

    def _arrived_as(self, path: bytes, signature: Signature | None) -> Job | None:
        """The clip's own job, if the file with this signature has arrived with it; else None."""
        own = self._store.of_path(path)
        if own is None or own.state is JobState.ARRIVING or own.source_stat != signature or own.source_hash is None:
            return None
        return own if _has_inspection(own) else None

    def _complete_rebuilt(self, path: bytes, signature: Signature | None) -> None:
        """Have a clip arrive anew that `povwatch rebuild` found done, since it knows less than an inspection finds."""
        own = self._store.of_path(path)
        if own and own.ended and own.source_stat == signature and own.source_info and not _has_inspection(own):
            self.arrive_anew(path, self._store.clock.boot())

    def _join(self, job: Job, own: Job, spec: bytes) -> None:
        """Give a look's job what the inspection for its clip's own job found."""
        joined = Joined(
            spec=spec,
            source_hash=own.source_hash or "",
            source_stat=own.source_stat or b"",
            source_info=own.source_info or "",
            now=self._store.clock.wall(),
        )
        self._store.apply(job, joined)

    def _join_waiting(self, path: bytes, signature: Signature, now: float) -> None:
        """Join the jobs of looks that wait for their clip, if it has arrived; if nothing brings it, have it arrive."""
        looks = [job for job in self._store.open_looks(path) if job.look != OWN and job.state is JobState.ARRIVING]
        if not looks:
            return
        if (own := self._arrived_as(path, signature)) is not None:
            for job in looks:
                self._join(job, own, layout.beside(path, job.stem).spec)
        elif self._store.known[path].state.ended:
            with suppress(ClipUnreadable):  # the next rescan tries again
                self.arrive_anew(path, now)

    def _unsettle_looks(self, path: bytes, signature: Signature) -> None:
        """Have the looks of a clip whose file has changed wait for its arrival."""
        if path in self._store.looks:
            for job in self._store.open_looks(path):
                if job.look != OWN and job.state in WAITING and job.source_stat != signature:
                    self._store.apply(job, Changed())

    def _follow_looks(self, path: bytes, now: float) -> None:
        """Follow a clip whose own job has ended, if jobs of its other looks have not."""
        if jobs := self._store.open_looks(path):
            self._clips[path] = FollowedClip(path, jobs[0].id, jobs[0].source_stat or b"", Phase.ARRIVED, now)

    def _enter_look(self, job: Job) -> None:
        """The copy of a look's clip was not the file that had arrived: the clip arrives anew, unless it does already.

        If the clip's own job runs, its end comes first.
        """
        own = self._store.of_path(job.path)
        if job.source_info is not None or own is None:
            return
        if own.state.ended:
            with suppress(ClipUnreadable):  # the next rescan tries again
                self.arrive_anew(job.path, self._store.clock.boot())
        elif own.state in WAITING:
            self._store.apply(own, Changed())

    def _own_ended(self, job: Job, *, came: bool) -> None:
        """Go on with the other looks of a clip whose followed job has ended. `came`: the clip had arrived."""
        for look in self._store.open_looks(job.path):
            if not came and look.state is JobState.ARRIVING:
                cancelled = job.state is JobState.CANCELLED
                self._store.cancel(look, job.detail if cancelled else f"the clip itself is {job.state}")
        self._follow_looks(job.path, self._store.clock.boot())

    # -- povwatch go --damaged

    def run_damaged(self, job: Job, answer: Callable[[Answer], None]) -> None:
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
                self._inspect(Inspection.DECODE, clip, job, kind=str(kind), missing=missing)
            answer(Answer(done=True, text=f"what can be decoded of it is run. {missing}"))

    def _forget_damaged(self, job: Job) -> Job:
        """Withdraw `povwatch go --damaged` from a clip that has changed: it arrives like any other."""
        job = self._store.apply(job, DamagedWithdrawn())
        say("damaged-withdrawn", job)
        return job

    @contextmanager
    def _charged_to(self, job: int) -> Iterator[None]:
        """Charge an unforeseen error to this job alone."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._store.mishaps.charge(job, "followed the clip of", error)


def _has_inspection(job: Job) -> bool:
    """Whether the job has all that an inspection of the clip finds."""
    return bool(json.loads(job.source_info or "{}").get("container"))


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


def _say_progress(job: Job, clip: FollowedClip, report: Report, size: int) -> None:
    if not size or report.percent is None or report.complete or report.percent < clip.percent + PERCENT_STEP:
        return
    clip.percent = int(report.percent)
    say("arriving", job, percent=f"{clip.percent} %", size=spell_size(size))


def _todo(job: Job, *, decodes: bool) -> str:
    """What to do about an incomplete clip. `decodes`: whether some of it may decode."""
    if not decodes:
        return INCOMPLETE_TODO
    return f"{INCOMPLETE_TODO} {DAMAGED_TODO.format(go=command('go', '--damaged', clip=job.called))}"
