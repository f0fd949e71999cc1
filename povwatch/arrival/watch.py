"""Hints that something in inputs/ has changed, from inotify through watchdog.

They are no more than hints. watchdog loses events, and each of its threads may die silently; the emitter does when the
folder is removed. So the caller also rescans, asks `alive`, and calls `start` again after a growing pause.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog import events
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask

from povwatch.files.names import is_ignored_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchdog.observers.inotify_c import CallbackId, WatchCallback, WatchDescriptor

    from povwatch.core.mailbox import Mailbox

TICK = 1.0
"""Seconds between two checks of watchdog's threads for whether to end."""

JOIN = 5.0
"""Seconds that each thread gets to end."""

EVENTS: list[type[events.FileSystemEvent]] = [
    events.DirCreatedEvent,
    events.DirDeletedEvent,
    events.DirMovedEvent,
    events.FileClosedEvent,
    events.FileCreatedEvent,
    events.FileDeletedEvent,
    events.FileMovedEvent,
]
"""The events that are asked for.

Reading is not among them: povwatch would react to its own reads without end.
Single writes are not either: a fast copy makes thousands a second, and settling samples the file anyway.
"""

LIMITS = {
    errno.ENOSPC: ("fs.inotify.max_user_watches", "user.max_inotify_watches"),
    errno.EMFILE: ("fs.inotify.max_user_instances", "user.max_inotify_instances"),
}
"""The kernel's limits behind inotify's errors. In a container with its own users, the second holds (namespaces(7))."""

WATCHES = LIMITS[errno.ENOSPC]
"""The limits on the number of watched folders."""

WANTED = {errno.ENOSPC: 524_288, errno.EMFILE: 1024}
"""What to raise the limits to, at least."""


class Watcher:
    """Watches one folder; a thread of its own puts hints into a mailbox.

    A hint is a changed path, relative to the root, or None: something was lost, so rescan now.
    """

    def __init__(self, root: Path, hints: Mailbox[bytes | None], *, recursive: bool) -> None:
        self.hints = hints
        self.problem: str | None = None
        """Why there are no hints at all, and what to do; None while there are some."""
        self._root = root
        self._recursive = recursive
        self._inotify: _Queue | None = None
        """The kernel's queue and its reader thread. povwatch owns it, to see whether it lives."""
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None
        self._alarm = _OverflowAlarm(hints)

    @property
    def unwatched(self) -> int:
        """Number of folders below the root that give no hints because the kernel allows no more watches."""
        return len(self._inotify.refused) if self._inotify is not None else 0

    @property
    def shortage(self) -> str:
        """The sentence about those folders."""
        folders = "1 folder is" if self.unwatched == 1 else f"{self.unwatched} folders are"
        return f"{folders} not watched, since inotify allows {watches_allowed()} watches. {raise_it(errno.ENOSPC)}"

    def start(self) -> bool:
        """Begin to watch; False if that fails, with `problem` set. A limit or a missing folder raises nothing."""
        self.stop()
        # watchdog 7.1 warns about a new folder that it meets twice, in its parent and by its own event: no harm.
        warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)
        try:
            # Resolve a link first: watchdog would watch the link itself.
            path = os.path.realpath(self._root, strict=True)
            self._watched = _identity(path)
            self._inotify = _Queue()
            self._inotify.start()
            self._observer = BaseObserver(_Emitter, timeout=TICK, inotify_fd=self._inotify)
            self._observer.schedule(_Handler(path, self.hints), path, recursive=self._recursive, event_filter=EVENTS)
            self._observer.start()
        except OSError as e:
            self.stop()
            self.problem = f"The inputs folder cannot be watched: {e.strerror}. {_todo(e)}"
            return False
        logging.getLogger("watchdog").addHandler(self._alarm)
        self.problem = None
        return True

    def alive(self) -> bool:
        """Whether hints still come, from the folder that has this path now."""
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
    """The kernel's queue. watchdog ignores a folder that it cannot watch; this remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[bytes] = set()
        """Folders for which no watch was left."""

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
    """Watches only folders that may hold clips."""

    def on_thread_start(self) -> None:
        """Like watchdog's own, with another group."""
        self._inotify = _Folders(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
        )


class _Folders(InotifyWatchGroup):
    """The root and the folders below it that may hold clips. A folder of snapshots may hold thousands of others."""

    def _add_all_callbacks(self, path: bytes) -> None:
        if self._ignored(path):
            return
        self._add_callback(path)
        if self.is_recursive:
            # Watch a folder before listing it, so that nothing is missed in between.
            for folder, below, _ in _walk(path):
                for name in below:
                    self._add_callback(folder + b"/" + name)

    def _recursive_simulate(self, src_path: bytes) -> list[InotifyEvent]:
        """The events of a folder's contents that were created before the folder was watched."""
        if self._ignored(src_path):
            return []
        found = []
        for folder, below, names in _walk(src_path):
            watch = self._active_callbacks_by_path.get(folder)
            if watch is not None:
                folder_came = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_ISDIR)
                found += [InotifyEvent(watch, folder_came, 0, name) for name in below]
                found += [InotifyEvent(watch, InotifyConstants.IN_CREATE, 0, name) for name in names]
        return found

    def _ignored(self, path: bytes) -> bool:
        return any(is_ignored_folder(part) for part in path[len(self.path) :].split(b"/") if part)


def _walk(top: bytes) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """Every folder from `top` down that may hold clips: its path, its subfolders, and its other names.

    `os.walk` recurses: a thousand nested folders end it with a RecursionError.
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


class _Handler(events.FileSystemEventHandler):
    """Turns watchdog's events into paths relative to the root."""

    def __init__(self, root: str, hints: Mailbox[bytes | None]) -> None:
        self._root = os.fsencode(root)
        self._hints = hints

    def on_any_event(self, event: events.FileSystemEvent) -> None:
        """Pass on the old and the new path.

        Files in a new folder may be older than its watch. Only a rescan finds them.
        """
        if isinstance(event, events.DirCreatedEvent | events.DirMovedEvent):
            self._hints.put(None)
        for path in (event.src_path, event.dest_path):
            if path:
                self._hints.put(self._relative(os.fsencode(path)))

    def _relative(self, path: bytes) -> bytes | None:
        """The path relative to the root; None for the root itself, which was removed or moved."""
        return path[len(self._root) + 1 :] if path.startswith(self._root + b"/") else None


class _OverflowAlarm(logging.Handler):
    """Asks for a rescan when watchdog has lost events, which it only reports in its log."""

    def __init__(self, hints: Mailbox[bytes | None]) -> None:
        super().__init__(logging.WARNING)
        self._hints = hints

    def emit(self, _record: logging.LogRecord) -> None:
        """Ask for a rescan at every warning of watchdog. One too many costs little."""
        self._hints.put(None)


def watches_allowed() -> int | None:
    """Number of folders that a user may watch; None if the kernel does not say."""
    return min((value for name in WATCHES if (value := _setting(name)) is not None), default=None)


def raise_it(code: int) -> str:
    """How to raise the limit behind an error of inotify (a key of LIMITS): a sentence with the command."""
    known = {name: value for name in LIMITS[code] if (value := _setting(name)) is not None}
    name = min(known, key=known.__getitem__, default=LIMITS[code][0])
    return f"Raise it: sudo sysctl {name}={max(WANTED[code], 2 * known.get(name, 0))}."


def _setting(name: str) -> int | None:
    """A setting of the kernel (sysctl); None if it has none of this name."""
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
