"""Reads of one open file that are limited in number and size, and stay inside the file."""

from __future__ import annotations

import os

from povwatch.container.report import Incomplete
from povwatch.core.errors import EnvironmentFault

STEPS = 2_000_000
"""The most headers that one examination reads, which takes five seconds."""

TABLES_MAX = 64 * 1024 * 1024
"""The most bytes of index tables. Ten hours at 60 frames a second with sound take less."""

BRIEF_STEPS = 20_000
"""The most headers in a brief examination: 0.05 s."""

BRIEF_TABLES = 256 * 1024
"""The most bytes of tables in a brief one: 0.02 s; nine minutes at 60 frames a second with sound."""

FAR = 2**63
"""An offset beyond any file (off_t). Larger offsets are false, and sums of them would overflow."""

HOLES_MAX = 4096
"""The most holes that are listed; they suffice to find a file incomplete."""


class TakesLonger(Exception):  # noqa: N818 - an answer, not an error
    """A brief examination would take longer than allowed."""


class Reader:
    """Reads with `pread` from a descriptor that the caller owns and closes.

    `holes` changes the descriptor's file offset.
    """

    __slots__ = ("brief", "fd", "patience", "size", "steps", "tables")

    def __init__(self, fd: int, size: int, patience: int | None = None, *, brief: bool = False) -> None:
        self.brief = brief
        self.fd = fd
        self.size = size
        self.patience = STEPS // 2 if patience is None else patience
        self.steps = 0
        self.tables = 0

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer at the end of the file.

        Raises:
            EnvironmentFault: the file cannot be read (a broken disk, a share that went away).
        """
        self.count(1)
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        try:
            return os.pread(self.fd, length, offset)
        except OSError as e:
            raise EnvironmentFault(
                f"The file cannot be read at byte {offset}: {e.strerror}.", "Look at the disk or share that it is on."
            ) from e

    def count(self, steps: int) -> None:
        """Count steps.

        Raises:
            Incomplete: there are more than any real file needs.
            TakesLonger: there are more than a brief examination may take.
        """
        self.steps += steps
        if self.brief and self.steps > BRIEF_STEPS:
            raise TakesLonger
        if self.steps > STEPS:
            raise Incomplete(f"It has more than {STEPS:,} parts, which no video has: it is damaged.")

    def exactly(self, offset: int, length: int, what: str, *, unpacked: int = 0) -> bytes:
        """Exactly `length` bytes at `offset`.

        Args:
            what: the part that they belong to, for the message.
            unpacked: their number after unpacking, if larger; it counts instead.

        Raises:
            Incomplete: some are missing, or there are more than any real file needs.
            TakesLonger: there are more than a brief examination may read.
        """
        self.tables += max(length, unpacked)
        if self.brief and self.tables > BRIEF_TABLES:
            raise TakesLonger
        if self.tables > TABLES_MAX:
            raise Incomplete(f"Its {what} claims more than {TABLES_MAX:,} bytes, which no video has: it is damaged.")
        data = self.read(offset, length)
        if len(data) < length:
            raise Incomplete(f"Its {what} is cut off.", have=self.size, need=offset + length)
        return data

    def tired(self) -> bool:
        """Whether so many steps are used up that optional checks should be left out."""
        return self.steps > self.patience

    def is_zero(self, offset: int, length: int) -> bool:
        """Whether all bytes are zero; False if there are none."""
        data = self.read(offset, length)
        return bool(data) and not data.strip(b"\0")

    def holes(self) -> list[tuple[int, int]]:
        """The (start, end) of ranges that the file system never stored.

        A download that reserved its space has holes, and so has a file made with `truncate`.
        Empty if the file system cannot tell.
        """
        found: list[tuple[int, int]] = []
        position = 0
        while position < self.size and len(found) < HOLES_MAX:
            start = self._seek(position, os.SEEK_HOLE)
            if start >= self.size:
                break
            position = self._seek(start, os.SEEK_DATA)
            found.append((start, position))
        return found

    def _seek(self, position: int, whence: int) -> int:
        """The offset of the next hole or data; the file's size if there is none, or the file system cannot tell."""
        try:
            return min(os.lseek(self.fd, position, whence), self.size)
        except OSError:
            return self.size
