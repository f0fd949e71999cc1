"""Ends a child when its parent dies. Python 3.10, standard library alone.

reaper.py has a copy of this, because it can import nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent dies, even while it is stopped or hangs in C code.

    The kernel acts when the parent's thread that started this process ends, so that thread has to outlive the process.

    Args:
        parent: The parent's process id. If the parent died before this call, the kernel does nothing, so this process
            ends here. A child that does not know the id has to notice in another way that its parent is gone.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
