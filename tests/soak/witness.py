"""Looks at outputs/ all the time: whatever a user can see there has to be whole from its first moment on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import warnings
from typing import TYPE_CHECKING, Self

from watchdog.events import FileModifiedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

if TYPE_CHECKING:
    from pathlib import Path

    from world import World

AGAIN = 0.5
"""Seconds between two looks at everything, events or not."""

SHEET = re.compile(r"_sheet(_v\d+)?\.jpg$")
"""How the path of a contact sheet ends."""


class Witness(FileSystemEventHandler):
    """Sees every file the moment it appears, and every write to one that is visible."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._root: Path = world.outputs
        self._observer = Observer()
        self._over = threading.Event()
        self._looker = threading.Thread(target=self._look_on)
        self._lock = threading.Lock()
        self.seen: dict[tuple[str, int], str] = {}
        """Path and inode of each file, and its digest as it was first seen."""
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        warnings.filterwarnings("ignore", "Callback with id .* already exists", RuntimeWarning)  # as arrival/watch.py
        self._observer.schedule(self, os.fspath(self._root), recursive=True)
        self._observer.start()
        self._looker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looker.join()
        self._observer.stop()
        self._observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called in the observer's thread."""
        if event.is_directory:
            return
        path = os.fsdecode(event.dest_path or event.src_path)
        # Not its closing, which may come after its rename: a child that was just forked had it open until its exec.
        if isinstance(event, FileModifiedEvent) and self._is_ours(path):
            self.wrong.append(f"somebody wrote to a visible file: {os.path.relpath(path, self._root)} ({event})")
        self._see(path)

    def _look_on(self) -> None:
        while not self._over.wait(AGAIN):
            for folder, folders, names in os.walk(self._root):
                if ".povwatch" in folders:
                    folders.remove(".povwatch")
                for name in names:
                    self._see(os.path.join(folder, name))  # noqa: PTH118 - from os.walk

    def _is_ours(self, path: str) -> bool:
        """Whether it is a visible file that povwatch must have put there."""
        below = os.path.relpath(path, self._root)
        return not below.startswith((".povwatch", "..")) and below not in self._world.shown

    def _see(self, path: str) -> None:
        if not self._is_ours(path):
            return
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a thousand times a second
                key = (os.path.relpath(path, self._root), os.fstat(file.fileno()).st_ino)
                with self._lock:
                    if key in self.seen:
                        return
                    data = file.read()
                    self.seen[key] = hashlib.sha256(data).hexdigest()
        except (FileNotFoundError, IsADirectoryError):
            return
        if path.endswith(".json"):
            try:
                json.loads(data)
            except ValueError:
                self.wrong.append(f"a partial manifest was visible: {key[0]}")
        elif not path.endswith(".mp4") and not SHEET.search(path):
            self.wrong.append(f"what is that in outputs/: {key[0]}")
