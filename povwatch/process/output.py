"""What a hook prints, as lines for the log. Pure: time is an argument.

A line is cut at LINE_MAX. Of a flood some lines go through and the others are counted; the last ones are kept in any
case, since they say why it failed.
"""

from __future__ import annotations

import re
from collections import deque

BURST = 500.0
"""Lines that go through at once."""

A_SECOND = 10.0
"""Lines that go through after that."""

LINE_MAX = 1000
"""Bytes of a line."""

TAIL = 10
"""Last lines that are kept."""

_ENDS = re.compile(rb"[\r\n]+")  # a progress bar ends its lines with \r


class Flow:
    """The output of one run."""

    def __init__(self, now: float) -> None:
        self._allowance = BURST
        self._at = now
        self._rest = b""
        self.left_out = 0
        """Lines that were not given out, all in all."""
        self.tail: deque[str] = deque(maxlen=TAIL)
        """The last lines."""

    @property
    def flooded(self) -> bool:
        """Whether the next line would be left out: there is no hurry to read it."""
        return self._allowance < 1

    def take(self, data: bytes, now: float) -> list[str]:
        """The lines for the log that some output ends."""
        self._allowance = min(BURST, self._allowance + max(0.0, now - self._at) * A_SECOND)
        self._at = now
        *lines, self._rest = _ENDS.split(self._rest + data)
        if len(self._rest) > LINE_MAX:
            lines.append(self._rest)
            self._rest = b""
        return [text for line in lines if (text := self._admitted(line)) is not None]

    def end(self, now: float) -> list[str]:
        """What is left when there is no more."""
        return self.take(b"\n", now)

    def _admitted(self, line: bytes) -> str | None:
        if not line.strip():
            return None
        text = line[:LINE_MAX].decode("utf-8", "backslashreplace").rstrip()
        self.tail.append(text)
        if self._allowance < 1:
            self.left_out += 1
            return None
        self._allowance -= 1
        return text
