"""Disks that are full for real: small file systems for inputs/, outputs/ and the journal, each filled in its turn."""

from __future__ import annotations

import os

import pytest
from support.clips import make_clip
from support.disks import fill, small_disk
from support.waiting import Waiting, newest, sound

from povwatch.core.errors import JournalError
from povwatch.journal import Journal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts something, which takes root")

MB = 1_000_000


def put(here, name):
    """A clip into the disk of inputs/."""
    return here.copy(make_clip(here.folder / "made.mp4"), name)


def why(here, clip):
    return " ".join(here.call("why", clip).stdout.split())


def test_full_disks_cost_nothing(tmp_path):
    """A full disk under inputs/, outputs/ or the journal is waited for and charges no attempt."""
    with (
        Waiting(tmp_path / "pov", disk={"reserve": "8MB"}) as here,
        small_disk(here.inputs, 1),
        small_disk(here.outputs, 16),
        small_disk(here.state, 16),
    ):
        # The journal's: nothing is claimed.
        filler = fill(here.state, 11 * MB)
        here.start()
        put(here, "a.mp4")
        assert str(here.state) in here.wait_for("disk-full")["message"]
        here.until(lambda: (job := newest(here)) and job.waiting_on == "disk-full")
        assert f"{here.state} has less room left than disk.reserve" in why(here, "a.mp4")
        filler.unlink()
        here.wait_for("disk-room")
        here.until(lambda: here.runs)
        # The one of outputs/, when the result is there: it is not finished, and not generated again.
        filler = fill(here.outputs, 11 * MB)
        here.let_go()
        assert str(here.outputs) in here.wait_for("check-later")["message"]
        assert (newest(here).state, newest(here).waiting_on) == ("checking", "disk-full")
        assert "less room left" in why(here, "a.mp4")
        assert here.published() == [".filler"]
        filler.unlink()
        here.wait_for("done", clip="a.mp4")
        # The one of inputs/: no JSON can be written.
        made = put(here, "b.mp4")
        filler = fill(here.inputs)
        here.until(lambda: (job := newest(here, b"b.mp4")) and job.waiting_on == "disk-full")
        assert "space" in newest(here, b"b.mp4").detail
        assert not made.with_suffix(".json").exists()
        filler.unlink()
        here.wait_for("done", clip="b.mp4")
        assert made.with_suffix(".json").exists()
        assert here.stop() == 0
        assert here.runs == [1, 2]
        assert [newest(here, clip).attempts for clip in (b"a.mp4", b"b.mp4")] == [1, 1]
        assert not [line for line in here.events() if line["event"] in {"retry", "failed", "released"}]
        sound(here)


@pytest.mark.skipif(
    not os.environ.get("POVWATCH_TEST_ALL"), reason="waits 30 s for the next attempt; with POVWATCH_TEST_ALL=1 it runs"
)
def test_disk_full_under_the_engine(tmp_path):
    """A disk that runs full under the engine gives the attempt back."""
    with Waiting(tmp_path / "pov", disk={"reserve": "1B"}) as here, small_disk(here.outputs, 8):
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        filler = fill(here.outputs)
        here.let_go()
        here.wait_for("released")
        assert (newest(here).state, newest(here).waiting_on, newest(here).attempts) == ("queued", "disk-full", 0)
        filler.unlink()
        here.wait_for("done", patience=90)
        assert here.stop() == 0
        assert newest(here).attempts == 1
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        sound(here)


@pytest.mark.parametrize("when", ["waits", "generates"])
def test_full_journal_costs_nothing(tmp_path, when):
    """While the journal cannot be written, nothing is lost or charged, and the worker lives on."""
    with Waiting(tmp_path / "pov", disk={"reserve": "1B"}) as here, small_disk(here.state, 16):
        here.start()
        here.wait_for("engine-ready")
        if when == "generates":
            here.clip("a.mp4")
            here.until(lambda: here.runs)
        filler = fill(here.state)
        here.let_go()
        if when == "waits":
            here.clip("a.mp4")
        full = here.wait_for("journal-full")
        assert str(here.state) in full["message"]
        assert here.published() == []
        assert here.call("status").returncode == 0
        assert here.running
        filler.unlink()
        here.wait_for("done", clip="a.mp4")
        assert here.stop() == 0
        # What was generated while the journal could not be written is used; the worker was not even ended.
        assert (here.runs, newest(here).attempts, newest(here).crashes) == ([1], 1, 0)
        assert [len(here.events(name)) for name in ("journal-full", "journal-back", "engine-ready")] == [1, 1, 1]
        assert not [line for line in here.events() if line["event"] in {"retry", "failed", "released", "worker-lost"}]
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        sound(here)


@pytest.mark.parametrize("first", [True, False])
def test_start_waits_for_room_in_the_journal(tmp_path, first):
    """A start with a full disk under the journal waits for room, with a new journal and with an old one."""
    with Waiting(tmp_path / "pov", disk={"reserve": "1B"}) as here, small_disk(here.state, 16):
        here.let_go()
        clips = ["a.mp4"]
        if not first:
            clips.append("b.mp4")
            here.start()
            here.clip("b.mp4")
            here.wait_for("done", clip="b.mp4")
            assert here.stop() == 0
        filler = fill(here.state)
        here.start(watching=False)
        here.wait_for("journal-full")
        here.clip("a.mp4")
        filler.unlink()
        here.wait_for("done", clip="a.mp4")
        assert here.stop() == 0
        assert [newest(here, clip.encode()).attempts for clip in clips] == [1] * len(clips)
        assert len(here.events("journal-full")) == len(here.events("journal-back")) == 1
        sound(here)


def test_stop_while_the_journal_is_full(tmp_path):
    """A stop ends the daemon at once, and the next start goes on without a second charge."""
    with Waiting(tmp_path / "pov", disk={"reserve": "1B"}) as here, small_disk(here.state, 16):
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        filler = fill(here.state)
        here.let_go()
        here.wait_for("journal-full")
        assert here.stop() == 0
        filler.unlink()
        here.start()
        here.wait_for("done", clip="a.mp4")
        assert here.stop() == 0
        assert newest(here).attempts == 1
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        sound(here)


def test_full_journal_is_not_called_damaged(tmp_path):
    """The error of a journal on a full disk asks for room, not for a rebuild."""
    state = tmp_path / "state"
    with small_disk(state, 1):
        Journal.open(state).close()
        filler = fill(state)
        with pytest.raises(JournalError, match="Make room") as full:
            Journal.open(state)
        assert "rebuild" not in str(full.value)
        filler.unlink()
        Journal.open(state).close()
