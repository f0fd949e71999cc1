"""Decides how many workers may load at the same time, so that the host has enough memory. Pure; memory is in bytes.

1. A load passes through the host's memory. It counts with the size of all its weights, though these move on to the GPU
part by part. How much the running loads have taken already is unknown, so that part is counted twice.
2. The first load never waits. If it has too little memory, it fails and says so itself.
3. A further load begins while there is memory for it and for all running loads; else when one of those is done.
"""

from __future__ import annotations

from povwatch.core.units import spell_size


def crowded(under_way: int, needs: int, available: int | None) -> str:
    """Why another load has to wait, as a sentence; empty if it need not.

    Args:
        under_way: Loads that are not done.
        needs: Memory of the host that a load may take; 0 if negligible.
        available: Free memory of the host. None if unknown: then the workers load one after the other.
    """
    if not under_way or not needs or (available is not None and available >= needs * (under_way + 1)):
        return ""
    others = "another worker loads" if under_way == 1 else f"{under_way} other workers load"
    there = f"{spell_size(available)} of the host's memory are" if available is not None else "nobody knows how much is"
    return f"It loads later: {others}, a load may take {spell_size(needs)}, and {there} free."
