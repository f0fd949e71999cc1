"""Disks for tests: small, full, or read-only ones. All of them need root."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a file system of so many MiB."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, size: int | None = None) -> Path:
    """Use up so many bytes of a disk, or all; returns the file to remove."""
    filler = folder / ".filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while size is None or file.tell() < size:
                if not file.write(bytes(4096)):
                    break
        except OSError:
            pass
    return filler


def remount(folder: Path, how: str) -> None:
    """Remount a disk as `ro` or `rw`."""
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)
