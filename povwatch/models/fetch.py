"""Brings one file from the hub into the cache: resumed after a cut or a kill, and checked before it gets its name.

huggingface_hub starts a file anew when its process was killed, and checks only the size; a file here has five
gigabytes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from povwatch.core.command import command
from povwatch.core.errors import MachineError
from povwatch.files.fs import fsync_dir
from povwatch.models import hub
from povwatch.models.errors import ContentError, CutError, RoomError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from povwatch.models.hub import HubFile, Listing

PART = ".povwatch-part"
"""Suffix of a file that is not whole yet."""

ATTEMPTS = 5
"""Cuts in a row, without a byte between them, after which the network counts as down."""

PAUSE = 1.0
"""Seconds to wait after the first cut; doubled after each further one."""

SHA256_DIGITS = 64


def fetch(
    listing: Listing, file: HubFile, report: Callable[[int], None], stopped: Callable[[], bool] = lambda: False
) -> None:
    """Bring one file's bytes into the cache, under their digest; `hub.link` gives the file its name.

    Args:
        report: gets the number of further bytes that are here; negative when bytes turned out to be useless.
        stopped: asked now and then whether to give up.

    Raises:
        ContentError: the hub sends something else than it describes; nothing is kept.
        RoomError: the disk is full; what is here is kept.
        CutError: the connection broke repeatedly; what is here is kept.
        AccessError: we may not have the file.
        StoppedError: `stopped` said so; what is here is kept.
    """
    blob = blob_of(listing, file)
    if blob.exists():
        report(file.size)
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(blob.name + PART)
    with _translate_full_disk(part), _locked(part) as out:
        resumed = os.fstat(out.fileno()).st_size > 0
        digest = _complete(listing, file, out, report, stopped)
        if resumed and digest != file.digest:  # the bytes of an earlier run may be wrong
            report(-out.tell())
            out.seek(0)
            out.truncate()
            digest = _complete(listing, file, out, report, stopped)
        size = out.tell()
        if (size, digest) != (file.size, file.digest):
            report(-size)
            part.unlink()
            raise wrong(listing, file, size, digest)
        out.flush()
        os.fsync(out.fileno())
        part.rename(blob)
    folder = os.open(blob.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync_dir(folder)
    finally:
        os.close(folder)


def blob_of(listing: Listing, file: HubFile) -> Path:
    """Where the cache keeps a file's bytes."""
    return hub.store_of(listing.need) / "blobs" / file.digest


def size_here(listing: Listing, file: HubFile) -> int:
    """Bytes of a file that are here, whole or not."""
    blob = blob_of(listing, file)
    for path in (blob, blob.with_name(blob.name + PART)):
        if path.exists():
            return path.stat().st_size
    return 0


def digest_of(path: Path, file: HubFile, report: Callable[[int], None] = lambda _: None) -> str:
    """The digest of a file's bytes, by the method that the hub uses for this file."""
    hashing = _hashing(file)
    with path.open("rb") as source:
        while data := source.read(hub.CHUNK):
            hashing.update(data)
            report(len(data))
    return hashing.hexdigest()


def wrong(listing: Listing, file: HubFile, size: int, digest: str) -> ContentError:
    """The error for a file that differs from the hub's description."""
    found = f"{size} bytes instead of {file.size}" if size != file.size else f"{digest} instead of {file.digest}"
    return ContentError(
        f"{file.name} of {listing.need.repository} came with the wrong bytes: {found}.",
        f"It was thrown away. Run {command('prefetch')} again; if it stays so, ask who runs your proxy or mirror.",
    )


def _complete(
    listing: Listing, file: HubFile, out: BinaryIO, report: Callable[[int], None], stopped: Callable[[], bool]
) -> str:
    """Append the missing bytes; return the digest of the whole file. The file's position is its end."""
    hashing = _hashing(file)
    while data := out.read(hub.CHUNK):
        hashing.update(data)
        report(len(data))
    cuts = 0
    while out.tell() < file.size:
        start = out.tell()
        try:
            with hub.stream(listing, file, start) as (began, data_of):
                if began != start:
                    out.seek(0)
                    out.truncate()
                    hashing = _hashing(file)
                    report(-start)
                for data in data_of:
                    out.write(data)
                    hashing.update(data)
                    report(len(data))
                    _check_stopped(stopped)
            _check_whole(out.tell(), file)
        except CutError:
            cuts = cuts + 1 if out.tell() <= start else 1
            if cuts >= ATTEMPTS:
                raise
            _check_stopped(stopped)
            time.sleep(PAUSE * 2 ** (cuts - 1))
    return hashing.hexdigest()


def _check_stopped(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise StoppedError("Stopped.", f"What is here is kept: run {command('prefetch')} again to go on.")


def _check_whole(size: int, file: HubFile) -> None:
    if size < file.size:  # ended early without an error: counts as a cut
        raise CutError("The hub ended the connection too early.", f"Run {command('prefetch')} again.")


def _hashing(file: HubFile) -> hashlib._Hash:
    if len(file.digest) == SHA256_DIGITS:
        return hashlib.sha256()
    # git's id of a file: its kind and length stand before the bytes.
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """Open the unfinished file, locked for this process alone."""
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "r+b") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MachineError(
                "Another povwatch prefetch is fetching the same file.", "Wait until it is through."
            ) from error
        yield out


@contextmanager
def _translate_full_disk(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RoomError(
            f"The disk is full: {part.parent}.",
            f"Make room, or set HF_HOME to another disk; then run {command('prefetch')} again: it goes on.",
        ) from error
