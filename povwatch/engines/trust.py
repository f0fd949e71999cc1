"""Checks that model files belong to root or this user. Python 3.10, standard library alone.

A pickle runs any code that is written in it, and even plain numbers decide what is generated. So whoever can change a
model file can act in the worker's name.
"""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.engines.port import EngineFailure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def check_owners(paths: Iterable[Path]) -> None:
    """Check that nobody else may change these files, or put others in their place.

    Args:
        paths: Symlinks are followed, as loading does: the hub's cache consists of them.

    Raises:
        EngineFailure: A file belongs to somebody else, or everybody may write to it or its folder.
    """
    mine = {0, os.geteuid()}
    for path in paths:
        real = path.resolve()
        for found in (real, real.parent):
            status = found.stat()
            if status.st_uid not in mine:
                raise EngineFailure(
                    "invalid",
                    f"{found}, of the model, belongs to {_name(status.st_uid)}, who may change what is run here.",
                    f"If you trust it: sudo chown root {found}. If not, delete it, and: {command('prefetch')}",
                )
            if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
                raise EngineFailure(
                    "invalid",
                    f"Everybody may write to {found}, of the model, and so change what is run here.",
                    f"If you trust it: sudo chmod o-w {found}. If not, delete it, and: {command('prefetch')}",
                )


def _name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"a user that is unknown here ({uid})"
