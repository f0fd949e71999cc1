"""What is no video, or not yet one: named in words, the engine untouched, and put right by the right file."""

from __future__ import annotations

import os
import shutil
import stat

import av
import numpy as np
import pytest
from support.clips import make_clip
from support.daemons import Corner, Daemon

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n" % 7


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


@pytest.mark.parametrize("what", ["text", "sound", "lfs"])
def test_no_video_is_rejected_at_once(here, what):
    """What is no video is rejected with a reason, gets no JSON, and is taken in once a video replaces it."""
    clip = here.inputs / "a.mp4"
    if what == "sound":
        make_sound(here.folder / "made.mp4").rename(clip)
    else:
        clip.write_bytes(LFS if what == "lfs" else b"Dear diary, this is no video.\n" * 20)
    said = here.wait_for("rejected", clip="a.mp4")
    error = here.inputs / "a.error.txt"
    words = {"text": "text", "sound": "sound", "lfs": "git-lfs"}[what]
    assert words in said["message"]
    assert words in error.read_text()
    assert "a.error.txt" in said["message"]
    here.wait_state("a.mp4", "rejected")
    assert not here.events("started")
    assert not (here.inputs / "a.json").exists()
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    assert not error.exists()


def test_incomplete_files_wait(here):
    """Empty, cut off, zeroed and half written files wait without an attempt or an error file until they are whole."""
    data = make_clip(here.folder / "made.mp4", frames=60, size=(320, 240)).read_bytes()
    (here.inputs / "empty.mp4").touch()
    (here.folder / "cut").write_bytes(data[: len(data) * 3 // 4])
    (here.folder / "cut").rename(here.inputs / "cut.mp4")
    (here.inputs / "zeros.mp4").write_bytes(bytes(len(data)))
    half = len(data) // 2
    (here.inputs / "hole.mp4").write_bytes(data[:half] + bytes(len(data) - half))
    here.clip("good.mp4")
    for name in ("empty.mp4", "cut.mp4", "zeros.mp4", "hole.mp4"):
        job = here.wait_state(name, "arriving", waiting_on="incomplete")
        assert job["detail"], name
    arrived = here.wait_for("arriving", clip="cut.mp4")["percent"]  # 82.74: rounded down wherever it is told
    assert here.peek("cut.mp4")["detail"] == f"It is cut off. About {arrived} of it has arrived."
    for name in ("empty.mp4", "zeros.mp4"):
        assert not here.events("arriving", clip=name), "nobody knows how much has come"
    here.wait_for("grace", clip="good.mp4")
    assert list(here.inputs.glob("*.error.txt")) == []
    for name in ("empty.mp4", "cut.mp4", "zeros.mp4", "hole.mp4"):
        (here.inputs / name).write_bytes(data)
        here.wait_for("grace", clip=name)
        assert here.peek(name)["attempts"] == 0


def test_special_files_never_block(here):
    """FIFOs, sockets, and folders that are named like a clip hold nothing up."""
    os.mkfifo(here.inputs / "fifo.mp4")
    (here.inputs / "folder.mp4").mkdir()
    os.mknod(here.inputs / "socket.mp4", stat.S_IFSOCK | 0o600)
    here.clip("folder.mp4/inside.mp4")
    here.wait_for("grace", clip="folder.mp4/inside.mp4")
    os.mkfifo(here.inputs / "later.mp4")
    here.clip("real.mp4")
    here.wait_for("grace", clip="real.mp4")
    assert len(here.events("seen")) == 2


def test_links_are_rejected_or_ignored(here):
    """A link to a video is rejected with a way out; a dangling link and one to another file are ignored."""
    made = make_clip(here.folder / "elsewhere.mp4")
    (here.inputs / "link.mp4").symlink_to(made)
    (here.inputs / "dangling.mp4").symlink_to("/nowhere/at/all.mp4")
    (here.inputs / "text.mp4").symlink_to("/etc/hostname")
    said = here.wait_for("rejected", clip="link.mp4")
    assert "link" in said["problem"]
    assert "copy" in (here.inputs / "link.error.txt").read_text()
    assert {line["clip"] for line in here.events()} == {f"{here.name}/link.mp4"}
    (here.inputs / "link.mp4").unlink()
    here.copy(made, "link.mp4")
    here.wait_for("grace", clip="link.mp4")
    assert not (here.inputs / "link.error.txt").exists()
    assert list(here.inputs.glob("*.error.txt")) == []


def test_error_file_goes_with_its_clip(here):
    """The error file of a rejected clip is removed when the clip is deleted."""
    (here.inputs / "a.mp4").write_text("no video\n" * 30)
    here.wait_for("rejected", clip="a.mp4")
    error = here.inputs / "a.error.txt"
    assert error.exists()
    (here.inputs / "a.mp4").unlink()
    here.until(lambda: not error.exists(), "the error file goes")


def test_foreign_error_file_is_never_touched(here):
    """A file of somebody else that is named like an error file keeps its content."""
    theirs = here.inputs / "a.error.txt"
    theirs.write_text("my own notes")
    (here.inputs / "a.mp4").write_text("no video\n" * 30)
    here.wait_for("rejected", clip="a.mp4")
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    assert theirs.read_text() == "my own notes"


AS_ANYBODY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
"""Root without its right to read and write everything."""

root_only = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="makes files of another user, which takes root"
)


@root_only
def test_unreadable_clip_waits(alone):
    """A clip that may not be read waits with a reason and holds up no other; it runs once it may be read."""
    alone.wrapper = AS_ANYBODY
    clip = alone.clip("a.mp4")
    os.chown(clip, 65534, 65534)
    clip.chmod(0o600)
    alone.start()
    job = alone.wait_state("a.mp4", "arriving", waiting_on="incomplete")
    assert "cannot be read" in job["detail"]
    alone.clip("b.mp4")
    alone.wait_for("done", clip="b.mp4")
    clip.chmod(0o644)
    alone.wait_for("done", clip="a.mp4")


@root_only
def test_unwritable_folder_waits(alone):
    """A clip waits with a reason while its JSON may not be written, and runs once it may."""
    alone.wrapper = AS_ANYBODY
    os.chown(alone.inputs, 65534, 65534)
    alone.inputs.chmod(0o755)
    alone.clip("a.mp4")
    alone.start()
    job = alone.wait_state("a.mp4", "grace", waiting_on="inputs-refused")
    assert "a.json" in job["detail"]
    alone.inputs.chmod(0o777)
    alone.wait_for("done", clip="a.mp4")


@root_only
def test_error_file_is_written_later(alone):
    """An error file that cannot be written or removed now is dealt with once the folder allows it."""
    alone.wrapper = AS_ANYBODY
    os.chown(alone.inputs, 65534, 65534)
    alone.inputs.chmod(0o755)
    (alone.inputs / "a.mp4").write_text("no video\n" * 30)
    (alone.inputs / "gone.mp4").write_text("no video\n" * 30)
    error = alone.inputs / "a.error.txt"
    alone.start()
    for clip in ("a.mp4", "gone.mp4"):
        said = alone.wait_for("rejected", clip=clip)
        assert "See" not in said["message"]
    assert len(alone.events("error-files-later")) == 1
    assert "chmod g+w" in alone.events("error-files-later")[0]["problem"]
    alone.stop()
    assert not error.exists()
    (alone.inputs / "gone.mp4").unlink()
    alone.start()
    alone.inputs.chmod(0o777)
    alone.until(error.exists, "the error file is written")
    assert "a.mp4 is rejected" in error.read_text()
    assert not (alone.inputs / "gone.error.txt").exists()
    alone.inputs.chmod(0o755)
    alone.clip("a.mp4")
    alone.wait_state("a.mp4", "grace")
    assert error.exists()
    alone.inputs.chmod(0o777)
    alone.wait_for("done", clip="a.mp4")
    alone.until(lambda: not error.exists(), "the error file goes")


def make_sound(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for k in range(20):
            frame = av.AudioFrame.from_ndarray(np.full((1, 1024), 0.1, np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, k * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
