"""A file's stat signature, packed. Equal bytes mean an unchanged file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from povwatch.core.local_time import local

if TYPE_CHECKING:
    import os

Signature = bytes
"""(dev, ino, size, mtime_ns, ctime_ns, blocks), packed because 100,000 of them stay in memory.

The blocks show the progress of downloads that reserve their size first and do not change the times that stat shows.
"""

_FORMAT = struct.Struct("<QQqqqq")


def signature(stat: os.stat_result) -> Signature:
    """The signature of a file, from os.stat or os.fstat."""
    return _FORMAT.pack(
        stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, getattr(stat, "st_blocks", 0)
    )


def size_of(sig: Signature) -> int:
    """The file's size in bytes."""
    size: int = _FORMAT.unpack(sig)[2]
    return size


def identity_of(sig: Signature) -> tuple[int, int]:
    """(dev, ino): identifies the file, whatever its name."""
    dev, ino, *_ = _FORMAT.unpack(sig)
    return dev, ino


def changed_at(sig: Signature) -> int:
    """When the file, or its name, last changed: ctime, in nanoseconds."""
    ctime: int = _FORMAT.unpack(sig)[4]
    return ctime


def same_content(one: Signature, other: Signature) -> bool:
    """Whether it is the same file with the same bytes, as far as stat shows. A new link or mode changes neither."""
    return _FORMAT.unpack(one)[:4] == _FORMAT.unpack(other)[:4]


def written_on(sig: Signature) -> str:
    """The local day on which its bytes were last written: mtime, as 2026-05-31. A copy that keeps times keeps it."""
    mtime: int = _FORMAT.unpack(sig)[3]
    return local(mtime / 1e9).date().isoformat()
