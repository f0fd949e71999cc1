"""Many workers on one queue, killed at random: every job is done once, and nobody is passed over."""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter

import pytest
from support.idle import attempts, gaps
from support.many_workers import ManyWorkers
from support.waiting import left_over, sound

ALL = "POVWATCH_TEST_ALL" in os.environ


@pytest.mark.parametrize(
    ("workers", "clips", "kills"),
    [
        (3, 12, 3),
        pytest.param(8, 200, 30, marks=pytest.mark.skipif(not ALL, reason="takes half a minute: POVWATCH_TEST_ALL=1")),
    ],
)
def test_every_job_once_none_passed_over(tmp_path, workers, clips, kills):
    """With workers killed at random, every job is done once and no free worker is passed over."""
    chance = random.Random(clips)  # noqa: S311 - no secret
    with ManyWorkers(tmp_path / "pov", workers, seconds=0.3) as here:
        names = here.fill(clips)
        here.start()
        for number in range(kills):
            here.until(lambda least=(number + 1) * clips // (kills + 1): len(here.runs) >= least)
            here.kill_somebody(chance)
        here.until(lambda: len(here.events("done")) == clips, patience=120)
        log = here.events()
        assert here.stop() == 0
        assert left_over(here.folder) == []
        sound(here)
        results = {f"{name.removesuffix('.mp4')}/{name.removesuffix('.mp4')}_preview.mp4" for name in names}
        assert {path for path in here.published() if path.endswith(".mp4")} == results

        with sqlite3.connect(f"file:{here.state / 'journal.sqlite3'}?mode=ro", uri=True) as db:
            ends = db.execute("SELECT job, event FROM job_events WHERE event IN ('generated', 'done')").fetchall()
        db.close()
        assert Counter(ends) == {(job, event): 1 for job in range(1, clips + 1) for event in ("generated", "done")}
        runs = Counter(room for room, _ in here.runs)
        assert set(runs.values()) == {1}, "a run is never begun twice"
        made = attempts(here.state)
        assert {attempt.worker for attempt in made} == set(range(1, workers + 1))
        assert sum(not attempt.generated for attempt in made) <= kills, "a death costs its own job alone"
        assert len(runs) <= clips + kills

        found = gaps(here.state, log)
        assert len(found) > clips / 2
        assert [gap for gap in found if gap.passed_over] == []
