"""Joins the parts of a message into sentences. Pure; Python 3.10, standard library alone.

A part may come from anywhere (an error, a library, an engine) and end in a path or a command. The next part must not
run into it, and the full stop between them must not be copied with it, so the path or the command is set in backticks.
"""

from __future__ import annotations

import re

from povwatch.core.command import program

_ENDED = re.compile(r"[.!?][)\]\"'`]*$")
"""The end of a complete sentence, perhaps within brackets or quotes."""

_COMMANDS = ("chgrp ", "chmod ", "chown ", "mkdir ", "mount ", "mv ", "rm ", "sudo ")
"""The beginnings of commands other than povwatch's."""


def joined(*parts: str) -> str:
    """The parts as sentences in a row. Empty ones are left out, and the last one stays unchanged."""
    *before, last = [part.strip() for part in parts if part.strip()] or [""]
    return " ".join([*map(ended, before), last])


def ended(part: str) -> str:
    """A part that another can follow: with a full stop, and with a path or a command at its end in backticks."""
    part = part.strip()
    if not part or _ENDED.search(part) or part.endswith(":"):
        return part
    start = _copied_from(part)
    return f"{part}." if start is None else f"{part[:start]}`{part[start:]}`."


def _copied_from(part: str) -> int | None:
    """The index of the path or command at a part's end; None if there is none."""
    if part.endswith("`"):
        return None
    behind = max((part.rfind(mark) + len(mark) for mark in (": ", "Run ", " run ") if mark in part), default=0)
    tail = part[behind:]
    last = part.rfind(" ") + 1
    if behind and tail.startswith((f"{program()} ", *_COMMANDS)):
        return behind
    if behind and tail.startswith("/") and ("/" in part[last:] or "." in part[last:]):  # a path may have spaces
        return behind
    return last if part.startswith("/", last) else None
