"""Clips that every player plays though some packets are damaged, or their last seekable point does not help."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from support import made_containers
from support.clips import read_times
from support.daemons import Corner, Daemon
from support.damaged import HEVC, LONG, SHORT, cut_front, drop_box, from_the_front, noisy, remuxed, spoil

if TYPE_CHECKING:
    from pathlib import Path

N = 40
REFRESH = {"x264-params": "intra-refresh=1:keyint=10:bframes=0", "preset": "fast"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("shared") / "pov", engine={"kind": "preview"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, "".join(c if c.isalnum() else "_" for c in request.node.name))


def result(here, stem="a"):
    """The published video of a clip, and its manifest."""
    video = here.outputs / stem / f"{stem}_preview.mp4"
    return video, json.loads(video.with_suffix(".json").read_text())


def is_as_decoded(clip, video):
    """The result has as many frames as a decoder shows, at the same times."""
    theirs = sorted(from_the_front(clip)[1])
    shift = min(theirs[0], 0)
    ours = read_times(video)
    assert len(ours) == len(theirs)
    assert [float(time) for time in ours] == pytest.approx([float(time - shift) for time in theirs], abs=0.0006)


def no_mark(_, packet):
    packet.is_keyframe = False
    return packet


def tail_of_intra_refresh(folder: Path) -> Path:
    whole = noisy(folder / "whole.mkv", N, options=REFRESH)
    return remuxed(whole, folder / "made.mp4", lambda number, packet: packet if number >= 15 else None)


UNHARMED = {
    "cut h264": lambda folder: cut_front(noisy(folder / "whole.mp4", N, options=LONG), folder / "made.mp4", 1),
    "cut hevc": lambda folder: cut_front(
        noisy(folder / "whole.mov", N, codec="libx265", options=HEVC), folder / "made.mov", Fraction(1, 2)
    ),
    "intra refresh": lambda folder: noisy(folder / "made.mp4", N, options=REFRESH),
    "no key marks": lambda folder: remuxed(noisy(folder / "whole.mkv", N, options=LONG), folder / "made.mkv", no_mark),
    "no list of key frames": lambda folder: drop_box(noisy(folder / "made.mp4", N, options=LONG), b"stss"),
}


@pytest.mark.parametrize("kind", UNHARMED)
def test_unseekable_clips_come_out(here, kind):
    """A clip that cannot be seeked but decodes comes out whole, and nothing is said of damage."""
    made = UNHARMED[kind](here.folder)
    here.copy(made, f"a{made.suffix}")
    here.wait_for("done", clip=f"a{made.suffix}")
    video, manifest = result(here)
    is_as_decoded(made, video)
    assert "damaged" not in manifest
    assert not here.events("damaged")


def test_rest_of_an_intra_refresh(here):
    """No packet is a key frame: players wait until the picture has been renewed once, and show what follows."""
    made = tail_of_intra_refresh(here.folder)
    here.copy(made, "a.mp4")
    here.wait_for("done", clip="a.mp4")
    video, manifest = result(here)
    is_as_decoded(made, video)
    shown = len(read_times(video))
    assert 0 < shown <= N - 15
    assert manifest.get("damaged", {"lost": 0})["lost"] == N - 15 - shown


HURT = {
    "long group": lambda folder: spoil(noisy(folder / "made.mp4", N, options=LONG), 20),
    "short groups": lambda folder: spoil(noisy(folder / "made.mp4", N, options=SHORT), 15),
    "the very last packet": lambda folder: spoil(noisy(folder / "made.mp4", N, options=LONG), N - 1),
    "hevc": lambda folder: spoil(noisy(folder / "made.mov", N, codec="libx265", options=HEVC), 20),
    "vp9": lambda folder: spoil(
        noisy(folder / "made.webm", N, codec="libvpx-vp9", options={"deadline": "realtime", "g": "250"}), 20, 30
    ),
    "mjpeg in avi": lambda folder: spoil(
        noisy(folder / "made.avi", N, codec="mjpeg", pix_fmt="yuvj420p", colour={"color_range": 2}), 0, 7, 8
    ),
}


@pytest.mark.parametrize("kind", HURT)
def test_damage_costs_undecodable_frames(here, kind):
    """Only the frames that do not decode are missing; log, why, show and manifest say which, once."""
    made = HURT[kind](here.folder)
    name = f"a{made.suffix}"
    here.copy(made, name)
    here.wait_for("done", clip=name)
    video, manifest = result(here)
    if made.suffix != ".avi":
        is_as_decoded(made, video)
    lost = N - len(read_times(video))
    assert lost > 0
    assert manifest["damaged"]["lost"] == lost
    assert manifest["damaged"]["frames"] == N
    assert manifest["source"]["frames"] == manifest["output"]["frames"] == N - lost
    said = here.events("damaged", clip=name)
    assert len(said) == 1, "told once"
    words = f"{lost} of {N} frames could not be decoded and {'is' if lost == 1 else 'are'} left out: frame"
    assert words in said[0]["message"]
    for verb in ("why", "show"):
        assert words in " ".join(here.call(verb, name).stdout.split())
    shown = here.show(name)
    assert shown["damaged"].startswith(words)
    assert shown["source"]["damage"]["lost"] == lost
    assert not list(here.inputs.glob("*.error.txt"))


def test_report_tells_of_damage(tmp_path):
    """The report has the damage in every form, and a rebuilt journal still has it."""
    with Daemon(tmp_path / "pov", engine={"kind": "preview"}) as alone:
        alone.copy(spoil(noisy(tmp_path / "made.mp4", N, options=LONG), 20))
        alone.start().wait_for("done")
        words = f"1 of {N} frames could not be decoded and is left out: frame "
        text = alone.call("report").stdout
        assert "Came out, but" in text
        assert words in " ".join(text.split())
        files = [alone.folder / f"report.{kind}" for kind in ("json", "csv", "html", "md")]
        alone.call("report", *(word for file in files for word in ("--report", str(file))))
        assert json.loads(files[0].read_text())["clips"][0]["damage"].startswith(words)
        assert words.removesuffix("frame ") in files[1].read_text()
        assert "could not be decoded" in files[2].read_text()
        assert "could not be decoded" in files[3].read_text()
        alone.stop()
        for file in alone.state.glob("journal.sqlite3*"):
            file.unlink()
        assert alone.call("rebuild").returncode == 0
        assert alone.show("a.mp4")["damaged"].startswith(words), "the manifest has it"


def test_fragments_with_silent_sound(here):
    """Fragments with a muted microphone come out with all frames."""
    for name, options in (("a.mov", {"movflags": "frag_keyframe+empty_moov"}), ("b.mov", {})):
        film = made_containers.video("mov", sound="pcm_s16le", silent=True, **options)
        (here.inputs / name).write_bytes(film)
        here.wait_for("done", clip=name)
    assert len(read_times(result(here)[0])) == len(read_times(result(here, "b")[0])) == 24
