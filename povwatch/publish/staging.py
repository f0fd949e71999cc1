"""The folder outputs/.povwatch, where work in progress is: one room a run, and one for a job's checkpoints.

    outputs/.povwatch/17.3f2a/     what the run 3f2a of job 17 writes; gone when the run is over
    outputs/.povwatch/17/chunks/   finished chunks of job 17, for the next attempt; gone when the job is over
    outputs/.povwatch/17/hooks/    copies of the clip and its JSON for a hook of job 17; gone when the hook is over

It is inside outputs/ because a rename never crosses a mount, and private because nobody is to see half a video, or to
put one in its place: see private.py. What is there is listed and cleared whosever it is.
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
from povwatch.publish.faults import told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

_OURS = re.compile(r"(?P<job>[0-9]{1,19})(?:\.(?P<run>.+))?", re.DOTALL)


class Staging:
    """The rooms in `outputs`/.povwatch. Making one fails in words; clearing one is safe to repeat."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs

    def make(self, job_id: int, run_id: str) -> Path:
        """The room of a run, made if it is missing."""
        return self._made(room(job_id, run_id))

    def probe(self) -> None:
        """Make a file in the folder of all rooms, which is made if it is missing, and leave nothing of it."""
        with told(self._outputs, layout.STAGING), contextlib.ExitStack() as opened:
            root = root_of(self._outputs, opened)
            folder = _kept(private.enter(root, str(self._outputs), layout.STAGING, make=True), opened)
            with fs.nameless(folder):
                pass

    def checkpoints(self, job_id: int) -> Path:
        """The folder for what outlives a job's attempts, made if it is missing."""
        return self._made(f"{job_id}", "chunks")

    def for_hooks(self, job_id: int) -> Path:
        """An empty folder for what a hook of a job is given."""
        self.clear_hooks(job_id)
        return self._made(f"{job_id}", "hooks", place=Place.HOOK)

    def clear_hooks(self, job_id: int) -> None:
        """Throw away what a hook was given; and the job's folder, if nothing else is in it."""
        with (
            told(self._outputs, layout.STAGING, Place.HOOK),
            contextlib.ExitStack() as opened,
            contextlib.suppress(FileNotFoundError),
        ):
            rooms = folder_of(root_of(self._outputs, opened), layout.STAGING, opened)
            job = b"%d" % job_id
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(b"hooks", dir_fd=folder_of(rooms, job, opened))
            with contextlib.suppress(OSError):  # there are checkpoints in it
                os.rmdir(job, dir_fd=rooms)

    def discard(self, job_id: int, run_id: str) -> None:
        """Throw away what a run wrote."""
        self._clear(lambda job, run: (job, run) == (job_id, run_id))

    def finish(self, job_id: int) -> None:
        """Throw away everything of a job: all its runs, and its checkpoints."""
        self._clear(lambda job, _: job == job_id)

    def sweep(self, keep: Collection[int], keep_runs: Collection[str]) -> int:
        """Throw away every room but those of the jobs and runs to keep; names that are not ours stay.

        No hook runs at a start, so what one was given goes too: a job that ends before its claim leaves nothing else.
        What cannot be removed is left for the next sweep.

        Returns:
            How many rooms were removed.
        """

        def left_over(job: int, run: str | None) -> bool:
            return job not in keep if run is None else run not in keep_runs

        removed = self._clear(left_over)
        for job, run in self.runs():
            if run is None:
                with contextlib.suppress(PovwatchError):
                    self.clear_hooks(job)
        return removed

    def runs(self) -> list[tuple[int, str | None]]:
        """The job and the run of every room that is there; no run for a job's checkpoints."""
        with told(self._outputs, layout.STAGING), contextlib.ExitStack() as opened:
            try:
                folder = folder_of(root_of(self._outputs, opened), layout.STAGING, opened)
            except FileNotFoundError:
                return []
            names = map(_OURS.fullmatch, os.listdir(folder))  # noqa: PTH208 - a descriptor
            return [(int(found["job"]), found["run"]) for found in names if found]

    def rooms(self) -> list[tuple[int, bytes, int]]:
        """Every room that is there: its job, its path below outputs/, and the bytes in it."""
        found = []
        with told(self._outputs, layout.STAGING), contextlib.ExitStack() as opened:
            try:
                folder = folder_of(root_of(self._outputs, opened), layout.STAGING, opened)
            except FileNotFoundError:
                return []
            for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a descriptor
                if ours := _OURS.fullmatch(name):
                    path = layout.STAGING + b"/" + os.fsencode(name)
                    found.append((int(ours["job"]), path, _bytes_in(name, folder)))
        return found

    def _made(self, *names: str, place: Place = Place.ROOM) -> Path:
        path = b"/".join([layout.STAGING, *map(os.fsencode, names)])
        with told(self._outputs, path, place), contextlib.ExitStack() as opened:
            os.close(private.enter(root_of(self._outputs, opened), str(self._outputs), path, make=True))
        return self._outputs / os.fsdecode(path)

    def _clear(self, unwanted: Callable[[int, str | None], bool]) -> int:
        removed = 0
        with told(self._outputs, layout.STAGING), contextlib.ExitStack() as opened:
            try:
                folder = folder_of(root_of(self._outputs, opened), layout.STAGING, opened)
            except FileNotFoundError:
                return 0
            for name in os.listdir(folder):  # noqa: PTH208 - a descriptor
                found = _OURS.fullmatch(name)
                if found and unwanted(int(found["job"]), found["run"]):
                    # A thousand folders one in another are too deep for it: they stay.
                    with contextlib.suppress(OSError, RecursionError):
                        shutil.rmtree(name, dir_fd=folder)
                        removed += 1
        return removed


def _bytes_in(name: str, folder: int) -> int:
    size = 0
    with contextlib.suppress(OSError), fs.closing(fs.open_beneath(folder, os.fsencode(name), fs.FOLDER)) as top:
        for _, names, here in fs.walk_beneath(top):
            for file in names:
                with contextlib.suppress(OSError):  # gone meanwhile
                    size += os.stat(file, dir_fd=here, follow_symlinks=False).st_size
    return size


def room(job_id: int, run_id: str) -> str:
    """The name of a run's room."""
    return f"{job_id}.{run_id}"


def root_of(outputs: Path, opened: contextlib.ExitStack) -> int:
    """The outputs folder itself, open until `opened` ends. It alone may be a symlink: the configuration names it."""
    return _kept(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY), opened)


def folder_of(root: int, path: bytes, opened: contextlib.ExitStack) -> int:
    """A folder below `root`, reached without following a symlink, open until `opened` ends."""
    return _kept(fs.open_beneath(root, path, fs.FOLDER), opened)


def private_of(root: int, outputs: Path, path: bytes, opened: contextlib.ExitStack) -> int:
    """A folder below `root` that is ours alone, as is each one on the way, open until `opened` ends.

    Raises:
        OutputsTaken: One is somebody else's.
        OSError: As `private.enter`.
    """
    return _kept(private.enter(root, str(outputs), path), opened)


def _kept(fd: int, opened: contextlib.ExitStack) -> int:
    opened.callback(os.close, fd)
    return fd
