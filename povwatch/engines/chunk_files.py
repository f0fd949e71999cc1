"""Writes the file of a finished chunk. Standard library alone, Python 3.10.

Both real engines keep chunks as safetensors files. They fill them in their own ways: see upstream/store.py and
transfer/checkpoint.py.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from povwatch.files.fs import fsync_dir

if TYPE_CHECKING:
    from pathlib import Path

PART = ".part"
"""Suffix of a file that is being written."""


def write(path: Path, *blocks: bytes) -> None:
    """Write a file in full, or leave what was there. It is on the disk when this returns.

    Missing folders are made.

    Raises:
        OSError: The file cannot be written; ENOSPC if the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync_dir(folder)
    finally:
        os.close(folder)
