"""One thing that somebody wants to be told about, as it lies in the spool."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from povwatch.config.notify import KINDS

if TYPE_CHECKING:
    from povwatch.config.notify import Kind

TEXT_MAX = 600
"""The most characters of a text; an error may quote a long line of a program."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened."""

    kind: Kind
    at: float
    """Seconds since the epoch."""
    text: str
    """What happened, as a sentence; it begins with the clip if it is about one."""
    todo: str = ""
    """What to do, as a sentence. Notices with the same one share it."""
    count: int = 1
    """How many things it stands for: those before it had no room in the spool."""

    def to_bytes(self) -> bytes:
        """As it is in a file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Notice:
        """Read one back.

        Raises:
            ValueError: it is no notice.
        """
        try:
            found = json.loads(data)
            kind, text, todo = found["kind"], found["text"], found["todo"]
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is no kind of notification")
            notice = cls(cast("Kind", kind), float(found["at"]), str(text), str(todo), max(1, int(found["count"])))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"it is no notice: {error!r}") from error
        return notice
