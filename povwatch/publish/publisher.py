"""Seal what a job made, then show it under its final names. See the package for the steps."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from povwatch.core import layout
from povwatch.core.errors import DiskFull, OutputsAway, WriteFailed
from povwatch.core.machine_faults import Place
from povwatch.files import fs
from povwatch.publish import files as staged
from povwatch.publish.faults import OutputRefused, TargetTaken, told
from povwatch.publish.promise import Entry, Published, Sealed
from povwatch.publish.staging import Staging, folder_of, private_of, room, root_of

if TYPE_CHECKING:
    from collections.abc import Collection

Names: TypeAlias = Callable[[int], Sequence[bytes]]
"""From a version to the artifacts' final paths, relative to outputs/, in the order of the files."""

Describe: TypeAlias = Callable[[Sequence[Entry]], bytes]
"""From the artifacts' entries to the manifest's bytes."""

VERSION_MAX = 999
"""As far as `layout.SUFFIX_MAX` leaves room for."""


class Publisher:
    """The only one that makes anything visible in `outputs`.

    It holds nothing between calls: any of them may be the first after a crash. Files are hashed and synced, which
    takes seconds for a long video, so a daemon calls `seal` and `publish` off its loop.
    """

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self._rooms = Staging(outputs)
        self._mode = 0o666 & ~_umask()

    def staging(self, job_id: int, run_id: str) -> Path:
        """The folder that a run writes to, and nowhere else: private, made if it is missing."""
        return self._rooms.make(job_id, run_id)

    def checkpoints(self, job_id: int) -> Path:
        """The folder for what outlives a job's attempts, made if it is missing."""
        return self._rooms.checkpoints(job_id)

    def for_hooks(self, job_id: int) -> Path:
        """An empty private folder for what a hook of a job is given."""
        return self._rooms.for_hooks(job_id)

    def clear_hooks(self, job_id: int) -> None:
        """Throw that folder away."""
        self._rooms.clear_hooks(job_id)

    def make_folder(self, folder: bytes) -> Path:
        """A folder in outputs/ that a hook may write to, made if it is missing.

        Raises:
            OutputRefused: A symlink or a file has its name, or that of one on the way.
            OutputsAway: outputs/ is not there.
        """
        with told(self._outputs, folder, Place.HOOK), ExitStack() as opened:
            os.close(fs.make_dirs_beneath(root_of(self._outputs, opened), folder))
        return self._outputs / os.fsdecode(folder)

    def preflight(self, target: bytes) -> None:
        """Refuse before any GPU time is spent what `publish` would have to refuse after it.

        Args:
            target: The path that the job's artifact is to have, relative to outputs/.

        Raises:
            OutputRefused: A symlink or a file has the name of one of its folders, or the folder is another disk's.
            OutputsAway: outputs/ is not there.
            EnvironmentFault: The folder is there and cannot be written at present.
        """
        folder, _ = layout.split(target)
        with told(self._outputs, folder, Place.PUBLISH), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            with contextlib.suppress(FileNotFoundError):
                there = folder_of(root, folder, opened)
                if os.fstat(there).st_dev != os.fstat(root).st_dev:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                if not os.access(f"/proc/self/fd/{there}", os.W_OK | os.X_OK, effective_ids=True):
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def probe(self) -> None:
        """See that a run could write in outputs/: make a file in the private folder. Nothing is left of it.

        Raises:
            PovwatchError: It cannot; what the machine has against it is an EnvironmentFault.
        """
        self._rooms.probe()

    def seal(
        self,
        job_id: int,
        run_id: str,
        files: Sequence[Path],
        *,
        names: Names,
        describe: Describe,
        stopped: staged.Stopped = lambda: False,
    ) -> Sealed:
        """Put a run's files on the disk for certain, write the manifest, and choose the final names.

        All names are of the lowest version whose every name is free, or has the very same bytes already.
        Nothing is visible yet. The promise goes into the journal before `publish`.

        Args:
            job_id: The job.
            run_id: Its run, whose room holds the files.
            files: Checked files directly in that room, the artifact first.
            names: Version 1, 2, ... to their final paths. The manifest goes beside the first one.
            describe: The manifest, given the entries of `files`; it knows the chosen names.
            stopped: Whether the work is no longer wanted.

        Raises:
            PublishStopped: It is not.
            CheckFailed: A file is missing, is no plain file, or has a second name somewhere.
            OutputsAway: The room, or the folder of all rooms, is not there, or is somebody else's.
            DiskFull: The disk does not take it all. `files` are gone, the rest of the room is not.
            WriteFailed: The disk reports an error. The same.
            EnvironmentFault: The machine does not allow it at present.
            OutputRefused: A symlink or a file has the name of a target's folder.
        """
        at = _in_room(job_id, run_id)
        with told(self._outputs, at, Place.SEAL), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            here = private_of(root, self._outputs, at, opened)
            try:
                with told(self._outputs, at, Place.SEAL):
                    measured = [staged.settle(here, os.fsencode(file.name), self._mode, stopped) for file in files]
                    version, entries = self._chosen(root, here, measured, first=1, names=names, describe=describe)
                    fs.fsync_dir(here)
                    fs.fsync_dir(private_of(root, self._outputs, layout.STAGING, opened))
                    fs.fsync_dir(root)
            except (WriteFailed, DiskFull):
                # After a failed fsync the kernel may have dropped the bytes, and the next fsync says yes to that.
                # What these files were made from was synced before: only they are made again.
                for file in files:
                    with contextlib.suppress(OSError):
                        os.unlink(os.fsencode(file.name), dir_fd=here)
                raise
        return Sealed(job_id, run_id, version, entries)

    def reseal(self, sealed: Sealed, *, names: Names, describe: Describe) -> Sealed:
        """Choose names of a later version, after `publish` said that one was taken; commit this promise next.

        What was shown under the old names already is taken back into the room first. Until the new promise is
        committed the old one stays good: after a crash `publish` says again that a name is taken.

        Raises:
            PovwatchError: As `seal`; but the room stays, since the artifacts were on the disk before.
        """
        *artifacts, manifest = sealed.entries
        at = _in_room(sealed.job_id, sealed.run_id)
        with told(self._outputs, at, Place.PUBLISH), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            here = private_of(root, self._outputs, at, opened)
            for entry in (manifest, *reversed(artifacts)):
                self._take_back(root, here, entry)
            later = sealed.version + 1
            version, entries = self._chosen(root, here, artifacts, first=later, names=names, describe=describe)
            fs.fsync_dir(here)
        return Sealed(sealed.job_id, sealed.run_id, version, entries)

    def publish(self, sealed: Sealed, stopped: staged.Stopped = lambda: False) -> Published:
        """Show what was promised, and let the disk have it. Safe to repeat after any interruption.

        For each file: it is there already -> nothing to do; it is staged -> renamed; neither -> somebody took it.

        Args:
            sealed: The promise.
            stopped: Whether the work is to be left for another time.

        Raises:
            PublishStopped: It is; the promise stands.
            TargetTaken: A name was taken by something else meanwhile: `reseal`, commit that, publish again.
            OutputsAway: outputs/ has no folder of ours in it, so it is not the one that we staged in, or not ours.
            PovwatchError: Whatever else it is, the promise stands, so call again later.
        """
        visible: list[bytes] = []
        gone: list[bytes] = []
        at = _in_room(sealed.job_id, sealed.run_id)
        with told(self._outputs, at, Place.PUBLISH), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            here = self._room_if_there(root, at, opened)
            for entry in sealed.entries:
                with told(self._outputs, entry.target, Place.PUBLISH):
                    there = self._shown(root, here, entry, stopped)
                (visible if there else gone).append(entry.target)
            if here is not None:
                fs.fsync_dir(here)
        return Published(tuple(visible), tuple(gone))

    def discard(self, job_id: int, run_id: str) -> None:
        """Throw away what a run wrote; the job's checkpoints stay."""
        self._rooms.discard(job_id, run_id)

    def finish(self, job_id: int) -> None:
        """Throw away all that is left of a job that has ended, its checkpoints too."""
        self._rooms.finish(job_id)

    def jobs(self) -> set[int]:
        """The jobs of which something is left in the private folder."""
        return {job for job, _ in self._rooms.runs()}

    def sweep(self, keep: Collection[int], keep_runs: Collection[str]) -> int:
        """Throw away, at start, what belongs to no job and no run to keep; says how many rooms that were."""
        return self._rooms.sweep(keep, keep_runs)

    def _chosen(
        self, root: int, here: int, artifacts: Sequence[Entry], *, first: int, names: Names, describe: Describe
    ) -> tuple[int, tuple[Entry, ...]]:
        """The lowest version from `first` on that is free, and its entries; the manifest is on the disk."""
        for version in range(first, VERSION_MAX + 1):
            entries = [replace(e, target=target) for e, target in zip(artifacts, names(version), strict=True)]
            text = describe(entries)
            # A name of its own for each version: until the next COMMIT the old promise needs its own manifest.
            name = b"manifest_v%d.json" % version
            beside = layout.manifest(entries[0].target)
            entries.append(Entry(name, beside, len(text), hashlib.sha256(text).hexdigest()))
            if len({entry.target for entry in entries}) < len(entries):
                raise ValueError(f"two files of one job go by one name: {[entry.target for entry in entries]}")
            if all(self._free(root, entry) for entry in entries):
                staged.write(here, name, text, self._mode)
                return version, tuple(entries)
        raise OutputRefused(
            f"{self._outputs}/{layout.shown(names(1)[0])} and all its versions up to {VERSION_MAX} exist.",
            "Move old results away.",
        )

    def _free(self, root: int, entry: Entry) -> bool:
        """Whether a target's name is to be had: nothing has it, or the very same bytes do."""
        folder, name = layout.split(entry.target)
        with told(self._outputs, entry.target, Place.PUBLISH), ExitStack() as opened:
            try:
                there = folder_of(root, folder, opened)
            except FileNotFoundError:
                return True
            return not staged.exists(there, name) or staged.same(there, name, entry)

    def _take_back(self, root: int, here: int, entry: Entry) -> None:
        """Move a file that an interrupted `publish` has shown back into the room; nobody else's file."""
        folder, name = layout.split(entry.target)
        with told(self._outputs, entry.target, Place.PUBLISH), ExitStack() as opened:
            try:
                there = folder_of(root, folder, opened)
            except FileNotFoundError:
                return
            if staged.exists(here, entry.staged) or not staged.same(there, name, entry):
                return
            fs.rename_noreplace(there, name, here, entry.staged)
            fs.fsync_dir(here)
            fs.fsync_dir(there)

    def _room_if_there(self, root: int, at: bytes, opened: ExitStack) -> int | None:
        """The run's room, or None where somebody removed it.

        Raises:
            OutputsAway: Not even the folder of all rooms is there: a mount point without its disk looks like this,
                and "somebody took it" would be the wrong conclusion. Or it is somebody else's.
        """
        try:
            private_of(root, self._outputs, layout.STAGING, opened)
        except FileNotFoundError as error:
            rooms = f"{self._outputs}/{layout.shown(layout.STAGING)}"
            raise OutputsAway(
                f"{rooms} is gone, and with it a result that was about to be published.",
                f"Is the disk of {self._outputs} mounted? Mount it. If it was emptied on purpose, "
                f"as povwatch's own user: mkdir -m 700 {rooms}",
            ) from error
        try:
            return private_of(root, self._outputs, at, opened)
        except FileNotFoundError:
            return None

    def _shown(self, root: int, here: int | None, entry: Entry, stopped: staged.Stopped) -> bool:
        """Give one file its final name; False where it is neither there nor staged."""
        folder, name = layout.split(entry.target)
        there = fs.make_dirs_beneath(root, folder)
        try:
            # Renamed first and looked at afterwards: the other order would leave a gap between the two.
            renamed = here is not None and _renamed(here, entry.staged, there, name)
            if not renamed and not staged.same(there, name, entry, stopped):
                if here is None or not staged.exists(here, entry.staged):
                    return False
                raise TargetTaken(
                    f"{self._outputs}/{layout.shown(entry.target)} has appeared meanwhile and is not ours.",
                    "It stays as it is; the result gets the next free name.",
                )
            # Before the next file: a manifest on the disk means that what it describes is there too.
            fs.fsync_dir(there)
        finally:
            os.close(there)
        return True


def _renamed(here: int, old: bytes, there: int, new: bytes) -> bool:
    """Whether a file could be renamed: False where it is missing, or the new name is taken."""
    try:
        fs.rename_noreplace(here, old, there, new)
    except (FileNotFoundError, FileExistsError):
        return False
    return True


def _in_room(job_id: int, run_id: str) -> bytes:
    return layout.STAGING + b"/" + os.fsencode(room(job_id, run_id))


def _umask() -> int:
    """The umask, without setting it for a moment as os.umask must: other threads create files meanwhile."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077
