"""The folder outputs/.povwatch for work in progress: one folder for each attempt, and one for each job.

    outputs/.povwatch/17.3f2a/     files of the attempt 3f2a at job 17; deleted when it is over
    outputs/.povwatch/17/chunks/   finished chunks of job 17, for the next attempt; deleted when the job is over
    outputs/.povwatch/clip.5e0c/   copies and controls that a clip's looks share; deleted when none of them waits
    outputs/.povwatch/17/hooks/    copies of the clip and its JSON for a hook of job 17; deleted when the hook is over

It is inside outputs/ because a rename cannot cross mounts, and private so that nobody sees or plants half a video: see
private.py. Listing and clearing work whoever owns a folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import PovwatchError
from povwatch.core.machine_faults import Place
from povwatch.files import fs, private
from povwatch.publish.faults import translate_output_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

_OURS = re.compile(r"(?P<job>[0-9]{1,19})(?:\.(?P<attempt>.+))?", re.DOTALL)


_SHARED_PREFIX = "clip."

_SHARED = re.compile(re.escape(_SHARED_PREFIX) + "[0-9a-f]{32}")


class Staging:
    """The folders in `outputs`/.povwatch. Making one raises translated errors; clearing one is safe to repeat."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs

    def make(self, job_id: int, run_id: str) -> Path:
        """An attempt's folder, made if necessary. The attempt writes nowhere else."""
        return self._made(folder_name(job_id, run_id))

    def folder(self, job_id: int, run_id: str) -> Path:
        """An attempt's folder, whether it exists or not."""
        return self.outputs / os.fsdecode(layout.STAGING) / folder_name(job_id, run_id)

    def probe(self) -> None:
        """Check that an attempt could write in outputs/, by making a nameless file in .povwatch.

        Raises:
            PovwatchError: it could not; an EnvironmentFault if the machine is to blame.
        """
        with translate_output_errors(self.outputs, layout.STAGING), contextlib.ExitStack() as opened:
            root = root_of(self.outputs, opened)
            folder = _kept(private.enter(root, str(self.outputs), layout.STAGING, make=True), opened)
            with fs.nameless(folder):
                pass

    def checkpoints(self, job_id: int) -> Path:
        """The folder for files that outlive a job's attempts, made if necessary."""
        return self._made(f"{job_id}", "chunks")

    def shared_folder(self, name: str) -> Path:
        """The folder of the copies that the looks of a clip share, whether it exists or not.

        `name` has 32 hexadecimal digits.
        """
        return self.outputs / os.fsdecode(layout.STAGING) / f"{_SHARED_PREFIX}{name}"

    def make_shared(self, name: str) -> Path:
        """The same folder, made if necessary."""
        return self._made(f"{_SHARED_PREFIX}{name}")

    def delete_shared(self, folder: str | None = None) -> int:
        """Delete shared copies: those in one folder, or all. Returns the number of removed folders."""
        removed = 0
        with (
            translate_output_errors(self.outputs, layout.STAGING),
            contextlib.ExitStack() as opened,
            contextlib.suppress(FileNotFoundError),
        ):
            staging = folder_of(root_of(self.outputs, opened), layout.STAGING, opened)
            for name in filter(_SHARED.fullmatch, os.listdir(staging)):  # noqa: PTH208 - a descriptor
                if folder is None or folder.endswith(f"/{name}"):
                    with contextlib.suppress(RecursionError):
                        # a thread may just take back a file that it wanted to keep: see SharedFiles.keep
                        shutil.rmtree(name, dir_fd=staging, ignore_errors=True)
                    removed += not _is_there(name, staging)
        return removed

    def shared_sizes(self) -> list[tuple[bytes, int]]:
        """The folder of each clip's shared copies: its path relative to outputs/, and its size in bytes."""
        with (
            translate_output_errors(self.outputs, layout.STAGING),
            contextlib.ExitStack() as opened,
            contextlib.suppress(FileNotFoundError),
        ):
            staging = folder_of(root_of(self.outputs, opened), layout.STAGING, opened)
            names = sorted(filter(_SHARED.fullmatch, os.listdir(staging)))  # noqa: PTH208 - a descriptor
            return [(layout.STAGING + b"/" + os.fsencode(name), _bytes_in(name, staging)) for name in names]
        return []

    def result_folder(self, folder: bytes) -> Path:
        """A visible folder in outputs/ that a hook may write to, made if necessary.

        Raises:
            OutputRefused: a symlink or a file has its name, or the name of a folder above it.
            OutputsAway: outputs/ is missing.
        """
        with translate_output_errors(self.outputs, folder, Place.HOOK), contextlib.ExitStack() as opened:
            os.close(fs.make_dirs_beneath(root_of(self.outputs, opened), folder))
        return self.outputs / os.fsdecode(folder)

    def for_hooks(self, job_id: int) -> Path:
        """An empty folder for the copies that a job's hook gets."""
        self.clear_hooks(job_id)
        return self._made(f"{job_id}", "hooks", place=Place.HOOK)

    def clear_hooks(self, job_id: int) -> None:
        """Delete a hook's copies, and the job's folder if nothing else is in it."""
        with (
            translate_output_errors(self.outputs, layout.STAGING, Place.HOOK),
            contextlib.ExitStack() as opened,
            contextlib.suppress(FileNotFoundError),
        ):
            staging = folder_of(root_of(self.outputs, opened), layout.STAGING, opened)
            job = b"%d" % job_id
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(b"hooks", dir_fd=folder_of(staging, job, opened))
            with contextlib.suppress(OSError):  # checkpoints are in it
                os.rmdir(job, dir_fd=staging)

    def delete_attempt(self, job_id: int, run_id: str) -> None:
        """Delete an attempt's files."""
        self._clear(lambda job, attempt: (job, attempt) == (job_id, run_id))

    def delete_job(self, job_id: int) -> None:
        """Delete everything of a job: of all its attempts, and its checkpoints."""
        self._clear(lambda job, _: job == job_id)

    def sweep(self, keep: Collection[int], keep_attempts: Collection[str]) -> int:
        """Delete every folder except those of the jobs and attempts to keep, and all shared copies. Foreign names stay.

        No hook runs at a start, so hooks' copies are deleted too: a job that ends before its claim leaves nothing else.
        A folder that cannot be removed is left for the next sweep.

        Returns:
            Number of removed folders.
        """

        def left_over(job: int, attempt: str | None) -> bool:
            return job not in keep if attempt is None else attempt not in keep_attempts

        removed = self._clear(left_over) + self.delete_shared()
        for job, attempt in self.attempts():
            if attempt is None:
                with contextlib.suppress(PovwatchError):
                    self.clear_hooks(job)
        return removed

    def attempts(self) -> list[tuple[int, str | None]]:
        """The job and the attempt (`run_id`) of every folder; None for the attempt of a job's own folder."""
        with self._folders() as (_, folders):
            return [(job, attempt) for _, job, attempt in folders]

    def sizes(self) -> list[tuple[int, bytes, int]]:
        """Every folder: its job, its path relative to outputs/, and its size in bytes."""
        with self._folders() as (staging, folders):
            return [
                (job, layout.STAGING + b"/" + os.fsencode(name), _bytes_in(name, staging))
                for name, job, _ in sorted(folders)
            ]

    def _made(self, *names: str, place: Place = Place.PRIVATE_FOLDER) -> Path:
        path = b"/".join([layout.STAGING, *map(os.fsencode, names)])
        with translate_output_errors(self.outputs, path, place), contextlib.ExitStack() as opened:
            os.close(private.enter(root_of(self.outputs, opened), str(self.outputs), path, make=True))
        return self.outputs / os.fsdecode(path)

    def _clear(self, unwanted: Callable[[int, str | None], bool]) -> int:
        removed = 0
        with self._folders() as (staging, folders):
            for name, job, attempt in folders:
                if unwanted(job, attempt):
                    # A thousand nested folders are too deep for rmtree: they stay.
                    with contextlib.suppress(OSError, RecursionError):
                        shutil.rmtree(name, dir_fd=staging)
                        removed += 1
        return removed

    @contextlib.contextmanager
    def _folders(self) -> Iterator[tuple[int, list[tuple[str, int, str | None]]]]:
        """The open .povwatch, and name, job and attempt of each folder of ours in it; -1 if it is missing."""
        with translate_output_errors(self.outputs, layout.STAGING), contextlib.ExitStack() as opened:
            staging, names = -1, []
            with contextlib.suppress(FileNotFoundError):
                staging = folder_of(root_of(self.outputs, opened), layout.STAGING, opened)
                names = os.listdir(staging)  # noqa: PTH208 - a descriptor
            ours = map(_OURS.fullmatch, names)
            yield staging, [(found[0], int(found["job"]), found["attempt"]) for found in ours if found]


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _bytes_in(name: str, folder: int) -> int:
    size = 0
    with contextlib.suppress(OSError), fs.closing(fs.open_beneath(folder, os.fsencode(name), fs.FOLDER)) as top:
        for _, names, here in fs.walk_beneath(top):
            for file in names:
                with contextlib.suppress(OSError):  # gone meanwhile
                    size += os.stat(file, dir_fd=here, follow_symlinks=False).st_size
    return size


def folder_name(job_id: int, run_id: str) -> str:
    """The name of an attempt's folder."""
    return f"{job_id}.{run_id}"


def root_of(outputs: Path, opened: contextlib.ExitStack) -> int:
    """The outputs folder, open until `opened` ends. Only this one may be a symlink: the configuration names it."""
    return _kept(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY), opened)


def folder_of(root: int, path: bytes, opened: contextlib.ExitStack) -> int:
    """A folder below `root`, reached without following a symlink, open until `opened` ends."""
    return _kept(fs.open_beneath(root, path, fs.FOLDER), opened)


def private_of(root: int, outputs: Path, path: bytes, opened: contextlib.ExitStack) -> int:
    """A folder below `root` that is povwatch's own, like each folder above it; open until `opened` ends.

    Raises:
        OutputsTaken: one of them is not povwatch's.
        OSError: as `private.enter`.
    """
    return _kept(private.enter(root, str(outputs), path), opened)


def _kept(fd: int, opened: contextlib.ExitStack) -> int:
    opened.callback(os.close, fd)
    return fd
