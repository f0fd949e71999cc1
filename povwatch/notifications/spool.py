"""The folder of notices, <state>/notify/: the daemon leaves files there, and one process sends them.

Each file is complete when it gets its name, and survives a restart. The sender notes in `sent.json`, after each
message, which notices a service has. So a notice is sent at least once: only if the sender is killed between a
service's answer and that note is a message sent twice.
A notice is removed once each service has it that wants its kind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core.layout import OURS
from povwatch.files import atomic
from povwatch.files.fs import closing, read_at_most
from povwatch.notifications.digest import Pace
from povwatch.notifications.notice import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FOLDER = "notify"

WAITING_MAX = 500
"""The most waiting notices of a kind; one more is only counted."""

_SIZE_MAX = 64 * 1024
_RECORD_MAX = 4 * 2**20
_NAME = re.compile(r"\d{20}-[a-z-]+\.notice")
_RECORD, _LOCK = "sent.json", "lock"


@dataclass(slots=True)
class Sent:
    """What one service has got."""

    names: set[str] = field(default_factory=set)
    """Notices that it has, and that are still in the folder for another one."""
    paces: dict[str, Pace] = field(default_factory=dict)
    """By kind."""
    failures: int = 0
    """How often it failed in a row."""
    retry_at: float = 0.0
    """When it is tried again, in seconds since the epoch."""


class NoticeSpool:
    """The folder. The daemon calls `put`, the sender the rest."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self._last = 0
        self._left_out: Counter[str] = Counter()
        """How many notices of a kind had no room, or could not be written."""

    # -- the daemon's side

    def prepare(self) -> None:
        """Make the folder, for the daemon's own user and group; systemd has made it already. Sweep what was cut off.

        Raises:
            OSError: it cannot be made.
        """
        self.folder.mkdir(mode=0o770, parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            for file in self.folder.glob(f"{OURS.decode()}*"):
                file.unlink()

    def put(self, notice: Notice) -> bool:
        """Leave a notice. False if there is no room for it; it is counted with the next one of its kind.

        Raises:
            OSError: it could not be written; it is counted too.
        """
        if self._waiting_of(notice.kind) >= WAITING_MAX:
            self._left_out[notice.kind] += notice.count
            return False
        whole = Notice(notice.kind, notice.at, notice.text, notice.todo, notice.count + self._left_out[notice.kind])
        self._last = max(self._last + 1, time.time_ns())
        name = f"{self._last:020d}-{notice.kind}.notice"
        try:
            with self._opened() as fd:
                atomic.create(fd, name.encode(), whole.to_bytes())
        except OSError:
            self._left_out[notice.kind] += notice.count
            raise
        del self._left_out[notice.kind]
        return True

    def _waiting_of(self, kind: str) -> int:
        return sum(name.endswith(f"-{kind}.notice") for name in self.names())

    # -- the sender's side

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Keep other senders away. Gives 0, or the other one's process id if one has it (-1 if that is unknown).

        Raises:
            OSError: the folder cannot be written.
        """
        with closing(os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)) as fd:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = read_at_most(fd, 32).strip()
                yield int(pid) if pid.isdigit() else -1
                return
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield 0

    def waiting(self) -> dict[str, Notice]:
        """The notices by file name, oldest first. A file that is no notice is removed."""
        found = {}
        for name in sorted(self.names()):
            try:
                found[name] = Notice.from_bytes(self._read(name, _SIZE_MAX))
            except OSError:  # gone meanwhile, or not for us to read
                continue
            except ValueError:
                self.remove(name)
        return found

    def names(self) -> set[str]:
        """The names of the waiting notices."""
        try:
            return {file.name for file in self.folder.iterdir() if _NAME.fullmatch(file.name)}
        except OSError:  # not made yet
            return set()

    def remove(self, name: str) -> None:
        """Remove a notice."""
        with contextlib.suppress(OSError):  # it is noted as sent all the same
            (self.folder / name).unlink()

    def record(self) -> dict[str, Sent]:
        """What each service has got, by the key of its URL. Empty if that cannot be read."""
        try:
            found: dict[str, Any] = json.loads(self._read(_RECORD, _RECORD_MAX))
            return {
                key: Sent(
                    set(map(str, one["names"])),
                    {kind: Pace(float(p["sent_at"]), int(p["times"])) for kind, p in one["paces"].items()},
                    int(one["failures"]),
                    float(one["retry_at"]),
                )
                for key, one in found.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def save(self, record: Mapping[str, Sent]) -> None:
        """Note what each service has got.

        Raises:
            OSError: it cannot be written.
        """
        services = {key: {**asdict(sent), "names": sorted(sent.names)} for key, sent in record.items()}
        with self._opened() as fd:
            atomic.replace(fd, _RECORD.encode(), json.dumps(services).encode())

    # -- helpers

    def _read(self, name: str, size: int) -> bytes:
        with closing(os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as fd:
            return read_at_most(fd, size)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        with closing(os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            yield fd
