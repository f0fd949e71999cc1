"""Finds the JSONs of further looks beside the clips of a scan, and takes them in: core/looks.py has the rule of names.

A look is taken in once its clip has arrived. Until then its JSON waits, without a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import layout, looks
from povwatch.core.changes import LookRefused
from povwatch.core.events import say
from povwatch.core.job import WAITING, JobState
from povwatch.core.sentences import joined
from povwatch.files.scan import ClipUnreadable
from povwatch.spec.error_texts import Case

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from povwatch.arrival.joining import Joining
    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.files.scan import Listing
    from povwatch.files.signature import Signature
    from povwatch.journal.reader import Known
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

RENAME = "Give the JSON another name, or move it away."

Found = dict[str, tuple[bytes, "Signature"]]
"""The JSONs of a clip's further looks: look to path and signature."""


class LookFiles:
    """The JSONs of the further looks of clips."""

    def __init__(self, config: Config, *, store: JobStore, joining: Joining, error_files: ErrorFiles) -> None:
        self._suffixes = config.arrival.suffixes
        self._most = config.spec.variants_max
        """So many further looks a clip may have."""
        self._store = store
        self._joining = joining
        self._error_files = error_files
        self._holders: dict[tuple[bytes, bytes], bytes | None] = {}
        """Folder and base to the clip that has the base, as far as that was asked."""
        self._clips_known = -1
        self._waiting: dict[bytes, Found] = {}
        """The JSONs beside clips that have not arrived."""
        self._found: Mapping[bytes, Found] = {}
        """The JSONs of the last scan."""
        self.over: dict[bytes, list[bytes]] = {}
        """The JSONs that wait beside clips that have as many looks as they may."""
        self._limits_said: dict[bytes, int] = {}
        """How many JSONs there were when that was logged last, by clip: one line for each number."""

    def known(self, clip: bytes) -> dict[str, Known]:
        """The newest jobs of a clip's further looks, but for those from when its files had another base."""
        own = self._store.known.get(clip)
        looks_of = self._store.looks.get(clip, {})
        return {look: job for look, job in looks_of.items() if own is not None and job.base == own.base}

    def found(self, listing: Listing) -> dict[bytes, Found]:
        """The JSONs of further looks in a scan, by clip."""
        if len(self._store.known) != self._clips_known:  # a new clip may have taken a base
            self._clips_known = len(self._store.known)
            self._holders.clear()

        def clip_of(folder: bytes, base: bytes) -> bytes | None:
            key = (folder, base)
            if key not in self._holders:
                self._holders[key] = self._store.journal.holder(folder, base)
            clip = self._holders[key]
            return clip if clip in listing.clips else None

        found: dict[bytes, Found] = {}
        for spec, seen in listing.specs.items():
            if not looks.may_be_look(spec):
                continue
            owner = looks.owner(spec, clip_of, suffixes=self._suffixes)
            if owner is not None and owner.look != looks.OWN and owner.clip in self._store.scope:
                found.setdefault(owner.clip, {})[owner.look] = (spec, seen)
        self._found = found
        return found

    def take_in(self, found: Mapping[bytes, Found]) -> None:
        """Take in the new looks, as far as their clips have arrived; refuse those that cannot have their names."""
        self._waiting.clear()
        self.over = {}
        for clip, of_clip in found.items():
            known = self.known(clip)
            again = {look for look in of_clip if look in known and self._comes_again(clip, look, known[look])}
            new = {look: of_clip[look] for look in sorted((of_clip.keys() - known.keys()) | again)}
            if new and clip in self._store.known:
                self._charged(clip, new, [look for look in of_clip if look not in new])
        self._limits_said = {clip: count for clip, count in self._limits_said.items() if clip in self.over}

    def lonely(self, listing: Listing, gone: Iterable[Job]) -> dict[bytes, list[bytes]]:
        """The JSONs of looks that clips which are gone have left, as far as the looks had no job; by clip.

        `gone` are the last jobs of those clips.
        """
        bases = {(layout.split(job.path)[0], job.base): job.path for job in gone}
        found: dict[bytes, list[bytes]] = {}
        for spec in listing.specs if bases else ():
            owner = looks.owner(spec, lambda *base: bases.get(base), suffixes=self._suffixes)
            if owner is None or not owner.look or owner.look in self._store.looks.get(owner.clip, {}):
                continue
            if not self._is_owned(spec, listing):
                found.setdefault(owner.clip, []).append(spec)
        return found

    def _is_owned(self, spec: bytes, listing: Listing) -> bool:
        """Whether a clip that is there owns a JSON."""
        holder = self._store.journal.holder
        owner = looks.owner(spec, holder, suffixes=self._suffixes)
        return owner is not None and owner.clip in listing.clips

    def take_in_arrived(self) -> None:
        """Take in the looks that have waited for the clips that have just arrived."""
        while self._joining.arrived:
            clip = self._joining.arrived.pop()
            if new := self._waiting.pop(clip, None):
                self._charged(clip, new, list(self.known(clip)))

    def again(self, job: Job, seen: Signature) -> None:
        """Run a look once more, since its JSON was edited; it waits if its clip has not arrived.

        The clip's own look has it arrive anew.

        Raises:
            ClipUnreadable: the clip cannot be opened.
        """
        if job.look == looks.OWN:
            self._joining.arrive_anew(job.path, self._store.clock.boot())
        elif why := self.refused(job.path, job.look):
            self._refuse(job.path, job.look, seen, why)
        else:
            self._joining.join(job.path, job.look, spec=layout.beside(job.path, job.stem).spec)

    def refused(self, clip: bytes, look: str) -> str:
        """Why a look of this clip cannot have its name, as a sentence; empty if it can.

        A look that was withdrawn keeps no other from its name: its JSON may have been renamed to this very look.
        """
        there = self._found.get(clip, {})
        others = [
            other
            for other, job in self.known(clip).items()
            if other != look
            and job.state is not JobState.REJECTED
            and (other in there or job.state is not JobState.CANCELLED)
        ]
        base = self._store.known[clip].base
        return looks.refusal(look, base, others=others)

    def _comes_again(self, clip: bytes, look: str, last: Known) -> bool:
        """Whether a look that has ended is taken in again: its clip was replaced, or it can have its name now."""
        own = self._store.known.get(clip)
        replaced = own is not None and last.state.ended and last.source_stat != own.source_stat
        if not replaced and last.state is not JobState.REJECTED:
            return False
        job = self._store.job(last.job)
        if not job.name_refused:
            return replaced
        if self.refused(clip, look):
            return False
        self._error_files.clear(job)
        return True

    def _being_withdrawn(self, clip: bytes, look: str) -> bool:
        """Whether a look that has the same name, but for its case, waits without a JSON: it ends soon."""
        there = self._found.get(clip, {})
        return any(
            other != look and other.casefold() == look.casefold() and other not in there and job.state in WAITING
            for other, job in self.known(clip).items()
        )

    def withdraw_lost(self, found: Mapping[bytes, Found], listing: Listing) -> None:
        """Cancel the looks whose JSON belongs to another clip now, which came later."""
        for clip, known in list(self._store.looks.items()):
            for look, job in [(look, job) for look, job in known.items() if not job.state.ended]:
                spec = layout.spec_beside(clip, looks.stem(job.base, look))
                if spec in listing.specs and look not in found.get(clip, {}):
                    self._withdraw(self._store.job(job.job), spec)

    def _withdraw(self, job: Job, spec: bytes) -> None:
        if job.path not in self._store.scope:
            return
        holder = self._store.journal.holder(layout.split(spec)[0], job.stem)
        if holder is not None and holder != job.path:
            self._store.cancel(job, f"{layout.shown(spec)} is the JSON of {layout.shown(holder)} now")

    def _charged(self, clip: bytes, new: Found, others: list[str]) -> None:
        try:
            self._take_in(clip, new, others)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this clip and no other
            self._store.mishaps.charge(self._store.known[clip].job, "took in the looks of the clip of", error)

    def _take_in(self, clip: bytes, new: Found, others: list[str]) -> None:
        """Take in the new looks of a clip beside the other ones that it has."""
        for number, (look, (spec, seen)) in enumerate(new.items()):
            if self._being_withdrawn(clip, look):
                continue  # its end brings the next rescan
            if why := self.refused(clip, look):
                self._refuse(clip, look, seen, why)
            elif len(others) >= self._most:
                self._limit(clip, [spec for spec, _ in list(new.values())[number:]], len(others) + len(new) - number)
                return
            else:
                others.append(look)
                if not self._join(clip, look, spec):
                    self._waiting.setdefault(clip, {})[look] = (spec, seen)

    def _join(self, clip: bytes, look: str, spec: bytes) -> bool:
        try:
            return self._joining.join(clip, look, spec=spec) is not None
        except ClipUnreadable:
            return False  # the next rescan tries again

    def _refuse(self, clip: bytes, look: str, seen: Signature, why: str) -> None:
        """Reject a look. Its job says why, and so does an error file beside the JSON."""
        known: Known = self._store.known[clip]
        with self._store.together():
            (job,) = self._store.add([(clip, known.source_stat or b"")], look=look)
            file = self._error_files.write(job, Case.LOOK_NAME, why, RENAME)
            error = joined(why, RENAME)
            self._store.apply(job, LookRefused(error=error, error_file=file, spec_stat=seen))

    def _limit(self, clip: bytes, left: list[bytes], count: int) -> None:
        self.over[clip] = left
        if self._limits_said.get(clip) != count:
            self._limits_said[clip] = count
            say("looks-limit", self._store.of_path(clip), count=count, most=self._most, left=len(left), first=left[0])
