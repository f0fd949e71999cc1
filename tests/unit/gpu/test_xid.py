"""The fault table of the driver's errors."""

from __future__ import annotations

import pytest

from povwatch.gpu.xid import Verdict, meaning


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        ((13, 31, 43), Verdict.REPLACE),
        ((48, 94, 95, 119), Verdict.SUSPECT),
        ((79,), Verdict.LOST),
        ((45, 63, 92, 9999), Verdict.NOTE),
    ],
)
def test_each_xid_has_its_verdict(codes, verdict) -> None:
    assert {meaning(code).verdict for code in codes} == {verdict}


def test_action_is_explained() -> None:
    """Every Xid that needs a person says what to do."""
    assert all(meaning(code).todo for code in (48, 79, 94, 95, 119))
