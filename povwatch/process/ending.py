"""Describes how a child ended. Pure; Python 3.10, standard library alone.

Why a child could not be started is in machine_faults.py.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LIKELY: Mapping[int, str] = {
    signal.SIGKILL: "often the kernel's out-of-memory killer: see journalctl -k",
    signal.SIGSEGV: "a crash in a library: its traceback is in the log",
    signal.SIGABRT: "a library gave up: its last words are in the log",
}
"""A signal to its most likely cause, for a child whose output is in the log."""


def describe_end(returncode: int, likely: Mapping[int, str] = LIKELY) -> str:
    """Describe a child's end in words that follow its name: "exited with status 1", "was killed by SIGKILL (...)".

    Args:
        returncode: Exit status; negative for a signal.
        likely: A signal's number to its most likely cause.
    """
    if returncode >= 0:
        return f"exited with status {returncode}"
    number = -returncode
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = f"signal {number}"
    return f"was killed by {name} ({likely[number]})" if number in likely else f"was killed by {name}"
