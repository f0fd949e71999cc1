"""How much of this machine's memory can be had: as the kernel says, within the limits of our control groups.

Both versions of control groups are known. Standard library alone, for Python 3.10: workers ask too.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GROUPS = "sys/fs/cgroup"
"""Where control groups are."""


@dataclass(frozen=True)
class _Files:
    """What one version of control groups calls its files, and the numbers in its statistics."""

    limit: str
    used: str
    cached: tuple[str, str]


V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def total(root: Path = Path("/")) -> int | None:
    """Bytes that this process and its group may have at the most; None where nobody knows.

    Args:
        root: of the file system; another one for tests.
    """
    found = [_of_machine(root, "MemTotal"), *(limit for _, _, limit in _limits(root))]
    return min((size for size in found if size is not None), default=None)


def available(root: Path = Path("/")) -> int | None:
    """Bytes that can be taken without swapping; None where nobody knows.

    Args:
        root: of the file system; another one for tests.
    """
    found = [_of_machine(root, "MemAvailable")]
    for folder, files, limit in _limits(root):
        with suppress(OSError, ValueError, KeyError):
            stat = dict(line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
            cached = sum(int(stat[name]) for name in files.cached)  # the page cache makes room
            found.append(max(0, limit - int((folder / files.used).read_text("ascii")) + cached))
    return min((size for size in found if size is not None), default=None)


def _of_machine(root: Path, field: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text("ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def _limits(root: Path) -> list[tuple[Path, _Files, int]]:
    """Each group that we are in and that has a limit: its folder, what its files are called, the limit in bytes."""
    limits = []
    for top, path, files in _memberships(root):
        group = top / path.strip("/")
        # Also where the path is not there: in a container that has no namespace of its own for groups, the path is the
        # host's, and the folder at the top is the container's group.
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # no limit ("max"), no such controller, or somebody else's
                limits.append((folder, files, int((folder / files.limit).read_text("ascii"))))
            if folder == top:
                break
    return limits


def _memberships(root: Path) -> list[tuple[Path, str, _Files]]:
    """Where our groups' hierarchies are, and our place in each (cgroups(7), /proc/PID/cgroup)."""
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
