"""A node's own copies of files, where no folder is shared: what jobs need, and what they make. Standard library alone.

    <state>/scratch/files/<sha256>        a file that a job needs; .part while it comes
    <state>/scratch/jobs/<run_id>/work/   the job's work folder: further names of those files, and what the engine makes
    <state>/scratch/jobs/<run_id>/chunks/ its finished chunks
    <state>/scratch/jobs/<run_id>/actor   the actor's mark (orphans.py): if it is gone the folder is deleted

A file is kept under its digest. So a transfer that broke goes on where it was, even from another actor, and the looks
of a clip share the clip. Nothing here is synced: all of it can be sent or made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from typing import Any

from povwatch.bridge.orphans import lives, mark
from povwatch.engines.chunk_files import PART

UNUSED = 3600.0
"""Seconds after its last use that a file is kept."""

WORK, CHUNKS, ACTOR = "work", "chunks", "actor"

HASHED = 1024 * 1024

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"[\w-]{1,100}")


class Scratch:
    """The files below a node's state folder. Safe to use from several threads and actors."""

    def __init__(self, state: str) -> None:
        self._root = os.path.join(state, "scratch")  # noqa: PTH118 - plain strings: Ray carries them

    def call(self, what: str, *arguments: Any) -> Any:  # noqa: ANN401 - as the method has it
        """Call a method by its name."""
        return _METHODS[what](self, *arguments)

    # -- what a job needs

    def have(self, digest: str, size: int) -> int:
        """How many bytes of a file are here; all of them if it is complete."""
        path = self._kept(digest)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            return size
        with contextlib.suppress(FileNotFoundError):
            if (so_far := os.stat(path + PART).st_size) <= size:  # noqa: PTH116
                return so_far
            os.unlink(path + PART)  # noqa: PTH108
        return 0

    def receive(self, digest: str, offset: int, block: bytes, block_digest: str) -> None:
        """Write a block of a file.

        Raises:
            ValueError: the block is not what was sent.
        """
        if hashlib.sha256(block).hexdigest() != block_digest:
            raise ValueError(f"a block at {offset} came with another digest")
        path = self._kept(digest) + PART
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while block:
                written = os.pwrite(fd, block, offset)
                block, offset = block[written:], offset + written
        finally:
            os.close(fd)

    def complete(self, digest: str) -> bool:
        """Keep a file whose last block has come; False, and nothing is kept, if it is not what was sent."""
        path = self._kept(digest)
        if os.path.exists(path):  # noqa: PTH110 - another actor was faster
            return True
        try:
            right = _digest(path + PART) == digest
            if right:
                os.rename(path + PART, path)  # noqa: PTH104
            else:
                os.unlink(path + PART)  # noqa: PTH108
        except FileNotFoundError:
            return os.path.exists(path)  # noqa: PTH110
        return right

    def begin(self, run_id: str, files: dict[str, str], chunks: dict[str, str]) -> dict[str, str]:
        """Make a job's folders, with the files that were sent under their names.

        Args:
            run_id: the attempt.
            files: for the work folder: relative path to digest.
            chunks: for the folder of chunks.

        Returns:
            The paths of the two folders: `work` and `chunks`.
        """
        self._prune()
        self.end(run_id)
        os.makedirs(self._job(run_id), mode=0o700)  # noqa: PTH103
        with open(os.path.join(self._job(run_id), ACTOR), "w", encoding="ascii") as file:  # noqa: PTH118, PTH123
            file.write(mark())
        folders = {}
        for place, named in ((WORK, files), (CHUNKS, chunks)):
            folders[place] = os.path.join(self._job(run_id), place)  # noqa: PTH118
            os.makedirs(folders[place], mode=0o700)  # noqa: PTH103
            for name, digest in named.items():
                target = self._inside(run_id, place, name)
                os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
                if place == WORK:
                    os.link(self._kept(digest), target)
                else:  # an engine may write to it
                    shutil.copyfile(self._kept(digest), target)
        return folders

    # -- what a job makes

    def finished_chunks(self, run_id: str) -> list[list[Any]]:
        """The finished chunks: relative path, size, and time of the last change in nanoseconds."""
        top = os.path.join(self._job(run_id), CHUNKS)  # noqa: PTH118
        found: list[list[Any]] = []
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118
                if not name.endswith(PART):
                    with contextlib.suppress(FileNotFoundError):
                        state = os.stat(path)  # noqa: PTH116
                        found.append([os.path.relpath(path, top), state.st_size, state.st_mtime_ns])
        return sorted(found)

    def digest(self, run_id: str, place: str, name: str) -> list[Any]:
        """A file's size and digest."""
        path = self._inside(run_id, place, name)
        return [os.stat(path).st_size, _digest(path)]  # noqa: PTH116

    def read(self, run_id: str, place: str, name: str, offset: int, size: int) -> list[Any]:
        """A block of a file, and its digest."""
        with open(self._inside(run_id, place, name), "rb") as file:  # noqa: PTH123
            file.seek(offset)
            block = file.read(size)
        return [block, hashlib.sha256(block).hexdigest()]

    def end(self, run_id: str) -> None:
        """Delete a job's folders."""
        shutil.rmtree(self._job(run_id), ignore_errors=True)

    # -- helpers

    def _prune(self) -> None:
        """Delete what no job has needed for long, of actors that are gone too."""
        for folder in ("files", "jobs"):
            top = os.path.join(self._root, folder)  # noqa: PTH118
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(top):  # noqa: PTH208
                    path = os.path.join(top, name)  # noqa: PTH118
                    with contextlib.suppress(OSError):
                        if folder == "files" and time.time() - os.stat(path).st_mtime > UNUSED:  # noqa: PTH116
                            os.unlink(path)  # noqa: PTH108
                        elif folder == "jobs" and not lives(_text(os.path.join(path, ACTOR))):  # noqa: PTH118
                            shutil.rmtree(path, ignore_errors=True)

    def _kept(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise ValueError(digest)
        return os.path.join(self._root, "files", digest)  # noqa: PTH118

    def _job(self, run_id: str) -> str:
        if not _RUN.fullmatch(run_id):
            raise ValueError(run_id)
        return os.path.join(self._root, "jobs", run_id)  # noqa: PTH118

    def _inside(self, run_id: str, place: str, name: str) -> str:
        """A file of a job's folder.

        Raises:
            ValueError: the name leads out of it.
        """
        top = os.path.join(self._job(run_id), place)  # noqa: PTH118
        path = os.path.normpath(os.path.join(top, name))  # noqa: PTH118
        if place not in {WORK, CHUNKS} or not path.startswith(top + "/"):
            raise ValueError(name)
        return path


_METHODS = {
    one.__name__: one
    for one in (
        *(Scratch.have, Scratch.receive, Scratch.complete, Scratch.begin, Scratch.end),
        *(Scratch.finished_chunks, Scratch.digest, Scratch.read),
    )
}


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123
        while block := file.read(HASHED):
            digest.update(block)
    return digest.hexdigest()


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123
        return file.read()
