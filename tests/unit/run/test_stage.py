"""How far a job is: a line a tenth, and never two for the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from povwatch.run.stage import note_progress


@pytest.mark.parametrize("steps", [10, 35, 50, 700])
def test_each_tenth_is_said_once(steps):
    journal = SimpleNamespace(set_progress=lambda *_: None)
    store = SimpleNamespace(job=lambda _: None, journal=journal, clock=SimpleNamespace(wall=lambda: 0.0))
    run = SimpleNamespace(job=1, logged_tenths=0, noted_at=0.0, generating_since=0.0, expected=None)
    with capture_logs() as lines:
        for step in range(1, steps + 1):
            event = SimpleNamespace(fraction=step / steps, stage="x", chunk=0, chunks=1, step=step, steps=steps)
            note_progress(store, run, event, float(step))
    said = [int(line["percent"]) for line in lines if line["event"] == "progress"]
    assert [percent // 10 for percent in said] == list(range(1, 10))
