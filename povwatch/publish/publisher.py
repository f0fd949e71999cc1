"""Seals a job's files, then publishes them under their final names. The package's docstring has the steps."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from povwatch.core import layout
from povwatch.core.errors import DiskFull, OutputsAway, WriteFailed
from povwatch.core.machine_faults import Place
from povwatch.files import fs
from povwatch.publish import files as staged
from povwatch.publish.faults import OutputRefused, TargetTaken, translate_output_errors
from povwatch.publish.promise import Entry, Published, Sealed
from povwatch.publish.staging import Staging, folder_name, folder_of, private_of, root_of

Names: TypeAlias = Callable[[int], Sequence[bytes]]
"""Version -> the artifacts' final paths, relative to outputs/, in the order of the files."""

Describe: TypeAlias = Callable[[Sequence[Entry]], bytes]
"""The artifacts' entries -> the manifest's bytes."""

VERSION_MAX = 999
"""The highest version that `layout.SUFFIX_MAX` leaves space for."""


class Publisher:
    """Makes results visible in `outputs`; nothing else does.

    It keeps no state between calls: any call may be the first after a crash. Files are hashed and synced, which takes
    seconds for a long video, so the daemon calls `seal` and `publish` in threads.
    """

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self.staging = Staging(outputs)
        """The private folders for work in progress."""
        self._mode = 0o666 & ~_umask()

    def preflight(self, target: bytes) -> None:
        """Raise before GPU time is spent what `publish` would have to raise after it.

        Args:
            target: the artifact's final path, relative to outputs/.

        Raises:
            OutputRefused: a symlink or a file has the name of one of its folders, or the folder is on another disk.
            OutputsAway: outputs/ is missing.
            EnvironmentFault: the folder is there and cannot be written at present.
        """
        folder, _ = layout.split(target)
        with translate_output_errors(self._outputs, folder, Place.PUBLISH), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            with contextlib.suppress(FileNotFoundError):
                target_fd = folder_of(root, folder, opened)
                if os.fstat(target_fd).st_dev != os.fstat(root).st_dev:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                if not os.access(f"/proc/self/fd/{target_fd}", os.W_OK | os.X_OK, effective_ids=True):
                    raise OSError(errno.EACCES, os.strerror(errno.EACCES))

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
        """Sync a run's files, write the manifest, and choose the final names.

        It chooses the lowest version whose names are all free, or have the same bytes already.
        Nothing is visible yet. The promise goes into the journal before `publish`.

        Args:
            files: checked files directly in the run's private folder, the artifact first.
            names: version 1, 2, ... to the final paths. The manifest goes beside the first one.
            describe: makes the manifest from the entries of `files`, which have the chosen names.

        Raises:
            PublishStopped: the work is no longer wanted.
            CheckFailed: a file is missing, is no plain file, or has a second name somewhere.
            OutputsAway: the run's folder, or .povwatch, is missing or is not povwatch's.
            DiskFull: the disk is full. `files` are deleted; the rest of the folder is not.
            WriteFailed: the disk reported an error. `files` are deleted; the rest of the folder is not.
            EnvironmentFault: the machine does not allow it at present.
            OutputRefused: a symlink or a file has the name of a target's folder.
        """
        at = _run_folder(job_id, run_id)
        with translate_output_errors(self._outputs, at, Place.SEAL), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            run_fd = private_of(root, self._outputs, at, opened)
            try:
                with translate_output_errors(self._outputs, at, Place.SEAL):
                    measured = [
                        staged.sync_and_measure(run_fd, os.fsencode(file.name), self._mode, stopped) for file in files
                    ]
                    version, entries = self._chosen(root, run_fd, measured, first=1, names=names, describe=describe)
                    fs.fsync_dir(run_fd)
                    fs.fsync_dir(private_of(root, self._outputs, layout.STAGING, opened))
                    fs.fsync_dir(root)
            except (WriteFailed, DiskFull):
                # After a failed fsync the kernel may have dropped the bytes, and the next fsync succeeds all the same.
                # The files that these were made from were synced before: only these are made again.
                for file in files:
                    with contextlib.suppress(OSError):
                        os.unlink(os.fsencode(file.name), dir_fd=run_fd)
                raise
        return Sealed(job_id, run_id, version, entries)

    def reseal(self, sealed: Sealed, *, names: Names, describe: Describe) -> Sealed:
        """Choose names of a later version, after `publish` found a name taken. Commit this promise next.

        Files that are visible under the old names go back into the private folder first. Until the new promise is
        committed the old one stays valid: after a crash `publish` finds the name taken again.

        Raises:
            PovwatchError: as `seal`; but the files stay, since they were synced before.
        """
        *artifacts, manifest = sealed.entries
        at = _run_folder(sealed.job_id, sealed.run_id)
        with translate_output_errors(self._outputs, at, Place.PUBLISH), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            run_fd = private_of(root, self._outputs, at, opened)
            for entry in (manifest, *reversed(artifacts)):
                self._take_back(root, run_fd, entry)
            later = sealed.version + 1
            version, entries = self._chosen(root, run_fd, artifacts, first=later, names=names, describe=describe)
            fs.fsync_dir(run_fd)
        return Sealed(sealed.job_id, sealed.run_id, version, entries)

    def publish(self, sealed: Sealed, stopped: staged.Stopped = lambda: False) -> Published:
        """Make the promised files visible, and sync their folders. Safe to repeat after any interruption.

        Each file is visible already (nothing to do), or staged (it is renamed), or neither (somebody took it).

        Args:
            stopped: whether to leave the work for later.

        Raises:
            PublishStopped: the work is left for later; the promise stands.
            TargetTaken: something else took a name meanwhile: `reseal`, commit that, publish again.
            OutputsAway: outputs/ has no folder of povwatch's, so it is not the one with the staged files.
            PovwatchError: any other error. The promise stands, so call again later.
        """
        visible: list[bytes] = []
        gone: list[bytes] = []
        at = _run_folder(sealed.job_id, sealed.run_id)
        with translate_output_errors(self._outputs, at, Place.PUBLISH), ExitStack() as opened:
            root = root_of(self._outputs, opened)
            run_fd = self._run_folder_if_there(root, at, opened)
            for entry in sealed.entries:
                with translate_output_errors(self._outputs, entry.target, Place.PUBLISH):
                    is_there = self._make_visible(root, run_fd, entry, stopped)
                (visible if is_there else gone).append(entry.target)
            if run_fd is not None:
                fs.fsync_dir(run_fd)
        return Published(tuple(visible), tuple(gone))

    def _chosen(
        self, root: int, run_fd: int, artifacts: Sequence[Entry], *, first: int, names: Names, describe: Describe
    ) -> tuple[int, tuple[Entry, ...]]:
        """The lowest free version from `first` on, and its entries. The manifest is synced."""
        for version in range(first, VERSION_MAX + 1):
            entries = [replace(e, target=target) for e, target in zip(artifacts, names(version), strict=True)]
            text = describe(entries)
            # Each version's manifest has its own name: until the next COMMIT the old promise needs its own.
            name = b"manifest_v%d.json" % version
            beside = layout.manifest(entries[0].target)
            entries.append(Entry(name, beside, len(text), hashlib.sha256(text).hexdigest()))
            if len({entry.target for entry in entries}) < len(entries):
                raise ValueError(f"two files of one job go by one name: {[entry.target for entry in entries]}")
            if all(self._free(root, entry) for entry in entries):
                staged.write(run_fd, name, text, self._mode)
                return version, tuple(entries)
        raise OutputRefused(
            f"{self._outputs}/{layout.shown(names(1)[0])} and all its versions up to {VERSION_MAX} exist.",
            "Move old results away.",
        )

    def _free(self, root: int, entry: Entry) -> bool:
        """Whether a target's name is free, or has the same bytes already."""
        folder, name = layout.split(entry.target)
        with translate_output_errors(self._outputs, entry.target, Place.PUBLISH), ExitStack() as opened:
            try:
                target_fd = folder_of(root, folder, opened)
            except FileNotFoundError:
                return True
            return not staged.exists(target_fd, name) or staged.same(target_fd, name, entry)

    def _take_back(self, root: int, run_fd: int, entry: Entry) -> None:
        """Move a file that an interrupted `publish` made visible back into the private folder; never a foreign file."""
        folder, name = layout.split(entry.target)
        with translate_output_errors(self._outputs, entry.target, Place.PUBLISH), ExitStack() as opened:
            try:
                target_fd = folder_of(root, folder, opened)
            except FileNotFoundError:
                return
            if staged.exists(run_fd, entry.staged) or not staged.same(target_fd, name, entry):
                return
            fs.rename_noreplace(target_fd, name, run_fd, entry.staged)
            fs.fsync_dir(run_fd)
            fs.fsync_dir(target_fd)

    def _run_folder_if_there(self, root: int, at: bytes, opened: ExitStack) -> int | None:
        """The run's private folder; None if somebody removed it.

        Raises:
            OutputsAway: .povwatch itself is missing, as in a mount point without its disk, or is not povwatch's.
                "Somebody took it" would be the wrong conclusion.
        """
        try:
            private_of(root, self._outputs, layout.STAGING, opened)
        except FileNotFoundError as error:
            staging = f"{self._outputs}/{layout.shown(layout.STAGING)}"
            raise OutputsAway(
                f"{staging} is gone, and with it a result that was about to be published.",
                f"Is the disk of {self._outputs} mounted? Mount it. If it was emptied on purpose, "
                f"as povwatch's own user: mkdir -m 700 {staging}",
            ) from error
        try:
            return private_of(root, self._outputs, at, opened)
        except FileNotFoundError:
            return None

    def _make_visible(self, root: int, run_fd: int | None, entry: Entry, stopped: staged.Stopped) -> bool:
        """Give one file its final name; False if it is neither visible nor staged."""
        folder, name = layout.split(entry.target)
        target_fd = fs.make_dirs_beneath(root, folder)
        try:
            # Rename first and compare afterwards: the other order leaves a gap in between.
            renamed = run_fd is not None and _renamed(run_fd, entry.staged, target_fd, name)
            if not renamed and not staged.same(target_fd, name, entry, stopped):
                if run_fd is None or not staged.exists(run_fd, entry.staged):
                    return False
                raise TargetTaken(
                    f"{self._outputs}/{layout.shown(entry.target)} has appeared meanwhile and is not ours.",
                    "It stays as it is; the result gets the next free name.",
                )
            # Sync before the next file: a manifest on the disk means that its files are there too.
            fs.fsync_dir(target_fd)
        finally:
            os.close(target_fd)
        return True


def _renamed(run_fd: int, old: bytes, target_fd: int, new: bytes) -> bool:
    """Rename a file; False if it is missing, or the new name is taken."""
    try:
        fs.rename_noreplace(run_fd, old, target_fd, new)
    except (FileNotFoundError, FileExistsError):
        return False
    return True


def _run_folder(job_id: int, run_id: str) -> bytes:
    return layout.STAGING + b"/" + os.fsencode(folder_name(job_id, run_id))


def _umask() -> int:
    """The umask. os.umask would have to set it for a moment, while other threads create files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o077
