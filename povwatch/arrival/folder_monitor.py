"""Watches inputs/: events are hints, a scan of the whole folder is the truth. It also checks that the folder is there.

An unmounted share is not an empty folder: while the root is away, nothing is cancelled.
Each scan also finds the ended clips whose JSON was edited: they run again without a new upload.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.arrival.look_files import LookFiles
from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault, SpecInvalid
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, JobState
from povwatch.core.stage import JobListener
from povwatch.core.units import spell_duration
from povwatch.files import names
from povwatch.files.scan import InputsAway, Listing, scan
from povwatch.files.signature import identity_of, signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.arrival.known_root import KnownRoot
    from povwatch.arrival.look_files import Found
    from povwatch.arrival.stage import ArrivalStage
    from povwatch.arrival.watch import Watcher
    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.files.signature import Signature
    from povwatch.journal.reader import Known
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles
    from povwatch.spec.inputs_folder import InputsFolder

HEALTH_EVERY = 1.0
"""Seconds between two checks of the root and the watcher."""

NETWORK_RESCAN = 10.0
"""Seconds between two rescans of a network file system, which does not report other machines' changes."""

RESCAN_SHARE = 150
"""Rescans are at least so many times their own duration apart: less than 1 % of a core."""

WATCH_PAUSE = 1.0
"""Seconds until a failed watcher is started again; doubled while that fails."""

WATCH_PAUSE_MAX = 300.0

HINTS_MAX = 10_000
"""Beyond so many hints a rescan is cheaper."""

GONE_AT_ONCE = 100
"""Jobs of clips that are gone, of which a turn tells: their JSONs are read."""


