"""What the tests of arrival share."""

from __future__ import annotations

import pytest
from support.arrivals import Arrivals


@pytest.fixture
def here(tmp_path):
    """The arrival stage of a daemon, with a clock in hand; it has met no bug in the end."""
    made = Arrivals(tmp_path)
    yield made
    made.close()
    made.no_bug()
