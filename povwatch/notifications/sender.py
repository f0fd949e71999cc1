"""Sends what lies in the spool: to each service in its own pace, grouped, and noted as sent at once."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core.local_time import spell_moment
from povwatch.notifications import digest
from povwatch.notifications.spool import Sent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.notifications.notice import Notice
    from povwatch.notifications.services import Service
    from povwatch.notifications.spool import NoticeSpool


@dataclass(frozen=True, slots=True)
class Target:
    """One [[notify]]."""

    entry: int
    """Its number in config.toml, from 1."""
    key: str
    """Tells its URL apart from the others, without showing it."""
    on: frozenset[str]
    """The kinds of notices that it wants."""
    service: Service

    @property
    def label(self) -> str:
        """For the log: it shows no URL."""
        return f"{self.service.name} (notify, entry {self.entry})"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the log: the name of its event, and its fields."""

    event: str
    fields: Mapping[str, Any]


def key_of(url: str) -> str:
    """A URL's key in the spool."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


class Sender:
    """Sends to all services. Only one process may do so at a time: see NoticeSpool.held."""

    def __init__(self, spool: NoticeSpool, targets: Sequence[Target], host: str | None = None) -> None:
        self._spool = spool
        self._targets = targets
        self._host = socket.gethostname() if host is None else host
        record = spool.record()
        self._record = {target.key: record.get(target.key, Sent()) for target in targets}
        """The copy in the folder follows it. While the folder cannot be written this one holds, so that nothing is
        sent again and again."""
        self._unsaved = False

    def turn(self, now: float, *, flush: bool = False) -> list[LogLine]:
        """Send what is due.

        Args:
            now: seconds since the epoch.
            flush: send everything, due or not: nobody will do so later.
        """
        log: list[LogLine] = []
        waiting = self._drop_old(self._spool.waiting(), now, log)
        for target in self._targets:
            found = self._due(target, waiting, now, flush=flush)
            if found:
                self._send(target, found, now, log)
        self._clear(waiting)
        return log

    def next_due(self, now: float) -> float | None:
        """When something is due; None if nothing waits. All times are in seconds since the epoch."""
        waiting = self._spool.waiting()
        return min((at for target in self._targets for at in self._times(target, waiting, now).values()), default=None)

    def _times(self, target: Target, waiting: Mapping[str, Notice], now: float) -> dict[str, float]:
        """When the waiting notices of each kind are due for a service."""
        sent = self._record[target.key]
        oldest: dict[str, float] = {}
        for name, notice in waiting.items():
            if notice.kind in target.on and name not in sent.names:
                oldest[notice.kind] = min(notice.at, oldest.get(notice.kind, notice.at))
        retry_at = min(sent.retry_at, now + digest.FAILURES[-1]) if sent.failures else 0.0
        return {kind: max(retry_at, digest.due(at, sent.paces.get(kind), now)) for kind, at in oldest.items()}

    def _due(self, target: Target, waiting: Mapping[str, Notice], now: float, *, flush: bool) -> dict[str, Notice]:
        times = self._times(target, waiting, now)
        if not flush and now < min(times.values(), default=now):
            return {}
        # What is nearly due goes along, such as the end of the last clip with the empty queue.
        kinds = {kind for kind, at in times.items() if flush or at <= now + digest.COLLECT}
        has = self._record[target.key].names
        return {name: notice for name, notice in waiting.items() if notice.kind in kinds and name not in has}

    def _send(self, target: Target, found: Mapping[str, Notice], now: float, log: list[LogLine]) -> None:
        sent, notices = self._record[target.key], list(found.values())
        title = digest.title(notices, self._host)
        if problem := target.service.send(title, digest.body(notices)):
            sent.failures += 1
            sent.retry_at = now + digest.retry_after(sent.failures)
            at = spell_moment(sent.retry_at, now)
            log.append(LogLine("notify-failed", {"service": target.label, "problem": problem, "at": at}))
        else:
            sent.failures, sent.retry_at = 0, 0.0
            sent.names |= found.keys()
            for kind in {notice.kind for notice in notices}:
                sent.paces[kind] = digest.sent(sent.paces.get(kind), now)
            log.append(LogLine("notified", {"service": target.label, "title": title}))
        self._save(log)

    def _save(self, log: list[LogLine]) -> None:
        try:
            self._spool.save(self._record)
        except OSError as error:
            if not self._unsaved:
                log.append(LogLine("notify-unsaved", {"folder": self._spool.folder, "problem": error.strerror}))
            self._unsaved = True
        else:
            self._unsaved = False

    def _drop_old(self, waiting: dict[str, Notice], now: float, log: list[LogLine]) -> dict[str, Notice]:
        old = [name for name, notice in waiting.items() if now - notice.at > digest.KEPT]
        for name in old:
            self._spool.remove(name)
        if old:
            log.append(LogLine("notify-dropped", {"count": len(old)}))
        return {name: notice for name, notice in waiting.items() if name not in old}

    def _clear(self, waiting: Mapping[str, Notice]) -> None:
        """Remove what every service has that wants it."""
        for name, notice in waiting.items():
            wanting = [target for target in self._targets if notice.kind in target.on]
            if all(name in self._record[target.key].names for target in wanting):
                self._spool.remove(name)
        there = self._spool.names()
        for sent in self._record.values():
            sent.names &= there
