"""Ray's token: a file below the state folder, the same on every machine of a pool.

Whoever has it may run programs on all of them.
Ray reads RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH when it is imported, so `use` comes first. Who sets RAY_AUTH_MODE
decides alone.
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from povwatch.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "pool.token"
"""The file below the state folder."""

MODE, PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def use(state: Path) -> Path | None:
    """Set the variables for this process and its children, if the file is there and nobody has set them.

    Returns:
        The file; None if it is not there, or RAY_AUTH_MODE is set.

    Raises:
        ConfigError: others may read it.
        OSError: it cannot be looked at.
    """
    file = state / NAME
    # A driver and a node are refused by the head if their Python differs in its patch level, which changes nothing.
    os.environ.setdefault("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if MODE in os.environ or not file.exists():
        return None
    refuse_open(file)
    os.environ.update({MODE: "token", PATH: str(file)})
    return file


def make(state: Path) -> None:
    """Make the file, if it is missing.

    Raises:
        OSError: it cannot be written.
    """
    state.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(state / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_hex(32))


def refuse_open(file: Path) -> None:
    """Refuse a token that others may read.

    Raises:
        ConfigError: they may.
        OSError: it cannot be looked at.
    """
    if file.stat().st_mode & OTHERS:
        raise ConfigError(f"{file} may be read by others, and whoever has it runs programs here.", f"chmod 600 {file}")
