"""How many workers may load at a time, so that the host's memory holds. Pure; memory is in bytes.

1. A load goes through the host's memory: it is counted with the size of all its weights, though part by part they move
   on to the GPU. What the loads under way have taken already is counted once more: nobody knows it.
2. The first load is never kept waiting. If it fails for want of memory, it says so itself.
3. Another one begins while as much is available as it and those under way may take together; else when one is done.
"""

from __future__ import annotations

from povwatch.units import spell_size


def crowded(under_way: int, needs: int, available: int | None) -> str:
    """Why another load has to wait, as a sentence; empty if it need not.

    Args:
        under_way: loads that are not done.
        needs: memory of the host that a load may take; 0: none worth counting.
        available: memory of the host that can be had; None if nobody knows: then one after the other loads.
    """
    if not under_way or not needs or (available is not None and available >= needs * (under_way + 1)):
        return ""
    others = "another worker loads" if under_way == 1 else f"{under_way} other workers load"
    there = f"{spell_size(available)} of the host's memory are" if available is not None else "nobody knows how much is"
    return f"It loads later: {others}, a load may take {spell_size(needs)}, and {there} free."
