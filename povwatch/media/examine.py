"""Checks whether a container is whole.

A child does it, because a long or lying index takes longer than the daemon's loop may wait.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from povwatch import container
from povwatch.container import Kind, Report
from povwatch.core import machine_faults
from povwatch.media.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

TOO_LARGE = "Its index takes more memory than any video's does: it is damaged."


def examine(
    path: str,
    size: int,
    *,
    root: str | None = None,
    glance: bool = False,
    report: Callable[[float], None] = lambda _: None,  # noqa: ARG001 - every operation has it
) -> Report:
    """Walk through the container at `path`.

    Args:
        size: bytes of the file that count: those that were there when it was sampled.
        root: the folder that `path` is below, with no symlink on the way; see plain.plain.

    Raises:
        NotAVideo: the path is no plain file.
        SourceChanged: the file is gone.
        EnvironmentFault: the file cannot be read.
    """
    with plain(path, root) as fd:
        try:
            return container.examine(fd, size, glance=glance)
        except MemoryError:
            if not machine_faults.gives_memory(resource.getrlimit(resource.RLIMIT_AS)[0]):
                raise
            # run.EXAMINE leaves space for ten hours of video.
            return Report(Kind.UNKNOWN, complete=False, why=TOO_LARGE)
