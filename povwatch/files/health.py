"""Checks that inputs/ is still the same folder. An unmounted share is not an empty folder.

A folder is identified by its file system (type, source, id) and its inode. The mount number and the device number do
not count: a share that was away has new ones when it comes back.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from povwatch.core import layout

NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "smb2",
        "9p",
        "ceph",
        "afs",
        "coda",
        "lustre",
        "glusterfs",
        "gpfs",
        "beegfs",
        "ocfs2",
        "gfs2",
        "vboxsf",
        "virtiofs",
        "prl_fs",
        "drvfs",
        "davfs",
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.glusterfs",
        "fuse.vmhgfs-fuse",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.davfs2",
        "fuse.smbnetfs",
        "fuse.juicefs",
        "fuse.cephfs",
    }
)
"""File systems that other machines may write without this kernel's knowledge: no events, no leases."""

_FDINFO = Path("/proc/self/fdinfo")
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifies a folder, across restarts too."""

    fstype: str
    source: str
    """What is mounted: the device, the share, ..."""
    fsid: int
    """The file system's own id; 0 if it has none."""
    inode: int
    mounted_at: str = field(default="", compare=False)
    """The mount point. A share may come back elsewhere, so equality ignores it.

    But a different folder on another mount of the same file system was mounted over this one, not made in its place.
    """

    def dumps(self) -> str:
        """As text, for the journal."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def loads(cls, text: str) -> Identity:
        """From the text of `dumps`."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a check. While `reason` is set, missing files must not count as deleted."""

    reason: str | None = None
    """A sentence for people; None if all is well."""
    adoptable: bool = False
    """Whether somebody removed and made the folder again on the same file system. `adopt` accepts the new one."""

    def __bool__(self) -> bool:
        return self.reason is None


class RootGuard:
    """Checks the identity of inputs/."""

    def __init__(self, path: Path, known: Identity | None = None) -> None:
        """Remember the present folder, or the one that was `known` before a restart.

        A missing folder is no error: it is unhealthy until it exists and is adopted.
        """
        self.path = path
        self.known = known
        self.is_network = False
        """Whether it is on a network file system, as of the last check."""
        if known is None:
            self.adopt()
        else:
            self.check()

    def check(self) -> Health:
        """Compare the folder with the remembered one."""
        shown = layout.shown(os.fsencode(self.path))
        try:
            now = self._identify()
        except OSError as e:
            return Health(f"The inputs folder {shown} is away: {e.strerror}.")
        if self.known is None:
            return Health(f"The inputs folder {shown} has appeared.", adoptable=True)
        if now == self.known:
            return Health()
        if (now.fstype, now.source, now.fsid) == (self.known.fstype, self.known.source, self.known.fsid):
            if self.known.mounted_at in {"", now.mounted_at}:
                return Health(f"The inputs folder {shown} was made anew.", adoptable=True)
            return Health(
                f"The inputs folder {shown} is on the mount at {now.mounted_at} and was on the one at "
                f"{self.known.mounted_at}: something was mounted over it, or taken away."
            )
        return Health(
            f"The inputs folder {shown} is on {now.source} ({now.fstype}) and was on {self.known.source} "
            f"({self.known.fstype}): its share or disk is not mounted, or another one is."
        )

    def adopt(self) -> None:
        """Remember the present folder, or that there is none."""
        try:
            self.known = self._identify()
        except OSError:
            self.known = None

    def _identify(self) -> Identity:
        found = identity(self.path)
        self.is_network = found.fstype in NETWORK
        return found


def identity(folder: Path) -> Identity:
    """The identity of a folder. Symlinks to it are followed, as its users follow them.

    Raises:
        OSError: it is missing, or is no folder.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fstype, source, mounted_at = _mount(fd)
        return Identity(fstype, source, os.fstatvfs(fd).f_fsid, os.fstat(fd).st_ino, mounted_at)
    finally:
        os.close(fd)


def _mount(fd: int) -> tuple[str, str, str]:
    """Type, source and mount point of an open file's mount (proc(5): fdinfo, mountinfo).

    A mount of another namespace is not listed. It is "unknown", and the rest of the identity must be enough.
    """
    number = re.search(r"^mnt_id:\s*(\d+)", (_FDINFO / str(fd)).read_text(), re.MULTILINE)
    for line in _MOUNTS.read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        if number is not None and left.split(" ", 1)[0] == number[1]:
            fstype, source, *_ = right.split(" ")
            return fstype, source, left.split(" ")[4]
    return "unknown", "unknown", ""
