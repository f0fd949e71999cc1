"""Turns a child's output into lines. Pure: time is an argument; Python 3.10, standard library alone."""

from __future__ import annotations

import re
from collections import deque

BURST = 500.0
"""Lines of a flood that pass at once."""

A_SECOND = 10.0
"""Lines of a flood that pass in each further second."""

LINE_MAX = 1000
"""Bytes of a line that pass."""

TAIL = 10
"""Last lines that are kept in any case."""

_ENDS = re.compile(rb"[\r\n]+")  # a progress bar ends its lines with \r

_BAR = re.compile(r"(\d%\|.*\| .*|\dit )\[\d+:\d\d")
"""tqdm's line, with a known total (`denoise: 40%|####  | 14/35 [02:01<03:01, 8.65s/it]`) or without (`3it [00:01`)."""


def is_progress_bar(line: str) -> bool:
    """Whether a line is a progress bar as tqdm draws it, which says nothing of why a program ended."""
    return _BAR.search(line) is not None


class Lines:
    """Cuts the bytes that a child prints into lines of text, without empty ones."""

    def __init__(self, *, longest: int, kept: int = 0) -> None:
        """`longest`: bytes at which a line is cut. `kept`: lines that `tail` keeps."""
        self._longest = longest
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=kept)
        """The last lines."""

    def take(self, data: bytes) -> list[str]:
        """The lines that are complete with this output. Bytes that are not UTF-8 are escaped."""
        *lines, self._rest = _ENDS.split(self._rest + data)
        if len(self._rest) > self._longest:
            lines.append(self._rest)
            self._rest = b""
        found = [self._text(line) for line in lines if line.strip()]
        self.tail.extend(found)
        return found

    def end(self) -> list[str]:
        """The last line, if it is unfinished."""
        return self.take(b"\n")

    def _text(self, line: bytes) -> str:
        return line[: self._longest].decode("utf-8", "backslashreplace").rstrip()


class LimitedLines:
    """Lines for a log. Only some lines of a flood pass; the others are counted.

    The last lines are always kept, because they say why a program failed.
    """

    def __init__(self, now: float) -> None:
        """`now`: seconds on any clock, the same one for `take` and `end`."""
        self._lines = Lines(longest=LINE_MAX, kept=TAIL)
        self._allowance = BURST
        self._at = now
        self.left_out = 0
        """Lines left out so far."""

    @property
    def tail(self) -> deque[str]:
        """The last lines, including those left out."""
        return self._lines.tail

    @property
    def flooded(self) -> bool:
        """Whether the next line would be left out, so that reading it can wait."""
        return self._allowance < 1

    def take(self, data: bytes, now: float) -> list[str]:
        """The lines for the log that are complete with this output."""
        self._allowance = min(BURST, self._allowance + max(0.0, now - self._at) * A_SECOND)
        self._at = now
        lines = self._lines.take(data)
        through = min(len(lines), int(self._allowance))
        self._allowance -= through
        self.left_out += len(lines) - through
        return lines[:through]

    def end(self, now: float) -> list[str]:
        """The last line, if it is unfinished and passes."""
        return self.take(b"\n", now)