class FolderMonitor(JobListener):
    """Watches inputs/."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        root: KnownRoot,
        folder: InputsFolder,
        arrival: ArrivalStage,
        error_files: ErrorFiles,
        watcher: Watcher,
    ) -> None:
        self._config = config.arrival
        self._store = store
        self._clock = store.clock
        self._arrival = arrival
        self._error_files = error_files
        self._folder = folder
        self._late_edits: dict[int, bytes] = {}
        """Running jobs whose JSON was edited meanwhile, each with the JSON's signature: one log line an edit."""
        self._root = root
        self._suffixes = config.arrival.suffixes
        self._watcher = watcher
        self.looks = LookFiles(config, store=store, joining=arrival.joining, error_files=error_files)
        self._watch_pause = WATCH_PAUSE
        self._watch_again_at = 0.0
        self._shortage_said = False
        self._rescan_at = 0.0
        self._health_at = 0.0
        self._scan_seconds = 0.0
        self._unreadable: frozenset[bytes] = frozenset()
        self._gone: dict[int, Job] = {}
        """The jobs that were cancelled with their clips, until the stages are told of it."""
        self._to_tell: list[tuple[Job, list[bytes]]] = []
        """Those that the stages are told of next, with the JSONs of the clips' looks that had no job."""
        self.behind = True
        """Whether something has changed since the last rescan began."""
        self.scanned_at: float | None = None
        """End of the last rescan, on the boot clock."""

    @property
    def rescan_every(self) -> float:
        """Seconds between two rescans."""
        wanted = self._config.rescan
        if self._root.is_network:
            wanted = min(wanted, NETWORK_RESCAN)
        return max(wanted, RESCAN_SHARE * self._scan_seconds)

    def start(self) -> None:
        """Watch, then scan the whole folder. A clip that comes in between is seen twice, never missed."""
        self._watch()
        self._check_health(self._clock.boot())
        if self._root.away is None and (problem := self._open_root()):
            self._note_away(problem)

    def stop(self) -> None:
        """Stop watching."""
        self._watcher.stop()

    def next_deadline(self) -> float:
        """When `tick` has something to do. While inputs/ is away there is nothing to scan."""
        if self._root.away is not None:
            return self._health_at
        return 0.0 if self._to_tell else min(self._health_at, self._rescan_at)

    def hurry(self) -> bool:
        """Have what has changed since the last rescan found at the next turn. Whether there is anything to do."""
        if self.behind:
            self._rescan_at = 0.0
        return self.behind or bool(self._to_tell)

    def tick(self, now: float) -> None:
        """Do what is due: health checks, hints, a rescan."""
        if now >= self._health_at:
            self._health_at = now + HEALTH_EVERY
            self._check_health(now)
            self._say_shortage()
        if self._root.away is not None:
            self._watcher.hints.clear()
            return
        self._take_hints(now)
        self.looks.take_in_arrived()
        self._tell_gone()
        if now >= self._rescan_at:
            self._rescan(now)

    def clips(self) -> frozenset[bytes]:
        """The clips that exist now, links included. It scans the folder; only the end of --once needs this."""
        try:
            listing = self._listing()
        except InputsAway:
            return frozenset()
        return frozenset(listing.clips) | frozenset(listing.links)

    def ended(self, job: Job) -> None:
        """Rescan soon: the clip or its JSON may have changed while it ran. A clip that is gone frees its names."""
        if job.state is JobState.CANCELLED and not self._present(job.path):
            self._store.journal.give_base_back(job.path)
            self._gone[job.id] = job
        self._rescan_soon(self._clock.boot())

    def _present(self, path: bytes) -> bool:
        """Whether a clip exists. A folder that is away counts as no; a failing disk does not prove that it is gone."""
        try:
            return self._root.away is None and self._root.lstat(path) is not None
        except OSError:
            return True

    def _rescan_soon(self, now: float) -> None:
        """Rescan as soon as that is cheap enough."""
        self.behind = True
        last = self.scanned_at or 0.0
        self._rescan_at = min(self._rescan_at, max(now, last + RESCAN_SHARE * self._scan_seconds))

    # -- hints

    def _take_hints(self, now: float) -> None:
        hints = dict.fromkeys(
            self._watcher.hints.take()
        )  # keep their order: the first clip of a stem gets the stem's names
        if not hints:
            return
        if None in hints or len(hints) >= HINTS_MAX:
            self.behind, self._rescan_at = True, now
            return
        for path in hints:
            if path is not None:
                self._take_hint(path, now)

    def _take_hint(self, path: bytes, now: float) -> None:
        folder, name = layout.split(path)
        if any(names.is_ignored_folder(part) for part in folder.split(b"/") if part):
            return
        if not names.is_clip_name(name, self._suffixes) or names.is_ignored(name):
            if not name.startswith(layout.OURS):
                for listener in self._store.listeners:
                    listener.beside_changed(path)
                self._rescan_soon(now)  # a moved folder, a finished clip's JSON, a finished partial copy
            return
        try:
            status = self._root.lstat(path)
        except OSError:
            self._rescan_soon(now)
            return
        if status is None:
            self._arrival.absent(path, now)
        elif stat.S_ISREG(status.st_mode):
            self._arrival.appeared([(path, signature(status))], now)
        else:
            self._rescan_soon(now)

    # -- the whole folder

    def _rescan(self, now: float) -> None:
        now = self._clock.boot()
        try:
            listing = self._listing()
        except InputsAway as error:
            self._note_away(error.what)
            return
        if not self._root.check():  # it went away during the scan: unseen clips may still exist
            self._check_health(now)
            return
        self.behind = False
        self._arrival.appeared(listing.clips.items(), now)
        if self.scanned_at is None:
            self._arrival.recall(now)
        for path in [p for p in self._arrival.paths if p not in listing.clips and not listing.is_blind(p)]:
            self._arrival.absent(path, now)
        for path, seen in listing.links.items():
            self._arrival.linked(path, seen)
        self._arrival.hold_back(listing.held_back, now)
        self._error_files.remove_stale(self._store.known, self._store.looks, listing)
        looks = self.looks.found(listing)
        self.looks.withdraw_lost(looks, listing)
        self._compare_specs(listing)
        self._compare_looks(looks)
        self.looks.take_in(looks)
        self._find_gone(listing)
        self._say_unreadable(listing)
        ended = self._clock.boot()
        self.scanned_at = ended
        self._scan_seconds = ended - now
        self._rescan_at = ended + self.rescan_every

    def _listing(self) -> Listing:
        return scan(self._root.path, self._config)

    def _say_unreadable(self, listing: Listing) -> None:
        """Log each unreadable folder once."""
        found = dict(listing.unreadable)
        for path in found.keys() - self._unreadable:
            say("unreadable", path=self._root.path / os.fsdecode(path), problem=found[path])
        self._unreadable = frozenset(found)

    # -- clips that are gone

    def _find_gone(self, listing: Listing) -> None:
        """Find the cancelled jobs whose clips are gone, as the scan shows it.

        A clip that was renamed arrives under its new name first: its JSONs may go along.
        """
        if not self._gone:
            return
        coming = self._arrival.coming
        gone = [job for job in self._gone.values() if not job.source_stat or identity_of(job.source_stat) not in coming]
        lonely = self.looks.lonely(listing, gone)
        for job in gone:
            del self._gone[job.id]
            if job.path not in listing.clips and not listing.is_blind(job.path):
                self._to_tell.append((job, lonely.pop(job.path, [])))

    def _tell_gone(self) -> None:
        """Tell the stages of clips that are gone."""
        now, self._to_tell = self._to_tell[:GONE_AT_ONCE], self._to_tell[GONE_AT_ONCE:]
        for job, specs in now:
            try:
                for listener in self._store.listeners:
                    listener.clip_gone(job, specs)
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs no other clip
                self._store.mishaps.charge(job.id, "looked for the JSONs of", error)

    # -- JSONs that were edited after their run

    def _compare_specs(self, listing: Listing) -> None:
        """Take in every ended clip again whose JSON means something else than its last run."""
        for path in listing.clips:
            known = self._store.known.get(path)
            if known is None or not (known.state.ended or known.state in CLAIMED) or path not in self._store.scope:
                continue
            seen = listing.specs.get(layout.spec_beside(path, known.base))
            if seen is not None and seen != known.spec_stat:
                self._compare(known, seen)

    def _compare_looks(self, found: Mapping[bytes, Found]) -> None:
        """The same for the further looks of the clips. `found` has their JSONs."""
        for path, of_clip in found.items():
            looks = self.looks.known(path)
            for look, (_, seen) in of_clip.items():
                known = looks.get(look)
                if known is not None and seen != known.spec_stat and (known.state.ended or known.state in CLAIMED):
                    self._compare(known, seen)
        claimed = {job.id for job in self._store.claimed}
        self._late_edits = {job: seen for job, seen in self._late_edits.items() if job in claimed}

    def _compare(self, known: Known, seen: Signature) -> None:
        """Compare a JSON that has another signature than at its look's last run."""
        try:
            if known.state.ended:
                self._take_in_again(self._store.job(known.job), seen)
            elif self._late_edits.get(known.job) != seen:
                self._late_edits[known.job] = seen
                self._say_late(self._store.job(known.job))
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this clip and no other
            self._store.mishaps.charge(known.job, "compared the JSON of", error)

    def _take_in_again(self, job: Job, seen: Signature) -> None:
        # The folder may be away, or the clip cannot be opened: the next rescan tries again.
        with suppress(EnvironmentFault):
            if self._says_the_same(job):
                self._store.touch(job, spec_stat=seen)
            else:
                self.looks.again(job, seen)

    def _say_late(self, job: Job) -> None:
        with suppress(EnvironmentFault):
            if not self._says_the_same(job):
                say("late-edit", job, spec=layout.beside(job.path, job.stem).spec)

    def _says_the_same(self, job: Job) -> bool:
        """Whether a readable JSON means the same as when the job was claimed or ended. True if there is none."""
        path = layout.beside(job.path, job.stem).spec
        try:
            file = self._folder.read_spec(path)
        except SpecInvalid:
            return True
        if file is None:
            return True
        if job.spec_hash is None:  # it never ran: only the JSON's bytes are known
            return job.spec_digest in {None, file.digest} and job.state is not JobState.DONE
        try:
            return self._folder.spec_in(file, path, job.path).digest() == job.spec_hash
        except SpecInvalid:
            return False

    # -- the root and the watcher

    def _check_health(self, now: float) -> None:
        health = self._root.check()
        adopted = False
        # Made anew on the same file system, or no job would be lost: take it as it is.
        jobs_left = any(count for state, count in self._store.counts.items() if not state.ended)
        if not health and (health.adoptable or not jobs_left):
            self._root.adopt()
            again = self._root.check()
            if again:
                self._root.keep()
                health, adopted = again, True
        if not health:
            if self._root.away is None:
                self._note_away(health.reason or "")
            return
        if self._root.away is not None:
            self._note_back(now)
            return
        ended = not self._watcher.alive()
        if adopted or (now >= self._watch_again_at and (ended or self._watcher.unwatched)):
            if (adopted or ended) and self._watcher.problem is None and self.scanned_at is not None:
                say("watch-restarted", problem="the folder was made anew." if adopted else "the emitter had ended.")
            if problem := self._open_root():
                self._note_away(problem)
                return
            self._watch()
            self._rescan_at = now

    def _open_root(self) -> str:
        """Open the folder again; the problem as a sentence, empty if there is none."""
        try:
            self._arrival.open_root()
        except OSError as error:
            return f"The inputs folder {self._root.path} cannot be opened: {error.strerror}."
        return ""

    def _note_back(self, now: float) -> None:
        """Go on with a folder that was away."""
        if self._open_root():  # it is there but cannot be opened yet
            return
        self._root.away = None
        say("inputs-back", inputs=self._root.path)
        for listener in self._store.listeners:
            listener.inputs_back(now)
        self._watch()
        self._rescan_at = now

    def _note_away(self, problem: str) -> None:
        self._root.away = problem
        say("inputs-away", inputs=self._root.path, problem=problem)

    def _watch(self) -> None:
        """Start the events again. A failure is logged once and tried again later."""
        logged = self._watcher.problem
        if self._watcher.start():
            # With too few watches, try again at times: somebody may have raised the limit.
            self._watch_pause = WATCH_PAUSE_MAX if self._watcher.unwatched else WATCH_PAUSE
        else:
            self._watch_pause = min(self._watch_pause * 2, WATCH_PAUSE_MAX)
            if self._watcher.problem != logged:
                rescan = spell_duration(self.rescan_every)
                say("watch-unavailable", inputs=self._root.path, problem=self._watcher.problem, rescan=rescan)
        self._watch_again_at = self._clock.boot() + self._watch_pause
        self._say_shortage()

    def _say_shortage(self) -> None:
        """Log once that some folders cannot be watched. They may also appear after the start."""
        short = self._watcher.unwatched > 0
        if short and not self._shortage_said:
            rescan = spell_duration(self.rescan_every)
            say("watch-short", inputs=self._root.path, problem=self._watcher.shortage, rescan=rescan)
        self._shortage_said = short
