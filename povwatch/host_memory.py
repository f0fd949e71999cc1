"""How much of this machine's memory can be had: as the kernel says, within the limits of our control groups."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

GROUPS = "sys/fs/cgroup"
"""Where control groups (version 2) are."""


def available(root: Path = Path("/")) -> int | None:
    """Bytes that can be taken without swapping; None where nobody knows.

    Args:
        root: of the file system; another one for tests.
    """
    found = _of_machine(root), *_of_groups(root)
    return min((size for size in found if size is not None), default=None)


def _of_machine(root: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _of_groups(root: Path) -> list[int]:
    """What is left in each group that we are in and that has a limit; files in the page cache make room."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if path is None:
        return []
    top = root / GROUPS
    group = top / path.strip("/")
    left = []
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError, KeyError):  # no limit ("max"), no such controller, or somebody else's
            limit = int((folder / "memory.max").read_text("ascii"))
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            cached = int(stat["inactive_file"]) + int(stat["active_file"])
            left.append(max(0, limit - int((folder / "memory.current").read_text("ascii")) + cached))
        if folder == top:
            break
    return left
