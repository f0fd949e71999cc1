"""Opens a plain file without following a link."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core.errors import NotAVideo, SourceChanged
from povwatch.core.layout import shown
from povwatch.files.fs import closing, open_beneath

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def plain(path: str | bytes, root: str | None = None) -> Iterator[int]:
    """Open a plain file for reading: a descriptor, until the block ends.

    Args:
        path: the file. With a root, no component may be a symbolic link; without, the last one may not.
        root: the folder that the file is below.

    Raises:
        NotAVideo: the path is something else.
        SourceChanged: the file, or a folder on the way, is gone.
    """
    name = shown(os.fsencode(Path(os.fsdecode(path)).name))
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        if root is None:
            fd = os.open(path, flags)
        else:
            with closing(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
                fd = open_beneath(folder, os.fsencode(path), flags)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise SourceChanged(f"{name} is gone.") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotAVideo(f"{name} is a symbolic link.", "Put the video itself there.") from None
    with closing(fd):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotAVideo(
                f"{name} is no regular file but a folder, a pipe or a device.", "Put the video itself there."
            )
        yield fd
