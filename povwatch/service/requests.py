"""Requests from the command line to the daemon: files in <state>/requests/, as in a maildir.

A command writes its request under a temporary name and renames it. The daemon, the only writer of the journal, takes
it within a second and writes an answer beside it. The command reads the answer and removes it. A request that is made
while no daemon runs is taken at the next start.
A whole group may write to the folder. No file there may block or end the daemon, or be carried out twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import secrets
import stat
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import PovwatchError
from povwatch.files.fs import closing, read_at_most

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "requests"
VERBS = ("go", "hold", "retry", "cancel", "pause", "resume", "clean")
_ANSWER_KEPT = 3600.0  # seconds; the command that asked has given up
_REQUEST_MAX = 64 * 1024

AT_ONCE = 100
"""The most requests that are taken at a time, so that the daemon's own work goes on in between."""

CLIP_MAX = 4096
"""The most characters in a clip's name: PATH_MAX."""

_TOKEN = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,99}")
"""A request's name without its suffix. An answer's longer name fits too, and log lines can show it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request."""

    verb: str
    clip: str
    """As typed: a path below inputs/, a file name, a stem or a job's number."""
    options: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    """The name of the request's file, without suffix."""
    by: str = field(default="", compare=False)
    """The user who owns the request's file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The daemon's answer."""

    done: bool
    text: str
    lines: tuple[str, ...] = ()
    """Details, one per line."""


class RequestSpool:
    """The folder of requests."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._stuck: set[str] = set()
        """Requests that were carried out but cannot be removed."""

    # -- the daemon's side

    def prepare(self) -> None:
        """Make the folder, writable for those who may write the state folder. `take` tries again if this fails."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)

    def take(self) -> list[Request]:
        """The waiting requests, oldest first, at most AT_ONCE. Unreadable ones are answered as such."""
        if not self._folder.is_dir():
            self.prepare()
        found = []
        for file in self._waiting():
            data, owner = _read(file)
            if data is None:
                continue
            try:
                found.append(_parse(data, file.stem, owner))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                text = f"the request cannot be read: {error}"
                with contextlib.suppress(OSError):  # whoever wrote it has blocked the answer's name too
                    self.answer(Request("", "", token=file.stem), Answer(done=False, text=text))
        return found

    def answer(self, request: Request, answer: Answer) -> None:
        """Answer a request and remove it, in this order: an answer may be given twice, but never be lost.

        Raises:
            OSError: the answer cannot be written. The request is removed anyway, because it was carried out.
        """
        try:
            _put(self._folder, f"{request.token}.answer", asdict(answer))
        finally:
            try:
                (self._folder / f"{request.token}.request").unlink(missing_ok=True)
            except OSError:
                self._stuck.add(request.token)

    def _waiting(self) -> list[Path]:
        """The next requests. Files with other names are left alone."""
        named = sorted(file for file in self._folder.glob("*.request") if _TOKEN.fullmatch(file.stem))
        return [file for file in named if file.stem not in self._stuck][:AT_ONCE]

    def sweep(self, now: float) -> None:
        """Remove old unread answers, and requests that were left half-written."""
        for name, _ in self.stale(now - _ANSWER_KEPT):
            with contextlib.suppress(OSError):
                self.remove(name)

    def stale(self, before: float) -> list[tuple[bytes, int]]:
        """Unread answers and half-written requests that have not changed since `before`, with their sizes.

        Args:
            before: seconds since the epoch.
        """
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # no daemon ever ran here
            for entry in os.scandir(self._folder):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mtime < before and entry.name.endswith((".answer", ".part")):
                        found.append((os.fsencode(entry.name), status.st_size))
        return found

    def remove(self, name: bytes) -> None:
        """Remove a stale file."""
        (self._folder / os.fsdecode(name)).unlink(missing_ok=True)

    # -- the command's side

    def ask(self, verb: str, clip: str, **options: Any) -> Request:  # noqa: ANN401 - JSON values
        """Write a request.

        Raises:
            PovwatchError: the folder is missing or may not be written.
        """
        request = Request(verb, clip, options, token=f"{time.time_ns():020d}-{secrets.token_hex(4)}")
        try:
            _put(
                self._folder,
                f"{request.token}.request",
                {"verb": request.verb, "clip": request.clip, "options": request.options},
            )
        except (FileNotFoundError, NotADirectoryError):
            raise PovwatchError(
                f"There is no {self._folder}: no daemon ever ran here.",
                "Start it (script/run, or systemctl start povwatch), or name its configuration with --config.",
            ) from None
        except PermissionError:
            raise PovwatchError(
                f"You may not write to {self._folder}.",
                f"Join the group: sudo usermod -aG {_group(self._folder)} $USER",
            ) from None
        except OSError as error:
            raise PovwatchError(f"{self._folder} cannot be written: {error.strerror}.", "Fix that first.") from error
        return request

    def wait(self, request: Request, timeout: float) -> Answer | None:
        """The daemon's answer; None if there is none within `timeout` seconds."""
        file = self._folder / f"{request.token}.answer"
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if answer := _answer(_read(file)[0]):
                with contextlib.suppress(PermissionError):  # the daemon owns it and sweeps it
                    file.unlink()
                return answer
            time.sleep(0.05)
        return None


def _parse(data: bytes, token: str, owner: int) -> Request:
    request = json.loads(data)
    if request["verb"] not in VERBS:
        raise ValueError(f"unknown verb {request['verb']!r}")
    if not isinstance(request["clip"], str) or not isinstance(request["options"], dict):
        raise TypeError("clip or options of another type")
    if len(request["clip"]) > CLIP_MAX:
        raise ValueError("the clip's name is longer than any path")
    return Request(request["verb"], request["clip"], request["options"], token, _user(owner))


def _answer(data: bytes | None) -> Answer | None:
    """Parse an answer; None if the daemon did not write it."""
    try:
        found = json.loads(data or b"")
        return Answer(bool(found["done"]), str(found["text"]), tuple(map(str, found.get("lines", ()))))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(file: Path) -> tuple[bytes | None, int]:
    """A file's bytes and its owner. The bytes are None if it is no plain file: a FIFO would block."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None, -1
    with closing(fd):
        status = os.fstat(fd)
        return (read_at_most(fd, _REQUEST_MAX) if stat.S_ISREG(status.st_mode) else None), status.st_uid


def _put(folder: Path, name: str, content: object) -> None:
    # A new name, created and never opened: an existing one may be a link to elsewhere.
    part = folder / f"{name}.{secrets.token_hex(8)}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o664)
    with os.fdopen(fd, "w", encoding="utf-8") as opened:
        opened.write(json.dumps(content))
    try:
        part.rename(folder / name)
    except OSError:
        part.unlink()
        raise


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(folder: Path) -> str:
    try:
        return folder.group()
    except (KeyError, OSError):
        return "povwatch"
