"""For tests of rights: root may read everything, so as root a test takes on an ordinary user for a while."""

from __future__ import annotations

import contextlib
import os

NOBODY = 65534


@contextlib.contextmanager
def as_somebody_else():
    """Give the process an ordinary user's rights; no change if it has no others."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
