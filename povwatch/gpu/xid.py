"""Tells what an error that the driver reports (an Xid) means for the worker on that GPU. Pure.

The numbers are from NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What to do."""

    NOTE = "note"
    """Log it; the engine reports whether it did harm."""
    REPLACE = "replace"
    """The process is spoilt: kill it and charge its job, which probably caused the error."""
    SUSPECT = "suspect"
    """The memory or the firmware failed: kill the worker, charge nothing, look at the GPU before the next."""
    LOST = "lost"
    """The GPU is gone: kill the worker, charge nothing, wait until it is back."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A verdict and the error's name."""

    verdict: Verdict
    what: str
    todo: str = ""


_RESET = "If NVML asks for a reset: stop what uses the GPU, then sudo nvidia-smi --gpu-reset, or reboot."

KNOWN = {
    13: Meaning(Verdict.REPLACE, "graphics engine exception: the program did something that the GPU refuses"),
    31: Meaning(Verdict.REPLACE, "memory page fault: the program used an address that is not its own"),
    43: Meaning(Verdict.REPLACE, "the GPU stopped processing for the program"),
    45: Meaning(Verdict.NOTE, "the program's work was removed, as after a kill"),
    48: Meaning(Verdict.SUSPECT, "a memory error that ECC cannot correct", _RESET),
    63: Meaning(Verdict.NOTE, "a memory row was remapped"),
    64: Meaning(Verdict.SUSPECT, "a memory row could not be remapped", _RESET),
    74: Meaning(Verdict.SUSPECT, "an NVLink error", _RESET),
    79: Meaning(
        Verdict.LOST, "the GPU has fallen off the bus", "Reboot; if it comes again, look at power and cooling."
    ),
    92: Meaning(Verdict.NOTE, "many memory errors that ECC corrected"),
    94: Meaning(Verdict.SUSPECT, "a contained memory error", _RESET),
    95: Meaning(Verdict.SUSPECT, "an uncontained memory error", _RESET),
    119: Meaning(Verdict.SUSPECT, "the GPU's firmware (GSP) does not answer", _RESET),
    120: Meaning(Verdict.SUSPECT, "the GPU's firmware (GSP) failed", _RESET),
}


def meaning(code: int) -> Meaning:
    """The meaning of an Xid. An unknown Xid is noted."""
    return KNOWN.get(code, Meaning(Verdict.NOTE, "see NVIDIA's Xid catalogue"))
