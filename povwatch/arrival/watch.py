"""Hints that something in inputs/ has changed, from inotify by way of watchdog.

Hints only: watchdog loses events, and its threads die quietly, one without the other; the emitter does when the folder
is removed. Whoever uses this rescans too, asks `alive`, and calls `start` again with a back-off.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from pathlib import Path
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
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask

from povwatch.files.names import is_ignored_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchdog.observers.inotify_c import CallbackId, WatchCallback, WatchDescriptor

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

LIMITS = {
    errno.ENOSPC: ("fs.inotify.max_user_watches", "user.max_inotify_watches"),
    errno.EMFILE: ("fs.inotify.max_user_instances", "user.max_inotify_instances"),
}
"""The kernel's limits behind an error of inotify; a container with users of its own has the second (namespaces(7))."""

WATCHES = LIMITS[errno.ENOSPC]
"""The limits of how many folders are watched."""

WANTED = {errno.ENOSPC: 524_288, errno.EMFILE: 1024}
"""What to raise them to, at least."""


class Watcher:
    """Watches one folder and calls `on_hint` from a thread of its own.

    `on_hint` gets each path that changed, relative to the root, or None: something was lost, rescan now.
    """

    def __init__(self, root: Path, on_hint: Callable[[bytes | None], None], *, recursive: bool) -> None:
        self.problem: str | None = None
        """Why there are no hints at all and what to do about it; None while there are some."""
        self._root = root
        self._on_hint = on_hint
        self._recursive = recursive
        self._inotify: _Queue | None = None
        """The kernel's queue and the thread that reads it: our own, so that we can see whether it lives."""
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None
        self._alarm = _OverflowAlarm(on_hint)

    @property
    def unwatched(self) -> int:
        """How many folders below the root give no hints, because the kernel allows no more watches."""
        return len(self._inotify.refused) if self._inotify is not None else 0

    @property
    def shortage(self) -> str:
        """What to say of those folders."""
        folders = "1 folder is" if self.unwatched == 1 else f"{self.unwatched} folders are"
        return f"{folders} not watched, since inotify allows {watches_allowed()} watches. {raise_it(errno.ENOSPC)}"

    def start(self) -> bool:
        """Begin to watch; False if that cannot be, with `problem` set. A limit or a missing folder raises nothing."""
        self.stop()
        # watchdog 7.1 warns when it meets a new folder twice, in its parent and by its own event; that does no harm.
        warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
        try:
            # A link is resolved first: watchdog would watch the link itself.
            path = os.path.realpath(self._root, strict=True)
            self._watched = _identity(path)
            self._inotify = _Queue()
            self._inotify.start()
            self._observer = BaseObserver(_Emitter, timeout=TICK, inotify_fd=self._inotify)
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

    def stop(self) -> None:
        """End the threads. No hint comes afterwards. Harmless if nothing runs."""
        logging.getLogger("watchdog").removeHandler(self._alarm)
        threads = [thread for thread in (self._observer, self._inotify) if thread is not None]
        self._observer = self._inotify = None
        for thread in threads:
            thread.stop()
            if thread.is_alive():
                thread.join(JOIN)


class _Queue(InotifyFD):
    """The kernel's queue. watchdog passes over a folder that it cannot watch; here it is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[bytes] = set()
        """Folders for which there was no watch left."""

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Watch a folder.

        Raises:
            OSError: it cannot be watched.
        """
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.refused.add(path)
            raise


class _Emitter(InotifyEmitter):
    """Watches the folders that clips may be in, and no others."""

    def on_thread_start(self) -> None:
        """As watchdog's own, with another group."""
        self._inotify = _Folders(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
        )


class _Folders(InotifyWatchGroup):
    """The root and the folders below it that may hold clips: a folder of snapshots may hold thousands of others."""

    def _add_all_callbacks(self, path: bytes) -> None:
        if self._ignored(path):
            return
        self._add_callback(path)
        if self.is_recursive:
            # A folder is watched before it is listed, so that what comes meanwhile is not missed.
            for folder, below, _ in _walk(path):
                for name in below:
                    self._add_callback(folder + b"/" + name)

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:
        """What would have been told of a folder's contents if it had been watched when they came."""
        if self._ignored(src_path):
            return []
        events = []
        for folder, below, names in _walk(src_path):
            watch = self._active_callbacks_by_path.get(folder)
            if watch is not None:
                folder_came = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_ISDIR)
                events += [InotifyEvent(watch, folder_came, 0, name) for name in below]
                events += [InotifyEvent(watch, InotifyConstants.IN_CREATE, 0, name) for name in names]
        return events

    def _ignored(self, path: bytes) -> bool:
        return any(is_ignored_folder(part) for part in path[len(self.path) :].split(b"/") if part)


def _walk(top: bytes) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """Every folder from `top` down that may hold clips: its path, the folders in it, and the other names.

    `os.walk` recurses: a thousand folders one in another end it with a RecursionError.
    """
    folders = [top]
    while folders:
        folder = folders.pop()
        below: list[bytes] = []
        names: list[bytes] = []
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                elif not is_ignored_folder(entry.name):
                    below.append(entry.name)
        yield folder, below, names
        folders += [folder + b"/" + name for name in below]


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


def watches_allowed() -> int | None:
    """How many folders a user may watch; None if the kernel does not say."""
    return min((value for name in WATCHES if (value := _setting(name)) is not None), default=None)


def raise_it(code: int) -> str:
    """How to raise the limit behind an error of inotify (a key of LIMITS), as a sentence with the command."""
    known = {name: value for name in LIMITS[code] if (value := _setting(name)) is not None}
    name = min(known, key=known.__getitem__, default=LIMITS[code][0])
    return f"Raise it: sudo sysctl {name}={max(WANTED[code], 2 * known.get(name, 0))}."


def _setting(name: str) -> int | None:
    """A setting of the kernel (sysctl), by its name."""
    try:
        return int(Path("/proc/sys", *name.split(".")).read_text("ascii"))
    except (OSError, ValueError):
        return None


def _todo(error: OSError) -> str:
    remedy = f"{raise_it(error.errno)} Until then" if error.errno in LIMITS else "Until it can,"
    return f"{remedy} the rescan finds new clips, a little later."


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - as the root was given
    return status.st_dev, status.st_ino
