"""The process that sends the notices, where the daemon itself has a network. The daemon starts it, and it ends with it.

It is a process of its own, so that no service, and no library that speaks to one, can delay or end the daemon.
It gets its task as a line of JSON on its standard input, so that no URL is in a command line. It answers in lines of
JSON on its standard output: what is wrong with the task, then what is to be logged.
"""

from __future__ import annotations

import json
import selectors
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.notifications.sender import Sender
from povwatch.notifications.services import NotInstalled
from povwatch.notifications.spool import NoticeSpool
from povwatch.notifications.targets import targets
from povwatch.process.lifeline import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from povwatch.notifications.sender import LogLine

POLL_EVERY = 2.0
"""Seconds between two reads of the spool."""


def main() -> None:
    """Do the task: check the entries, then, unless that was all, send what comes into the spool."""
    die_with_parent()
    stdin = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115 - for as long as it lives
    task = json.loads(stdin.readline())
    try:
        made, refused = targets(task["entries"])
    except NotInstalled:
        _answer({"missing": True})
        return
    services = {one.entry: one.service.name for one in made}
    _answer({"refused": [[one.entry, one.why, one.unreadable] for one in refused], "services": services})
    if task["check"]:
        return
    spool = NoticeSpool(Path(task["state"]))
    spool.prepare()
    with spool.held() as other:
        if other:
            _answer({"busy": other})
        else:
            run(Sender(spool, made), partial(_told_to_end, stdin), _report)


def run(sender: Sender, wait: Callable[[float], str], report: Callable[[LogLine], None]) -> None:
    """Send what comes into the spool until told to end.

    Args:
        wait: waits so many seconds, or less; returns "flush" to end when everything is sent, "end" to end at once, and
            an empty text to go on.
        report: gets each line for the log.
    """
    how = ""
    while not how:
        for line in sender.turn(time.time()):
            report(line)
        due = sender.next_due(time.time())
        how = wait(POLL_EVERY if due is None else min(max(due - time.time(), 0.05), POLL_EVERY))
    if how == "flush":
        for line in sender.turn(time.time(), flush=True):
            report(line)


def _report(line: LogLine) -> None:
    _answer({"log": [line.event, {name: _plain(value) for name, value in line.fields.items()}]})


def _plain(value: object) -> object:
    return value if isinstance(value, int | float) else str(value)


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _told_to_end(stdin: FileIO, seconds: float) -> str:
    """Wait for a line. `stdin` is not buffered, so that no line is in a buffer, where it would not be seen."""
    with selectors.PollSelector() as waiting:
        waiting.register(stdin, selectors.EVENT_READ)
        if not waiting.select(seconds):
            return ""
    line = stdin.readline()
    return "flush" if line and json.loads(line)["flush"] else "end"


if __name__ == "__main__":
    main()
