"""Finds out whether a local process has a file open for writing.

A read lease tells in microseconds: the kernel refuses it while any process, a file server included, may write.
Where leases do not work (other users' files without CAP_LEASE, network file systems), /proc is searched.
Neither sees writers on other machines.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")


class Writers(StrEnum):
    """Whether a local process writes."""

    NONE = "none"
    OPEN = "open"
    """A local process may still write."""
    UNKNOWN = "unknown"
    """Neither way could see all processes. Only the settle time and the container's structure are left."""


def ignore_sigio() -> None:
    """Ignore SIGIO, which the kernel sends if a writer opens a file during a probe, and which would end the daemon.

    Call it once, in the main thread, before the first probe.
    """
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def writer_open(fd: int, *, network: bool = False) -> Writers:
    """Whether a local process has this file open for writing.

    Args:
        fd: opened for reading only; for writing, the probe would find povwatch itself.
        network: whether the file is on a network file system. There a lease needs the server's consent, so a refusal
            means nothing.
    """
    if not network:
        answer = _lease(fd)
        if answer is not Writers.UNKNOWN:
            return answer
    seen = open_for_writing()
    status = os.fstat(fd)
    if (status.st_dev, status.st_ino) in seen.files:
        return Writers.OPEN
    return Writers.UNKNOWN if network or not seen.everybody else Writers.NONE


class OpenForWriting(NamedTuple):
    """The result of one search through /proc."""

    files: set[tuple[int, int]]
    """(dev, ino) of each regular file that is open for writing."""
    everybody: bool
    """Whether every process could be inspected."""


def open_for_writing(proc: Path = PROC) -> OpenForWriting:
    """Search the open files of every process that povwatch may inspect. Takes milliseconds."""
    files: set[tuple[int, int]] = set()
    everybody = (proc / "1").exists()  # ProtectProc=invisible and hidepid hide other users' processes
    for process in _processes(proc):
        try:
            files.update(_writable(process))
        except PermissionError:
            everybody = False
        except OSError:  # it has ended
            continue
    return OpenForWriting(files, everybody=everybody)


def _lease(fd: int) -> Writers:
    """Take a read lease and release it at once."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as e:
        return Writers.OPEN if e.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE


def _processes(proc: Path) -> Iterator[Path]:
    return (proc / name for name in os.listdir(proc) if name.isdigit())  # noqa: PTH208 - plain names, thousands of them


def _writable(process: Path) -> Iterator[tuple[int, int]]:
    """The regular files that a process has open for writing."""
    for number in os.listdir(process / "fd"):  # noqa: PTH208 - as above
        try:
            status = os.stat(process / "fd" / number)  # noqa: PTH116 - of the open file, even if its name is gone
            if stat.S_ISREG(status.st_mode) and _flags(process, number) & os.O_ACCMODE != os.O_RDONLY:
                yield status.st_dev, status.st_ino
        except FileNotFoundError:  # closed meanwhile
            continue


def _flags(process: Path, number: str) -> int:
    """A file's open flags, which fdinfo shows in octal."""
    for line in (process / "fdinfo" / number).read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    return os.O_RDONLY
