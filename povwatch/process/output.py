"""What a child prints, as lines. Pure: time is an argument; Python 3.10, standard library alone."""

from __future__ import annotations

import re
from collections import deque

BURST = 500.0
"""Lines of a flood that go through at once."""

A_SECOND = 10.0
"""Lines of a flood that go through in each second after that."""

LINE_MAX = 1000
"""Bytes of a line that go through."""

TAIL = 10
"""Last lines that are kept in any case."""

_ENDS = re.compile(rb"[\r\n]+")  # a progress bar ends its lines with \r


class Lines:
    """Cuts the bytes that a child prints into lines of text, without empty ones."""

    def __init__(self, *, longest: int, kept: int = 0) -> None:
        """`longest`: bytes of a line; a longer one is cut. `kept`: lines that `tail` keeps."""
        self._longest = longest
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=kept)
        """The last lines."""

    def take(self, data: bytes) -> list[str]:
        """The lines that end with this output. Bytes that are no UTF-8 come out as escapes."""
        *lines, self._rest = _ENDS.split(self._rest + data)
        if len(self._rest) > self._longest:
            lines.append(self._rest)
            self._rest = b""
        found = [self._text(line) for line in lines if line.strip()]
        self.tail.extend(found)
        return found

    def end(self) -> list[str]:
        """The last line, if it had no end."""
        return self.take(b"\n")

    def _text(self, line: bytes) -> str:
        return line[: self._longest].decode("utf-8", "backslashreplace").rstrip()


class LimitedLines:
    """The same for a log: of a flood only some lines go through, and the others are counted.

    The last lines are kept in any case, since they say why a program failed.
    """

    def __init__(self, now: float) -> None:
        """`now`: seconds, on any clock; `take` and `end` get times of the same one."""
        self._lines = Lines(longest=LINE_MAX, kept=TAIL)
        self._allowance = BURST
        self._at = now
        self.left_out = 0
        """Lines that did not go through so far."""

    @property
    def tail(self) -> deque[str]:
        """The last lines, whether they went through or not."""
        return self._lines.tail

    @property
    def flooded(self) -> bool:
        """Whether the next line would be left out, so that there is no hurry to read it."""
        return self._allowance < 1

    def take(self, data: bytes, now: float) -> list[str]:
        """The lines for the log that end with this output."""
        self._allowance = min(BURST, self._allowance + max(0.0, now - self._at) * A_SECOND)
        self._at = now
        lines = self._lines.take(data)
        through = min(len(lines), int(self._allowance))
        self._allowance -= through
        self.left_out += len(lines) - through
        return lines[:through]

    def end(self, now: float) -> list[str]:
        """The last line, if it had no end and goes through."""
        return self.take(b"\n", now)
