"""One line of what doctor answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    about: str
    seen: str
    todo: str = ""
    """What to do; empty if all is well."""
    fatal: bool = False
    """Whether povwatch cannot work because of it."""

    @property
    def words(self) -> str:
        """The finding and what to do, as sentences."""
        seen = self.seen.rstrip(".")
        return f"{seen}{'' if seen.endswith('?') else '.'} {self.todo}" if self.todo else self.seen
