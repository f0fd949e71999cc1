"""Names of files as people and cameras make them."""

from __future__ import annotations

import json
import os

import pytest
from support.clips import make_clip
from support.daemons import Daemon

from povwatch.core.layout import shown
from povwatch.core.lookup import find
from povwatch.journal import open_reader


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov") as daemon:
        yield daemon


def test_two_clips_of_one_stem(here):
    """Of two clips with one stem the second is called by its full name, in inputs/ and in outputs/."""
    here.clip("a.mov")
    here.clip("a.mp4")
    here.clip("b.mp4")
    here.start()
    for name in ("a.mov", "a.mp4", "b.mp4"):
        here.wait_for("done", clip=name)
    assert sorted(path.name for path in here.inputs.glob("*.json")) == ["a.json", "a.mov.json", "b.json"]
    assert json.loads((here.inputs / "a.json").read_text())["video_path"] == "a.mp4"
    assert json.loads((here.inputs / "a.mov.json").read_text())["video_path"] == "a.mov"
    videos = [name for name in here.published() if name.endswith(".mp4")]
    assert videos == ["a.mov/a.mov_preview.mp4", "a/a_preview.mp4", "b/b_preview.mp4"]
    (said,) = here.events("base-chosen")
    assert said["clip"] == "a.mov"
    assert said["spec"] == "a.mov.json"
    assert "a is taken by a.mp4" in said["message"]


def test_markers_of_the_second_of_a_stem(here):
    """The second clip of a stem has its markers by its full name."""
    here.configure(grace={"period": "1h"})
    here.clip("a.mp4")
    here.start().wait_for("grace", clip="a.mp4")
    here.clip("a.mov")
    here.wait_for("grace", clip="a.mov")
    (here.inputs / "a.mov.go").touch()
    here.wait_for("done", clip="a.mov")
    assert here.peek("a.mp4")["state"] == "grace"


ODD = {
    "long": "l" * 251 + ".mp4",
    "long of many bytes": "é" * 125 + "x.mp4",
    "newline": "new\nline.mp4",
    "quotes": 'it\'s "so" `$(x)`.mp4',
    "emoji": "🙂 hands.mp4",
    "spaces": "  two  spaces .mp4",
    "dash": "-rf.mp4",
    "markup": "[red]a.mp4",
    "invalid utf-8": os.fsdecode(b"\xff\xfe\x80.mp4"),
    "escape": "\x1b[31mred.mp4",
    "percent": "100%{clip}.mp4",
    "json inside": "a.json.mp4",
}


def test_odd_names_come_out(here):
    """Clips with any bytes in their names come out, and log and jobs have one line each for them."""
    made = make_clip(here.folder / "made.mp4")
    here.configure(grace={"period": "100ms"})
    for name in ODD.values():
        os.link(made, here.inputs / name)
    here.start()
    here.wait_for("done", count=len(ODD))
    assert len([name for name in here.published() if name.endswith(".mp4")]) == len(ODD)
    assert len({line["clip"] for line in here.events("done")}) == len(ODD)
    for line in here.text().encode("utf-8", "surrogateescape").splitlines():
        said = json.loads(line.decode("utf-8"))  # one line is one event, and all of it is UTF-8
        assert said.get("message", said["event"]).isprintable()
    jobs = here.jobs()
    assert {job["state"] for job in jobs} == {"done"}
    assert {bytes.fromhex(job["clip_hex"]) for job in jobs} == set(map(os.fsencode, ODD.values()))
    assert here.call("jobs").returncode == 0
    clips = [job["clip"] for job in jobs if not job["clip"].startswith("-")]
    with open_reader(here.state) as reader:
        paths = list(reader.known())
    assert [find(paths, clip) for clip in clips] == [[path] for path in map(os.fsencode, map(as_stored, clips))]
    assert here.show(clips[0])["clip"] == clips[0]


def as_stored(clip):
    """The file name that is shown as `clip`."""
    (found,) = [name for name in ODD.values() if shown(os.fsencode(name)) == clip]
    return found
