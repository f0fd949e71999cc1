"""A stop, however it is asked for: quick, clean, and at no clip's cost."""

from __future__ import annotations

import signal
import time

import pytest
from support.daemons import toy
from support.waiting import Waiting, left_over, newest, sound

from povwatch.core.job import JobState

PAIR = ["a/a_preview.json", "a/a_preview.mp4"]


@pytest.fixture
def here(tmp_path):
    with Waiting(tmp_path / "pov") as daemon:
        yield daemon


def hears():
    """As a terminal leaves a program, whatever the tests are run from."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def deaf():
    """As nohup leaves it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_hands_the_running_clip_back(here, number):
    """A stop by any signal is quick, leaves no process and charges nothing; the next start goes on."""
    here.before = hears
    here.start()
    here.clip()
    here.until(lambda: here.runs)
    begun = time.monotonic()
    assert here.stop(number) == 0
    assert time.monotonic() - begun < 10
    assert left_over(here.folder) == []
    job = newest(here)
    assert (job.state, job.attempts, job.crashes) == (JobState.QUEUED, 0, 0)
    assert "nothing charged" in here.events("released")[-1]["message"]
    assert "1 clip(s) go on" in here.events("daemon-stopped")[-1]["message"]
    here.let_go()
    here.start()
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert here.peek("a.mp4")["attempts"] == 1
    sound(here)


def test_nohup_outlives_its_terminal(here):
    """Under nohup the daemon goes on when its terminal is closed."""
    here.before = deaf
    here.start()
    here.process.send_signal(signal.SIGHUP)
    here.let_go()
    here.clip()
    here.wait_for("done")
    here.stop()


def test_log_on_a_full_disk_costs_no_clip(here):
    here.wrapper = ["sh", "-c", 'exec "$@" >/dev/full 2>&1', "sh"]
    here.let_go()
    here.clip()
    here.start(watching=False)
    here.until(lambda: here.published() == PAIR)
    here.wait_state("a.mp4", "done")
    assert here.stop() == 0
    sound(here)


@pytest.mark.parametrize("name", ["hangs", "locks_the_interpreter"])
def test_deaf_engine_is_ended(here, name):
    """An engine that does not listen is ended within the time of a stop."""
    here.configure(engine={"kind": toy(name), "stall_timeout": "1h"})
    here.start()
    here.clip()
    here.wait_for("prepared")
    begun = time.monotonic()
    assert here.stop() == 0
    assert time.monotonic() - begun < 10
    assert left_over(here.folder) == []


def test_stop_while_preparing(here):
    """A stop while the working copy is made charges nothing and leaves no process."""
    here.start()
    here.clip("a.mkv", frames=250, size=(640, 360))
    here.wait_for("started")
    assert here.stop() == 0
    job = newest(here, b"a.mkv")
    assert (job.state, job.attempts, job.crashes) == (JobState.QUEUED, 0, 0)
    assert left_over(here.folder) == []
    sound(here)


def test_stops_while_checking_are_no_crashes(here):
    """Stops while a result is checked count as no crash and generate nothing again."""
    here.leave_unscored()
    here.let_go()
    here.clip("a.mkv", frames=250, size=(640, 360))
    here.start()
    here.wait_for("generated")
    for start in (1, 2, 3):
        assert here.stop() == 0
        assert newest(here, b"a.mkv").state is JobState.CHECKING
        here.start()
        here.wait_for("orphaned", count=start)
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert newest(here, b"a.mkv").crashes == 0
    assert len(here.runs) == 1
    sound(here)


def test_stop_before_anything_came(here):
    """A stop before any clip came is clean, and status says that no daemon runs."""
    here.start()
    assert here.stop() == 0
    assert left_over(here.folder) == []
    assert "no daemon" in here.call("status").stdout.lower()
