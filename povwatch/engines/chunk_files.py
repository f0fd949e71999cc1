"""Writes the file of a finished chunk. Standard library alone, Python 3.10.

Both real engines keep chunks as safetensors files. They fill them in their own ways: see upstream/store.py and
transfer/checkpoint.py.

Two workers may write the same chunk at once: one that was given up, since nothing was heard of its machine, may go on
there while the job's next attempt runs elsewhere. So each writes under a name of its own, and what has a chunk's name
is one worker's, and whole. It is used only if its key is that of the job, so one of other contents costs time alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from povwatch.files.fs import fsync_dir

if TYPE_CHECKING:
    from pathlib import Path

PART = ".part"
"""Suffix of a file that is being written."""


def write(path: Path, *blocks: bytes) -> None:
    """Write a file in full, or leave what was there. It is on the disk when this returns.

    Its folder is made if it is missing; the one above is not, which goes with its job.

    Raises:
        OSError: The file cannot be written; ENOSPC if the disk is full.
    """
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")
    try:
        with part.open("xb") as file:
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
