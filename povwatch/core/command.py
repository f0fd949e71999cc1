"""How a command is written down so that it can be pasted. Pure; Python 3.10, standard library alone.

`povwatch` alone is found only where it was installed: cli/app.py says once what is to be typed here.
A worker is told in its environment (workers/process.py).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from povwatch.core.layout import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_words = ["povwatch"]

TOLD = "POVWATCH_CALLED"
"""The variable in a worker's environment that says how povwatch is called here."""

CHOICES = 5
"""Commands that are listed; of more, people give the path anyway."""


def use(*words: str) -> None:
    """From now on commands begin with these words: how povwatch is called here, and with which configuration."""
    _words[:] = words


def told() -> dict[str, str]:
    """What a worker's environment has, so that its messages name commands as ours do."""
    return {TOLD: shlex.join(_words)}


def use_told(environment: Mapping[str, str]) -> None:
    """In a worker: `use` what the daemon has told."""
    if words := shlex.split(environment.get(TOLD, "")):
        use(*words)


def program() -> str:
    """How every command begins here, for a shell."""
    return shlex.join(_words)


def command(verb: str, *options: str, clip: bytes | str | None = None) -> str:
    """A command for a shell: quoted where it has to be, with `--` before a name that looks like an option.

    Args:
        verb: such as "go".
        options: that go before the clip.
        clip: its path below inputs/. What cannot be printed in it is escaped, and understood like that (lookup.py).
    """
    words = [*_words, verb, *options]
    if clip is not None:
        name = shown(clip) if isinstance(clip, bytes) else clip
        words += ["--", name] if name.startswith("-") else [name]
    return shlex.join(words)


def choice(verb: str, *options: str, clips: Sequence[bytes]) -> str:
    """For a word that means several clips: the command for each, so that one can be pasted."""
    commands = [command(verb, *options, clip=clip) for clip in clips[:CHOICES]]
    return " or ".join(commands) + (" or ..." if len(clips) > CHOICES else "")
