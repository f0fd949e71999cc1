"""For tests of rights: root may read everything, so as root a test becomes somebody else for a while."""

from __future__ import annotations

import contextlib
import os

NOBODY = 65534


@contextlib.contextmanager
def as_somebody_else():
    """Inside, the process has an ordinary user's rights. Nothing changes where it has no others anyway."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
