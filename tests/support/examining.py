"""Examines bytes that are not in a named file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch.container import examine

if TYPE_CHECKING:
    from povwatch.container import Report


def examine_bytes(data: bytes, *, brief: bool = False) -> Report:
    """The report on a file with these bytes."""
    fd = os.memfd_create("clip")
    try:
        os.write(fd, data)
        return examine(fd, len(data), brief=brief)
    finally:
        os.close(fd)
