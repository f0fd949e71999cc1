"""Files that are small and ask for a lot: each limit of the media children bites, and is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest
from support import hostile
from support.clips import make_clip
from support.daemons import Corner, Daemon

from povwatch.media.errors import STEPS, MediaError, TooLarge
from povwatch.media.run import PROBE, Limits, call

MEGABYTE = 2**20


def inspect(path, limits=PROBE):
    return call("inspect", {"path": str(path), "kind": "mp4"}, timeout=100, limits=limits)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """40 black pictures of 50 million pixels each: 2 GB of memory in 2 MB, and the decoder is at work for seconds."""
    return hostile.pictures(tmp_path_factory.mktemp("bomb") / "bomb.mov", *[hostile.png(8000, 6250)] * 40)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """The header and the first picture are small, the others of 225 million pixels each."""
    small, large = hostile.png(64, 48), hostile.png(15_000, 15_000)
    return hostile.pictures(tmp_path_factory.mktemp("grown") / "grown.mov", small, large, large)


def test_bombs_are_small(bomb, grown):
    """The files that these tests use are a thousandth of what they decode to."""
    assert bomb.stat().st_size < 40 * 8000 * 6250 / 900
    assert grown.stat().st_size < 2 * 15_000**2 / 900


@pytest.mark.parametrize("megabytes", [140, 170, 200, 260])
def test_limit_of_memory(bomb, megabytes):
    """Where no picture finds room, and where a decoder's thread does not: that is no broken file."""
    with pytest.raises(
        MediaError, match=r"Looking into the clip needed more memory than its limit of 0\.[123] GiB\."
    ) as caught:
        inspect(bomb, Limits(memory=megabytes * MEGABYTE))
    assert "too large for this machine's limits" in caught.value.todo


@pytest.mark.parametrize("megabytes", [240, 260])
@pytest.mark.parametrize(
    ("op", "file", "more"), [("check", "artifact", {"expectation": {}}), ("decode", "path", {"kind": "mp4"})]
)
def test_too_little_memory_for_a_check(bomb, op, file, more, megabytes):
    """Too little memory to check an artifact is not the artifact's fault."""
    with pytest.raises(MediaError, match=rf"{STEPS[op]} needed more memory than its limit of 0\.[23] GiB\."):
        call(op, {file: str(bomb), **more}, timeout=100, limits=Limits(memory=megabytes * MEGABYTE))


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("prlimit") is None, reason="becomes another user, which takes root"
)
@pytest.mark.parametrize("threads", [1, 2])
def test_no_room_for_a_thread(tmp_path, threads):
    """The thread that follows the parent is the second, a decoder's the third."""
    clip = make_clip(tmp_path / "a.mp4")
    may = "+dac_override,+dac_read_search"
    somebody = ["setpriv", "--reuid", "64998", "--clear-groups", f"--inh-caps={may}", f"--ambient-caps={may}"]
    limited = [*somebody, "prlimit", f"--nproc={threads}", "--"]
    with subprocess.Popen(
        [*limited, sys.executable, "-I", "-m", "povwatch.media.child", "inspect"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        limits = asdict(PROBE) | {"nice": 0}
        request = {"args": {"path": str(clip), "kind": "mp4"}, "limits": limits, "parent": os.getpid()}
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()  # and left open: its end tells the child that we are gone
        answer = child.stdout.read()
    fault = json.loads(answer.splitlines()[-1])["error"]
    assert fault["class"] == "NoProcess"
    assert "TasksMax" in fault["todo"]


def test_limit_of_processor_time(bomb):
    """A child that uses more processor time than its limit is stopped, and the limit is named."""
    with pytest.raises(MediaError, match="Looking into the clip used more than 1 s of processor time and was stopped"):
        inspect(bomb, Limits(cpu_seconds=1))


def test_limit_of_what_is_written(tmp_path):
    """A child that writes more than its limit is stopped, and the limit is named."""
    clip = make_clip(tmp_path / "a.mov", frames=60, size=(640, 360), codec="mpeg4", options={"qscale": "31"})
    info = inspect(clip)
    args = {"source": str(clip), "info": info, "out_path": str(tmp_path / "work.mp4")}
    with pytest.raises(MediaError, match="copy of the clip wrote more than its limit of 20000 bytes"):
        call("prepare", args, timeout=100, limits=Limits(file_bytes=20_000))
    assert (tmp_path / "work.mp4").stat().st_size <= 20_000


def test_larger_picture_is_never_decoded(grown):
    """800 MB of address space would not hold it: the decoder refuses before it asks for any."""
    with pytest.raises(TooLarge, match="holds a picture that the decoder refuses, as one of more than 67108864 pixels"):
        inspect(grown, Limits(memory=800 * MEGABYTE))


def test_declared_size_is_refused(tmp_path):
    """A file whose header declares too large a picture is refused by that."""
    large = hostile.pictures(tmp_path / "a.mov", hostile.png(15_000, 15_000))
    with pytest.raises(TooLarge, match="15000x15000"):
        inspect(large)


DISGUISED = {
    "a.mp4": (b"ffconcat version 1.0\nfile /etc/passwd\n", "a list of other files (ffconcat)"),
    "b.mkv": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a playlist (M3U8)"),
    "c.avi": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n", "a text file"),
    "d.mov": (b"file '/etc/passwd'\n" * 9, "a text file"),
    "e.webm": (b"<?xml version='1.0'?>\n<MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>\n", "an XML file"),
}


def test_what_people_are_told(tmp_path, grown):
    """Disguised and too large files are rejected with words in their error files, and a good clip comes in."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as daemon:
        here = Corner(daemon.start(), "told")
        here.copy(grown, "grown.mov")
        for name, (content, _) in DISGUISED.items():
            (here.inputs / name).write_bytes(content)
        for name, (_, words) in DISGUISED.items():
            here.wait_for("rejected", clip=name)
            assert words in (here.inputs / name).with_suffix(".error.txt").read_text()
        here.wait_for("rejected", clip="grown.mov")
        text = (here.inputs / "grown.error.txt").read_text()
        assert "grown.mov is rejected" in text
        assert "more than 67108864 pixels" in text
        assert "Export it again, all of it in one size." in text
        here.clip("good.mp4")
        here.wait_for("grace", clip="good.mp4")
