"""Where log lines go, and their format.

- On a terminal they are formatted for people.
- Under systemd they go to the journal with fields (`journalctl JOB=7`, `EVENT=done`).
- Elsewhere they are JSON lines.

Each entry stays one printable line, whatever a file name or a library's message contains: see `layout.shown`.
If the log cannot be written (a full disk, a closed terminal), only its lines are lost.
"""

from __future__ import annotations

import logging
import os
import stat
import string
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

import structlog

from povwatch.core.command import command
from povwatch.core.layout import shown
from povwatch.core.sentences import ended

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

_JOURNAL_FIELDS = {"job": "JOB", "clip": "VIDEO", "look": "LOOK", "state": "STATE", "event": "EVENT"}
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOUR = {"debug": "\033[2m", "info": "", "warning": "\033[33m", "error": "\033[31m", "critical": "\033[31;1m"}
_BYTE_80, _BYTE_FF = 0xDC80, 0xDCFF  # PEP 383
_DIM, _PLAIN = "\033[2m", "\033[0m"


class Stream(Protocol):
    """The methods of a text file that logging needs."""

    def write(self, text: str, /) -> object:
        """Write a line or a part of one."""

    def flush(self) -> object:
        """Flush it."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""

    def fileno(self) -> int:
        """The file descriptor."""


class _Lossy:
    """A stream for loggers that drops what cannot be written."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(stream: Stream | None = None, *, verbose: bool = False) -> None:
    """Choose the format by the kind of stream, and set structlog up.

    Args:
        stream: standard error if left out.
        verbose: show the engine's own output too.
    """
    stream = sys.stderr if stream is None else stream
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _spell,
            *_form(stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lossy(stream))),
        cache_logger_on_first_use=False,
    )


def one_line(text: str) -> str:
    """Any text as one printable line.

    Bytes of a file name that are not UTF-8 come out as in `layout.shown`; Python holds them as half characters.
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if _BYTE_80 <= code <= _BYTE_FF:
        return f"\\x{code - _BYTE_80 + 0x80:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _form(stream: Stream) -> list[Any]:
    if _is_journal(stream):
        return [_to_journal]
    if stream.isatty():
        return [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), _for_eyes]
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _in_order,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _spell(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make every value printable, then fill in the sentence."""
    for key, value in event.items():
        if key == "sentence":
            continue
        if key == "exception":  # a traceback keeps its lines
            event[key] = "\n".join(map(one_line, str(value).splitlines()))
            continue
        event[key] = _plain(value)
    if sentence := event.pop("sentence", None):
        event["message"] = _filled(sentence, _Known(event))
    return event


def _filled(sentence: str, fields: _Known) -> str:
    """Fill in a sentence. If text follows a problem, the problem gets a full stop if it has none."""
    parts = list(string.Formatter().parse(sentence))
    text = ""
    for at, (literal, field, _, _) in enumerate(parts):
        text += literal
        if field is not None:
            value = str(fields[field])
            goes_on = field == "problem" and at + 1 < len(parts) and parts[at + 1][0].startswith(" ")
            text += ended(value) if goes_on else value
    return text


def _plain(value: object) -> object:
    """A field's value with every text in it made printable."""
    if isinstance(value, bytes):
        return shown(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {one_line(str(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return one_line(str(value))  # a text, a path, an error or any object that may contain foreign text


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put the most important fields first."""
    first = ("timestamp", "level", "event", "message")
    return {key: event[key] for key in (*(k for k in first if k in event), *(k for k in event if k not in first))}


class _Known(dict[str, Any]):
    """The fields of a sentence. A missing one becomes a question mark instead of an exception.

    A field that begins with povwatch is a command about the line's clip.
    """

    def __missing__(self, key: str) -> str:
        program, *words = key.split()
        return command(*words, clip=self.get("clip")) if program == "povwatch" else "?"


def _for_eyes(_: WrappedLogger, __: str, event: EventDict) -> str:
    level = event["level"]
    text = event.get("message") or _listed(event)
    if error := event.get("exception"):
        text += "".join(
            f"\n    {line}" for line in error.split("\n")
        )  # indented, so that an error's words cannot look like a line of ours
    return f"{_DIM}{event['timestamp']}{_PLAIN} {_COLOUR[level]}{text}{_PLAIN}"


def _listed(event: EventDict) -> str:
    """An event without a sentence: its name and fields."""
    fields = (f"{key}={value}" for key, value in event.items() if key not in {"event", "level", "timestamp"})
    return " ".join([event["event"], *fields])


def destination(stream: Stream | None = None) -> dict[str, str]:
    """Where the log goes, so that `povwatch logs` finds it: `to` is journal, file or nowhere; with its unit or path."""
    stream = sys.stderr if stream is None else stream
    if _is_journal(stream):
        return {"to": "journal", "unit": _unit()}
    try:
        fd = stream.fileno()
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return {"to": "file", "path": str(Path(f"/proc/self/fd/{fd}").readlink())}
    except (OSError, ValueError):
        pass
    return {"to": "nowhere"}


def _unit() -> str:
    """The systemd unit of this process."""
    try:
        groups = Path("/proc/self/cgroup").read_text("utf-8").split()
    except OSError:
        groups = []
    found = [part for group in groups for part in group.split("/") if part.endswith(".service")]
    return found[-1] if found else "povwatch.service"


def _is_journal(stream: Stream) -> bool:
    """Whether the stream is the journal: systemd names its device and inode in JOURNAL_STREAM."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def _to_journal(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    from systemd import journal  # type: ignore[attr-defined]  # noqa: PLC0415 - only a daemon under systemd needs it

    message = event.pop("message", None) or _listed(event)
    fields = {
        _JOURNAL_FIELDS.get(key, f"POVWATCH_{key.upper()}"): str(value)
        for key, value in event.items()
        if value is not None
    }
    if "LOOK" in fields:  # VIDEO= finds all lines of a clip, whatever the look
        fields["VIDEO"] = fields["VIDEO"].removesuffix(f"@{fields['LOOK']}")
    with suppress(OSError):
        journal.send(message, PRIORITY=_PRIORITY[event["level"]], SYSLOG_IDENTIFIER="povwatch", **fields)
    raise structlog.DropEvent
