"""Tells how much main memory can be used, by the kernel's figures and the limits of our control groups.

Both versions of control groups are read. Standard library alone, for Python 3.10: workers import this too.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GROUPS = "sys/fs/cgroup"
"""Mount point of control groups."""


@dataclass(frozen=True)
class _Files:
    """Names of the files and statistics in one version of control groups."""

    limit: str
    used: str
    cached: tuple[str, str]


V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def total(root: Path = Path("/")) -> int | None:
    """Bytes that this process and its group may have at most; None if unknown. Tests pass another `root`."""
    found = [_of_machine(root, "MemTotal"), *(limit for _, _, limit in _limits(root))]
    return min((size for size in found if size is not None), default=None)


def available(root: Path = Path("/")) -> int | None:
    """Bytes that can be taken without swapping; None if unknown. Tests pass another `root`."""
    found = [_of_machine(root, "MemAvailable")]
    for folder, files, limit in _limits(root):
        with suppress(OSError, ValueError, KeyError):
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            cached = sum(int(stat[name]) for name in files.cached)  # the page cache is dropped when memory is needed
            found.append(max(0, limit - int((folder / files.used).read_text("ascii")) + cached))
    return min((size for size in found if size is not None), default=None)


def _of_machine(root: Path, field: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text("ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def _limits(root: Path) -> list[tuple[Path, _Files, int]]:
    """Our control groups that have a limit: the group's folder, its files' names, the limit in bytes."""
    limits = []
    for top, path, files in _memberships(root):
        group = top / path.strip("/")
        # The path may be missing: in a container without a namespace of its own for groups, the path is the
        # host's, and the folder at the top is the container's group.
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # no limit ("max"), no such controller, or somebody else's
                limits.append((folder, files, int((folder / files.limit).read_text("ascii"))))
            if folder == top:
                break
    return limits


def _memberships(root: Path) -> list[tuple[Path, str, _Files]]:
    """The mount points of our groups' hierarchies, and our path in each (cgroups(7), /proc/PID/cgroup)."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found.append((root / GROUPS, path, V2))
        elif "memory" in controllers.split(","):
            found.append((root / GROUPS / "memory", path, V1))
    return found
