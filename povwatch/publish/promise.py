"""The journal's record between the COMMIT of `publishing` and that of `done`. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from povwatch.core.command import command
from povwatch.core.errors import JournalError
from povwatch.core.layout import shown


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a promise."""

    staged: bytes
    """Its name in the staging folder."""
    target: bytes
    """Its final path, relative to outputs/."""
    size: int
    """Bytes."""
    sha256: str
    """SHA-256 of its bytes, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The promise of one job: these bytes, which are synced already, will have these names."""

    job_id: int
    run_id: str
    version: int
    """1, or higher if another result has the names of version 1: `clip_aug_v2.mp4`."""
    entries: tuple[Entry, ...]
    """In the order of publishing: the artifacts, then the manifest."""

    @property
    def output(self) -> bytes:
        """The artifact's final path, relative to outputs/."""
        return self.entries[0].target

    def to_json(self) -> str:
        """One line of ASCII, for the journal."""
        entries = [
            {"staged": _text(e.staged), "target": _text(e.target), "size": e.size, "sha256": e.sha256}
            for e in self.entries
        ]
        return json.dumps({"job_id": self.job_id, "run_id": self.run_id, "version": self.version, "entries": entries})

    @classmethod
    def from_json(cls, text: str) -> Sealed:
        """Read what `to_json` wrote.

        Raises:
            JournalError: `to_json` did not write this.
        """
        try:
            row: dict[str, Any] = json.loads(text)
            entries = tuple(
                Entry(_bytes(e["staged"]), _bytes(e["target"]), int(e["size"]), str(e["sha256"]))
                for e in row["entries"]
            )
            sealed = cls(int(row["job_id"]), str(row["run_id"]), int(row["version"]), entries)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            sealed, reason = None, f"{type(error).__name__}: {error}"
        else:
            reason = "it promises no file"
        if sealed is None or not sealed.entries:
            raise JournalError(
                f"The journal holds a promise of publishing that cannot be read ({reason}).",
                f"Restore the journal from a backup, or make it again: {command('rebuild', '--move-aside')}",
            )
        return sealed


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing a promise."""

    visible: tuple[bytes, ...]
    """Visible paths, relative to outputs/, with the promised bytes."""
    gone: tuple[bytes, ...] = ()
    """Paths whose file is neither visible nor staged: somebody took or changed it."""

    @property
    def note(self) -> str:
        """One sentence for people about missing files; empty if there are none."""
        if not self.gone:
            return ""
        names = ", ".join(shown(path) for path in self.gone)
        return f"Published, but somebody has moved, changed or deleted it since: {names}."


def _text(path: bytes) -> str:
    """The path as text. JSON can hold any bytes this way, since `json` escapes the surrogates."""
    return path.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
