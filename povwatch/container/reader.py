"""Bounded reads of one open file: never past its size, never for ever."""

from __future__ import annotations

import os

from povwatch.container.report import Incomplete
from povwatch.core.errors import EnvironmentFault

STEPS = 2_000_000
"""Headers that one examination may look at, which takes five seconds: nothing a file claims keeps us longer."""

TABLES_MAX = 64 * 1024 * 1024
"""Bytes of index tables that are read in one file: ten hours of 60 frames a second with sound stay below."""

BRIEF_STEPS = 20_000
"""The same for a brief look: 0.05 s."""

BRIEF_TABLES = 256 * 1024
"""The same for a brief look: 0.02 s; nine minutes of 60 frames a second with sound."""

FAR = 2**63
"""Where no file reaches (off_t): a place that lies there is a lie, and sums of it would overflow."""

HOLES_MAX = 4096
"""Holes that are listed; a file with more of them has plenty to be found incomplete by."""


class TakesLonger(Exception):  # noqa: N818 - an answer, not an error
    """A brief look cannot tell: it would have to go on for longer than it may."""


class Reader:
    """`pread` on a descriptor that the caller owns and closes.

    The descriptor's own file offset is moved by `holes` and left anywhere.
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
        """Take so many steps.

        Raises:
            Incomplete: they are more than any real file needs.
            TakesLonger: they are more than a brief look may take.
        """
        self.steps += steps
        if self.brief and self.steps > BRIEF_STEPS:
            raise TakesLonger
        if self.steps > STEPS:
            raise Incomplete(f"It has more than {STEPS:,} parts, which no video has: it is damaged.")

    def exactly(self, offset: int, length: int, what: str, *, unpacked: int = 0) -> bytes:
        """`length` bytes at `offset`.

        Args:
            offset: where.
            length: how many.
            what: they are part of, in words.
            unpacked: how many they become, if that is more: it counts instead.

        Raises:
            Incomplete: they are not all there, or more are asked for than any real file needs.
            TakesLonger: more are asked for than a brief look may read.
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
        """Whether so many steps are used up that looks that are a mere precaution should be left out."""
        return self.steps > self.patience

    def is_zero(self, offset: int, length: int) -> bool:
        """Whether the bytes there are all zero (and there is at least one)."""
        data = self.read(offset, length)
        return bool(data) and not data.strip(b"\0")

    def holes(self) -> list[tuple[int, int]]:
        """The (start, end) of ranges that the file system never stored.

        A download that reserved its space shows as holes, and so does `truncate`.
        Empty where the file system cannot tell.
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
        """The next hole or the next data; the file's size where there is none, or where the file system cannot tell."""
        try:
            return min(os.lseek(self.fd, position, whence), self.size)
        except OSError:
            return self.size
