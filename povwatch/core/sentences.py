"""How a message is put together from its parts. Pure; Python 3.10, standard library alone.

A part may come from anywhere (an error, a library, an engine) and end in a path or a command. What follows such a part
must not run into it, and the stop between the two must not become part of what people copy: so it is set in backticks.
"""

from __future__ import annotations

import re

from povwatch.core.command import program

_ENDED = re.compile(r"[.!?][)\]\"'`]*$")
"""A sentence that has its stop, perhaps within brackets or quotes."""

_COMMANDS = ("chgrp ", "chmod ", "chown ", "mkdir ", "mount ", "mv ", "rm ", "sudo ")
"""How a command that is no povwatch's begins."""


def joined(*parts: str) -> str:
    """The parts as sentences one after the other; empty ones are left out, and the last one stays as it is."""
    *before, last = [part.strip() for part in parts if part.strip()] or [""]
    return " ".join([*map(ended, before), last])


def ended(part: str) -> str:
    """A part as another can follow it: with its stop, and with a path or a command at its end in backticks."""
    part = part.strip()
    if not part or _ENDED.search(part) or part.endswith(":"):
        return part
    start = _copied_from(part)
    return f"{part}." if start is None else f"{part[:start]}`{part[start:]}`."


def _copied_from(part: str) -> int | None:
    """Where the path or the command begins that a part ends in; None if it ends in neither."""
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
