"""povwatch logs: the log of everything or of one clip, from systemd's journal or from the file that it goes to."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from povwatch.cli import complete
from povwatch.cli.app import CLIP_HELP, shared, verbs
from povwatch.core.command import command
from povwatch.core.errors import PovwatchError
from povwatch.core.layout import shown
from povwatch.core.local_time import local
from povwatch.core.lookup import instead, meant, no_such_look, number_of
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.journal import JournalReader

POLL_EVERY = 0.3
"""Seconds between two reads of the file with --follow."""

PART = 1 << 20
"""Bytes that are read of the file at a time."""


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Whose lines are shown."""

    clip: str
    """The clip's path, as it is shown; empty for all lines."""
    look: str | None
    """One look of it; None for all, empty for its own."""

    def fits(self, line: dict[str, Any]) -> bool:
        """Whether a log line is one of them."""
        if not self.clip:
            return True
        look = line.get("look") or ""
        return line.get("clip") == (f"{self.clip}@{look}" if look else self.clip) and self.look in {None, look}

    @property
    def matches(self) -> list[str]:
        """What journalctl compares; a clip's own lines have no field for the look."""
        fields = {"VIDEO": self.clip, "LOOK": self.look or ""}
        return [f"{name}={value}" for name, value in fields.items() if value]


@verbs.command()
def logs(
    context: typer.Context,
    clip: Annotated[
        str,
        typer.Argument(metavar="CLIP", help=f"{CLIP_HELP} Left out: everything.", autocompletion=complete.clips),
    ] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")] = False,
) -> None:
    """Show the log, of everything or of one clip."""
    with shared(context).reader() as reader:
        chosen = _filter_of(reader, clip)
        place = reader.fact("log") or {}
    if place.get("to") == "journal":
        _from_journal(str(place["unit"]), chosen, follow=follow)
    if place.get("to") != "file":
        shows = command("show", clip=clip) if clip else command("jobs")
        raise PovwatchError(
            "The daemon's log goes to a terminal or another program, and is kept nowhere.",
            f"Have it go to a file: {command('run')} 2>>povwatch.log. What the journal knows: {shows}",
        )
    try:
        for line in _texts(_lines(Path(str(place["path"])), follow=follow), chosen):
            typer.echo(line)
    except KeyboardInterrupt:  # the end of --follow
        raise typer.Exit(0) from None


def _filter_of(reader: JournalReader, clip: str) -> LineFilter:
    """Find the clip.

    Raises:
        PovwatchError: there is no such clip or look, or several clips have the name.
    """
    if not clip:
        return LineFilter("", None)
    own, others = reader.known_and_looks()
    paths, look = meant(own.keys(), clip)
    if not paths and (number := number_of(clip)) is not None and (job := reader.job(number)) is not None:
        return LineFilter(shown(job.path), job.look)
    if len(paths) > 1:
        raise PovwatchError(f"{clip} is the name of {len(paths)} clips.", f"Give a path, such as {shown(paths[0])}")
    if not paths:
        raise PovwatchError(f"No clip here is called {clip}.", instead(own.keys(), clip))
    looks = others.get(paths[0], {})
    if look and look not in looks:
        raise PovwatchError(no_such_look(paths[0], look, list(looks)))
    return LineFilter(shown(paths[0]), look)


def _from_journal(unit: str, chosen: LineFilter, *, follow: bool) -> NoReturn:
    """Become journalctl, which knows who may read what, and how to page.

    Raises:
        PovwatchError: there is none.
    """
    program = shutil.which("journalctl")
    if program is None:
        raise PovwatchError("The log is in systemd's journal, and there is no journalctl here.", "Install systemd.")
    more = ["--follow", "--lines=all"] if follow else []
    os.execv(program, ["journalctl", f"--unit={unit}", "--output=short-iso", *more, *chosen.matches])  # noqa: S606 - no shell is meant


def _texts(lines: Iterator[bytes], chosen: LineFilter) -> Iterator[str]:
    """The lines for people. What is no log line of ours, such as a traceback, belongs to no clip."""
    for line in lines:
        try:
            found = json.loads(line)
            at = local(datetime.fromisoformat(found["timestamp"]).timestamp())
            text = f"{at:%Y-%m-%d %H:%M:%S} {one_line(str(found['message']))}"
        except (ValueError, KeyError, TypeError, RecursionError):
            if not chosen.clip:
                yield one_line(line.decode("utf-8", "surrogateescape"))
            continue
        if chosen.fits(found):
            yield text


def _lines(file: Path, *, follow: bool) -> Iterator[bytes]:
    """The lines of a file, and with `follow` those that come; also of a new file that takes its place.

    Raises:
        PovwatchError: it cannot be read.
    """
    rest, opened = b"", None
    try:
        while True:
            if opened is None:
                opened = file.open("rb")
            if data := opened.read(PART):
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
                continue
            if not follow:
                yield from [rest] if rest else []
                return
            time.sleep(POLL_EVERY)
            if _replaced(file, opened.fileno(), opened.tell()):
                opened.close()
                rest, opened = b"", None
    except OSError as error:
        raise PovwatchError(
            f"The log is in {file}, and that cannot be read: {error.strerror}.",
            "Was it moved? The daemon goes on writing to the file that it was started with; a restart makes a new one.",
        ) from error
    finally:
        if opened is not None:
            opened.close()


def _replaced(file: Path, fd: int, read: int) -> bool:
    """Whether another file has the name now, or this one was emptied."""
    try:
        now = file.stat()
    except FileNotFoundError:  # moved away, and the next one is not there yet
        return False
    old = os.fstat(fd)
    return (now.st_dev, now.st_ino) != (old.st_dev, old.st_ino) or now.st_size < read
