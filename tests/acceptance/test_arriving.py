"""How clips come in, and what a user sees of it."""

from __future__ import annotations

import os
import re
import shutil

import pytest
from support.clips import make_clip, read_numbers
from support.daemons import Corner, Daemon


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("shared") / "pov", grace={"period": "1h"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, request.node.name)


@pytest.fixture
def alone(tmp_path):
    """A daemon of its own, not yet started."""
    with Daemon(tmp_path / "pov") as daemon:
        yield daemon


def test_every_way_to_put_a_clip_there(here):
    """A clip that is copied, moved, linked, written by rsync, or named in capitals is seen once and comes out."""
    made = make_clip(here.folder / "made.mp4")
    here.copy(made, "copied.mp4")
    shutil.copyfile(made, here.folder / "other.mp4")
    (here.folder / "other.mp4").rename(here.inputs / "moved.mp4")
    os.link(made, here.inputs / "linked.mp4")
    shutil.copyfile(made, here.inputs / ".rsync.mp4.Ab3xYz")
    (here.inputs / ".rsync.mp4.Ab3xYz").rename(here.inputs / "rsync.mp4")
    here.copy(made, "UPPER.MP4")
    names = ["copied.mp4", "moved.mp4", "linked.mp4", "rsync.mp4", "UPPER.MP4"]
    for name in names:
        here.wait_for("grace", clip=name)
        here.ask("go", name)
    for name in names:
        here.wait_for("done", clip=name)
    stems = sorted(name.split(".")[0] for name in names)
    assert here.published() == [f"{s}/{s}_preview.{end}" for s in stems for end in ("json", "mp4")]
    assert len(here.events("seen")) == len(names)
    assert read_numbers(here.outputs / "moved/moved_preview.mp4") == list(range(12))


def test_clip_there_before_the_start(alone):
    """A clip that was there before the start comes out."""
    alone.clip("a.mp4")
    assert alone.start().wait_for("done")["clip"] == "a.mp4"


def test_moved_folder_keeps_its_structure(alone):
    """A folder that is moved in is looked through at once, and outputs/ has the same folders."""
    aside = alone.folder / "aside"
    (aside / "kitchen" / "morning").mkdir(parents=True)
    make_clip(aside / "kitchen" / "a.mp4")
    make_clip(aside / "kitchen" / "morning" / "a.mp4")
    alone.configure(arrival={"settle": "200ms", "rescan": "1h"})
    alone.start()
    alone.wait_for("engine-ready")
    (aside / "kitchen").rename(alone.inputs / "kitchen")
    for name in ("kitchen/a.mp4", "kitchen/morning/a.mp4"):
        alone.wait_for("done", clip=name)
    assert [name for name in alone.published() if name.endswith(".mp4")] == [
        "kitchen/a/a_preview.mp4",
        "kitchen/morning/a/a_preview.mp4",
    ]
    assert (alone.inputs / "kitchen" / "morning" / "a.json").is_file()


def test_slow_copy_delays_nobody(here):
    """A slow copy reports how much has arrived and costs no attempt; other clips do not wait for it."""
    data = make_clip(here.folder / "made.mp4", frames=60, size=(320, 240)).read_bytes()
    with (here.inputs / "slow.mp4").open("wb", buffering=0) as file:
        written = 0
        for number, share in enumerate((0.15, 0.45, 0.8), 1):
            upto = int(len(data) * share)
            file.write(data[written:upto])
            written = upto
            here.wait_for("arriving", clip="slow.mp4", count=number)
        here.clip("fast.mp4")
        here.wait_for("grace", clip="fast.mp4")
        file.write(data[written:])
        here.wait_state("slow.mp4", "arriving", waiting_on="writer-open")
    here.wait_for("grace", clip="slow.mp4")
    percent = [int(line["percent"].removesuffix(" %")) for line in here.events("arriving", clip="slow.mp4")]
    for line in here.events("arriving", clip="slow.mp4"):
        assert re.search(r"arriving, [\d.]+ kB is here, about \d+ %$", line["message"])
    assert percent == [pytest.approx(15, abs=10), pytest.approx(45, abs=10), pytest.approx(80, abs=10)]
    assert here.peek("slow.mp4")["attempts"] == 0


def test_partial_file_holds_a_clip_back(alone):
    """A clip waits as long as a partial file of the same name lies beside it, and why names that file."""
    alone.configure(grace={"period": "100ms"})
    alone.clip("a.mp4")
    (alone.inputs / "a.mp4.part").write_bytes(b"more of it")
    alone.start()
    waits = alone.wait_state("a.mp4", "arriving", waiting_on="incomplete")
    assert "a.mp4.part" in waits["detail"]
    assert "a.mp4.part" in alone.call("why", "a.mp4").stdout
    (alone.inputs / "a.mp4.part").unlink()
    alone.wait_for("done", clip="a.mp4")


def test_killed_rsync_waits_for_the_rest(here):
    """A clip of which half has arrived waits without an attempt, and goes on when it is complete."""
    data = make_clip(here.folder / "made.mp4", frames=60, size=(320, 240)).read_bytes()
    half = here.folder / "half.mp4"
    half.write_bytes(data[: len(data) // 2])
    os.utime(half, (0, 0))
    half.rename(here.inputs / "a.mp4")
    waits = here.wait_state("a.mp4", "arriving", waiting_on="incomplete")
    assert 40 <= int(re.search(r"(\d+) %", waits["detail"])[1]) <= 60
    assert "incomplete" in here.call("why", "a.mp4").stdout
    whole = here.folder / "whole.mp4"
    whole.write_bytes(data)
    os.utime(whole, (0, 0))
    whole.rename(here.inputs / "a.mp4")
    here.wait_for("grace", clip="a.mp4")
    assert here.peek("a.mp4")["attempts"] == 0


def test_other_files_are_left_alone(here):
    """Hidden files, backups, partial downloads, texts, and what lies in .done or @eaDir are no clips."""
    made = make_clip(here.folder / "made.mp4")
    for name in (".hidden.mp4", "~a.mp4", "a.mp4~", "b.mp4.crdownload", "notes.txt", ".done/c.mp4", "@eaDir/d.mp4"):
        here.copy(made, name)
    here.clip("real.mp4")
    here.wait_for("grace", clip="real.mp4")
    assert len(here.events("seen")) == 1
