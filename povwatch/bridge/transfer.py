"""Carries files to a node and back, where no folder is shared: in blocks with a digest, resumed if it breaks.

What comes back is on this machine's disk, whole and synced, before it gets its name. The node's side is scratch.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

from povwatch.bridge.losses import Broken
from povwatch.bridge.scratch import CHUNKS
from povwatch.engines.chunk_files import PART
from povwatch.engines.control_files import file_digest
from povwatch.files import fs, private

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Files = Callable[..., Awaitable[Any]]
    """Calls a method of the node's Scratch by its name."""

BLOCK = 8 * 1024 * 1024
"""Bytes carried at once."""

PATIENCE = 30.0
"""Seconds without a block after which a transfer is given up."""

PAUSE = 0.5
"""Seconds between two tries of a block."""


class TransferFailed(Exception):  # noqa: N818 - what happened
    """A file could not be carried; the text is a sentence for people."""


class Transfer:
    """Carries the files of one worker's jobs."""

    def __init__(self, files: Files, node: str) -> None:
        """`node`: the node's name, for people."""
        self._files = files
        self._node = node
        self._fetched: dict[tuple[str, str], tuple[int, int]] = {}
        """Chunks that are here: attempt and relative path to size and time of the last change."""

    async def send(self, path: str) -> str:
        """Send a file; returns its digest.

        Raises:
            TransferFailed: it cannot be sent.
        """
        try:
            digest, size = await asyncio.to_thread(file_digest, path), os.stat(path).st_size  # noqa: PTH116
            for _ in range(2):
                at = await self._patiently("have", digest, size)
                if at == size and await self._patiently("complete", digest):
                    return digest
                while at < size:
                    block = await asyncio.to_thread(_read, path, at)
                    if not block:
                        break
                    block_digest = hashlib.sha256(block).hexdigest()
                    await self._patiently("receive", digest, at, block, block_digest)
                    at += len(block)
                if await self._patiently("complete", digest):
                    return digest
        except OSError as error:
            raise TransferFailed(f"{path} cannot be read: {error.strerror}.") from error
        raise TransferFailed(f"{path} arrives damaged on {self._node}.")

    async def fetch(self, run_id: str, place: str, name: str, folder: str) -> None:
        """Fetch a file of a job into a private folder here, under the same relative name, over one that is there.

        Raises:
            TransferFailed: it cannot be fetched.
        """
        if not name or name != "/".join(map(os.fsdecode, _parts(name))):
            raise TransferFailed(f"{self._node} names a file {name!r}, which is none of a job's.")
        try:
            size, digest = await self._patiently("digest", run_id, place, name)
            with contextlib.ExitStack() as opened:
                below, _, last = name.rpartition("/")
                root = opened.enter_context(private.opened(folder))
                there = fs.make_dirs_beneath(root, os.fsencode(below)) if below else os.dup(root)
                opened.enter_context(fs.closing(there))
                part = f"{last}.{digest[:16]}{PART}"
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = opened.enter_context(fs.closing(os.open(part, flags, 0o666, dir_fd=there)))
                await self._fill(fd, (run_id, place, name), size)
                if await asyncio.to_thread(_digest_of, fd) != digest:
                    os.unlink(part, dir_fd=there)
                    raise TransferFailed(f"{name} arrives damaged from {self._node}.")
                await asyncio.to_thread(os.fsync, fd)
                os.rename(part, last, src_dir_fd=there, dst_dir_fd=there)
                await asyncio.to_thread(fs.fsync_dir, there)
        except OSError as error:
            raise TransferFailed(f"{folder}/{name} cannot be written: {error.strerror}.") from error

    async def fetch_chunks(self, run_id: str, folder: str) -> str:
        """Fetch the finished chunks that are not here yet.

        Returns:
            Why one could not be fetched, as a sentence; it is tried again the next time. Empty if all are here.

        Raises:
            TransferFailed: the node does not answer.
        """
        problem = ""
        for name, size, changed in await self._patiently("finished_chunks", run_id):
            if self._fetched.get((run_id, name)) != (size, changed):
                try:
                    await self.fetch(run_id, CHUNKS, name, folder)
                    self._fetched[run_id, name] = size, changed
                except TransferFailed as error:  # it may be written at this very moment
                    problem = str(error)
        return problem

    async def begin(self, run_id: str, files: dict[str, str], chunks: dict[str, str]) -> dict[str, str]:
        """See Scratch.begin.

        Raises:
            TransferFailed: the node cannot make the folders.
        """
        self._fetched.clear()
        folders: dict[str, str] = await self._patiently("begin", run_id, files, chunks)
        for name, size, changed in await self._patiently("finished_chunks", run_id):
            self._fetched[run_id, name] = size, changed
        return folders

    async def end(self, run_id: str) -> None:
        """Delete the job's files on the node.

        Raises:
            TransferFailed: that is impossible.
        """
        await self._patiently("end", run_id)

    async def _fill(self, fd: int, which: tuple[str, str, str], size: int) -> None:
        """Fetch what is missing at a file's end."""
        at = os.fstat(fd).st_size
        if at > size:
            os.ftruncate(fd, at := 0)
        while at < size:
            block, digest = await self._patiently("read", *which, at, BLOCK)
            if hashlib.sha256(block).hexdigest() != digest or not block:
                raise TransferFailed(f"{which[2]} arrives damaged from {self._node}.")
            at += await asyncio.to_thread(os.pwrite, fd, block, at)

    async def _patiently(self, what: str, *arguments: Any) -> Any:  # noqa: ANN401 - as the method has it
        """Call a method of the node's Scratch, again if the connection breaks: each may be done twice."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await self._files(what, *arguments)
            except Broken as error:
                if not error.passing or time.monotonic() >= deadline:
                    raise TransferFailed(f"Files cannot be carried to or from {self._node}: {error}") from error
            await asyncio.sleep(PAUSE)


def _parts(name: str) -> list[bytes]:
    """The names in a relative path; none if it could lead elsewhere."""
    try:
        return fs.components(os.fsencode(name))
    except ValueError:
        return []


def chunks_in(folder: str) -> list[str]:
    """The finished chunks in a folder here, as relative paths."""
    return [
        os.path.relpath(os.path.join(top, name), folder)  # noqa: PTH118 - as the paths are kept
        for top, _, names in os.walk(folder)
        for name in sorted(names)
        if not name.endswith(PART)
    ]


def _read(path: str, at: int) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - as the paths are kept
        file.seek(at)
        return file.read(BLOCK)


def _digest_of(fd: int) -> str:
    digest, at = hashlib.sha256(), 0
    while block := os.pread(fd, 1024 * 1024, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()
