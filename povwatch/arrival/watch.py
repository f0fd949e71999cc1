"""Hints that something in inputs/ has changed, from inotify by way of watchdog.

Hints only: watchdog loses events, and its threads die quietly, one without the other; the emitter does when the folder
is removed. Whoever uses this rescans too, asks `alive`, and calls `restart` with a back-off.
"""

from __future__ import annotations

import errno
import logging
import os
import warnings
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyFD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TICK = 1.0
"""Seconds between two looks of watchdog's threads at whether they should end."""

JOIN = 5.0
"""Seconds that each of them is given to end."""

EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""What we are told of.

Not of reading: answering our own reads would never end.
Not of each write: a fast copy makes thousands a second, and the timers of settling look at the file anyway.
"""

LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}
"""The kernel's limit behind an error of inotify."""


class Watcher:
    """Watches one folder and calls `on_hint` from a thread of its own.

    `on_hint` gets each path that changed, relative to the root, or None: something was lost, rescan now.
    """

    def __init__(self, root: Path, on_hint: Callable[[bytes | None], None], *, recursive: bool) -> None:
        self.problem: str | None = None
        """Why there are no hints and what to do about it; None while there are."""
        self._root = root
        self._on_hint = on_hint
        self._recursive = recursive
        self._inotify: InotifyFD | None = None
        """The kernel's queue and the thread that reads it: our own, so that we can see whether it lives."""
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None
        self._alarm = _OverflowAlarm(on_hint)

    def start(self) -> bool:
        """Begin to watch; False if that cannot be, with `problem` set. A limit or a missing folder raises nothing."""
        self.stop()
        # watchdog 7.1 warns when it meets a new folder twice, in its parent and by its own event; that does no harm.
        warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
        try:
            # A link is resolved first: watchdog would watch the link itself.
            path = os.path.realpath(self._root, strict=True)
            self._watched = _identity(path)
            self._inotify = InotifyFD()
            self._inotify.start()
            self._observer = BaseObserver(InotifyEmitter, timeout=TICK, inotify_fd=self._inotify)
            self._observer.schedule(_Handler(path, self._on_hint), path, recursive=self._recursive, event_filter=EVENTS)
            self._observer.start()
        except OSError as e:
            self.stop()
            self.problem = f"The inputs folder cannot be watched: {e.strerror}. {_todo(e)}"
            return False
        logging.getLogger("watchdog").addHandler(self._alarm)
        self.problem = None
        return True

    def alive(self) -> bool:
        """Whether hints still come, and from the folder that has the name now."""
        observer = self._observer
        if observer is None or self._inotify is None or not observer.emitters:
            return False
        if not all(thread.is_alive() for thread in (observer, self._inotify, *observer.emitters)):
            return False
        try:
            return _identity(os.fspath(self._root)) == self._watched
        except OSError:
            return False

    def restart(self) -> bool:
        """Watch the folder that has the name now. As `start`; a hint to rescan follows, whatever was missed."""
        started = self.start()
        self._on_hint(None)
        return started

    def stop(self) -> None:
        """End the threads. No hint comes afterwards. Harmless if nothing runs."""
        logging.getLogger("watchdog").removeHandler(self._alarm)
        threads = [thread for thread in (self._observer, self._inotify) if thread is not None]
        self._observer = self._inotify = None
        for thread in threads:
            thread.stop()
            if thread.is_alive():
                thread.join(JOIN)


class _Handler(FileSystemEventHandler):
    """Turns watchdog's events into paths relative to the root."""

    def __init__(self, root: str, on_hint: Callable[[bytes | None], None]) -> None:
        self._root = os.fsencode(root)
        self._on_hint = on_hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass on where it came from and where it went.

        A folder that comes may have brought files before it was watched: only a rescan finds those.
        """
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._on_hint(None)
        for path in (event.src_path, event.dest_path):
            if path:
                self._on_hint(self._relative(os.fsencode(path)))

    def _relative(self, path: bytes) -> bytes | None:
        """None for the root itself, which was removed or moved."""
        return path[len(self._root) + 1 :] if path.startswith(self._root + b"/") else None


class _OverflowAlarm(logging.Handler):
    """Asks for a rescan when watchdog says that events were lost: it says so in its log and nowhere else."""

    def __init__(self, on_hint: Callable[[bytes | None], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_hint = on_hint

    def emit(self, record: logging.LogRecord) -> None:
        """Every warning of watchdog counts; a rescan too many costs little."""
        del record
        self._on_hint(None)


def _todo(error: OSError) -> str:
    limit = LIMITS.get(error.errno or 0)
    remedy = f"Raise {limit} with sysctl; until then" if limit else "Until it can,"
    return f"{remedy} the rescan finds new clips, a little later."


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - as the root was given
    return status.st_dev, status.st_ino
