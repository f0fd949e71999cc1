"""Writes commands so that people can paste them. Pure; Python 3.10, standard library alone.

The word `povwatch` works only where it was installed, so cli/app.py sets once what people type here.
A worker learns it from its environment (workers/process.py).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from povwatch.core.layout import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_words = ["povwatch"]

VARIABLE = "POVWATCH_CALLED"
"""The variable in a worker's environment that says how people call povwatch here."""

CHOICES = 5
"""At most so many commands are listed; with more clips, people give the path anyway."""


def use(*words: str) -> None:
    """Begin commands with these words: how povwatch is called here, and with which configuration."""
    _words[:] = words


def worker_environment() -> dict[str, str]:
    """The variable for a worker's environment, so that its messages name commands as the daemon's do."""
    return {VARIABLE: shlex.join(_words)}


def use_environment(environment: Mapping[str, str]) -> None:
    """Begin commands as the daemon's environment says; called in a worker."""
    if words := shlex.split(environment.get(VARIABLE, "")):
        use(*words)


def program() -> str:
    """The words that begin every command, quoted for a shell."""
    return shlex.join(_words)


def command(verb: str, *options: str, clip: bytes | str | None = None) -> str:
    """A command for a shell: quoted where necessary, with `--` before a name that looks like an option.

    A clip is a path relative to inputs/. Unprintable characters in it are escaped; lookup.py understands the escapes.
    """
    words = [*_words, verb, *options]
    if clip is not None:
        name = shown(clip) if isinstance(clip, bytes) else clip
        words += ["--", name] if name.startswith("-") else [name]
    return shlex.join(words)


def choice(verb: str, *options: str, clips: Sequence[bytes]) -> str:
    """The command for each clip, when a word means several clips; people paste one."""
    commands = [command(verb, *options, clip=clip) for clip in clips[:CHOICES]]
    return " or ".join(commands) + (" or ..." if len(clips) > CHOICES else "")
