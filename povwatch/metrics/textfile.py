"""Writes the metrics to a file that node_exporter reads (its textfile collector)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

MODE = 0o644
"""node_exporter runs as another user. Whoever may read its figures may know the clips' numbers; no name is in them."""


def write_textfile(_cancelled: threading.Event, file: str, text: bytes) -> None:
    """Replace the file in one step. It is not synced: after a power cut the next one follows within seconds.

    Raises:
        OSError: it cannot be written.
    """
    temporary = Path(f"{file}.{os.getpid()}.tmp")  # node_exporter reads *.prom alone
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    except FileExistsError:  # of a process that was killed, and had our number
        temporary.unlink()
        raise
    try:
        with os.fdopen(fd, "wb") as opened:
            os.fchmod(fd, MODE)  # the umask may keep others out
            opened.write(text)
        temporary.rename(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
