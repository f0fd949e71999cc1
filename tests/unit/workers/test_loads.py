"""Loads one after the other where the host's memory is short, and all at once where it is not."""

import pytest

from povwatch.workers.loads import crowded

GB = 10**9


@pytest.mark.parametrize(
    ("under_way", "needs", "available", "waits"),
    [
        (0, 36, 1, False),  # the first one is never kept waiting
        (1, 36, 71, True),
        (1, 36, 72, False),
        (3, 36, 143, True),
        (3, 36, 144, False),
        (1, 36, None, True),  # nobody knows: one after the other
        (7, 0, 0, False),  # an engine without weights
    ],
)
def test_load_begins_if_the_host_holds_it(under_way, needs, available, waits):
    """A load begins while the host has memory for it and for those under way."""
    found = crowded(under_way, needs * GB, None if available is None else available * GB)
    assert bool(found) is waits
    if waits:
        assert "a load may take 36 GB" in found
