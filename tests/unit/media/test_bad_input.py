"""What is no video, what is not all there, and what is too much."""

from __future__ import annotations

import hashlib
import os
import struct

import av
import numpy as np
import pytest
from support.clips import make_clip, read_numbers

from povwatch.core.errors import CheckFailed, NotAVideo, SourceChanged
from povwatch.media.check import check
from povwatch.media.errors import TooLarge
from povwatch.media.finish import finish
from povwatch.media.prepare import prepare
from povwatch.media.probe import inspect

N = 30


def sound_only(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cover_art_only(path):
    """Sound with a picture for its cover: a video stream by name alone."""
    picture = path.with_suffix(".png")
    with av.open(str(picture), "w", format="image2") as container:
        stream = container.add_stream("png", width=32, height=32, pix_fmt="rgb24", rate=1)
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
    made = sound_only(path.with_suffix(".tmp"))
    with av.open(str(made)) as sound, av.open(str(picture)) as art, av.open(str(path), "w", format="mp4") as out:
        tone = out.add_stream_from_template(sound.streams.audio[0])
        cover = out.add_stream_from_template(art.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in art.demux(video=0):
            if packet.size:
                packet.stream = cover
                out.mux(packet)
        for packet in sound.demux(audio=0):
            if packet.size:
                packet.stream = tone
                out.mux(packet)
    return path


def cut_open(path, share):
    """A faststart clip of which only the first part has arrived."""
    whole = make_clip(path.with_name("whole.mp4"), frames=N)
    data = bytearray(remuxed_faststart(whole))
    mdat = data.index(b"mdat") + 4
    path.write_bytes(data[: mdat + int((len(data) - mdat) * share)])
    return path


def remuxed_faststart(clip):
    out = clip.with_name("front.mp4")
    with av.open(str(clip)) as source, av.open(str(out), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    return data


def test_what_is_found_is_the_files_own(tmp_path):
    """inspect gives the file's own digest, size, codec, sound and duration."""
    clip = make_clip(tmp_path / "a.mp4", frames=N, audio="aac")
    info = inspect(str(clip), "mp4")
    assert info.complete
    assert info.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert info.size == clip.stat().st_size
    assert (info.codec, info.audio, info.depth) == ("h264", "aac", 8)
    assert info.duration == pytest.approx(1.0)


@pytest.mark.parametrize("make", [sound_only, cover_art_only])
def test_sound_is_no_video(tmp_path, make):
    """Sound, with a cover picture or without, is no video."""
    with pytest.raises(NotAVideo, match="sound but no video"):
        inspect(str(make(tmp_path / "a.mp4")), "mp4")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"just some text, not a video\n" * 50, "mp4"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "matroska"),
        (os.urandom(5000), "avi"),
        (b"", "mp4"),
    ],
)
def test_unknown_format_is_no_video(tmp_path, content, kind):
    """What the demuxer does not know is no video, and the file is named."""
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(NotAVideo, match=r"a\.mp4"):
        inspect(str(tmp_path / "a.mp4"), kind)


def test_playlist_opens_nothing(tmp_path):
    """A playlist is no video under any kind, and concat is no kind."""
    make_clip(tmp_path / "secret.mp4")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    for kind in ("mp4", "matroska", "avi"):
        with pytest.raises(NotAVideo):
            inspect(str(tmp_path / "a.mp4"), kind)
    with pytest.raises(NotAVideo, match="unknown kind, 'concat'"):
        inspect(str(tmp_path / "a.mp4"), "concat")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_clip_is_incomplete(tmp_path, share):
    """A clip that is cut is incomplete, with a reason."""
    info = inspect(str(cut_open(tmp_path / "a.mp4", share)), "mp4")
    assert not info.complete
    assert info.why


def test_emptied_tail_is_incomplete(tmp_path):
    """A clip whose end is zeros is incomplete, and the byte is named."""
    clip = make_clip(tmp_path / "a.mp4", frames=N, options={"g": "10", "crf": "16", "bf": "0"})
    data = bytearray(remuxed_faststart(clip))
    body = data.index(b"mdat") + 4
    keep = body + (len(data) - body) // 2
    data[keep:] = bytes(len(data) - keep)
    clip.write_bytes(data)
    info = inspect(str(clip), "mp4")
    assert not info.complete
    assert "only zeros at byte" in info.why


def test_missing_file_is_a_changed_source(tmp_path):
    with pytest.raises(SourceChanged, match="gone"):
        inspect(str(tmp_path / "a.mp4"), "mp4")


def test_special_files_are_not_opened(tmp_path):
    """Folders, links and pipes are refused, not opened."""
    make_clip(tmp_path / "real.mp4")
    (tmp_path / "link.mp4").symlink_to("real.mp4")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("folder.mp4", "pipe.mp4"):
        with pytest.raises(NotAVideo, match="regular"):
            inspect(str(tmp_path / name), "mp4")
    with pytest.raises(NotAVideo, match="link"):
        inspect(str(tmp_path / "link.mp4"), "mp4")


@pytest.mark.parametrize(
    ("bounds", "words"),
    [({"pixels": 1000}, "96x64"), ({"frames": 20}, "more than 20 frames"), ({"seconds": 0.5}, "lasts longer")],
)
def test_too_much_is_refused(tmp_path, bounds, words):
    """Too many pixels, frames or seconds are refused, and the bound is named."""
    clip = make_clip(tmp_path / "a.mp4", frames=N)
    with pytest.raises(TooLarge, match=words):
        inspect(str(clip), "mp4", bounds=bounds)


def test_names_of_any_bytes(tmp_path):
    """A file whose name is any bytes goes all the way."""
    clip = make_clip(tmp_path / "a.mp4")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/new\nline '\xff\xf0\x9f\x8e\xa5.mp4")
    clip.rename(odd)
    info = inspect(odd, "mp4")
    assert info.complete
    ready = prepare(odd, info.to_json(), str(tmp_path / "work.mp4"))
    finish(info.to_json(), ready.to_json(), ready.path, odd + ".out.mp4")
    assert len(read_numbers(ready.path)) == info.frames


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p"])
def test_changed_source_is_not_prepared(tmp_path, pix_fmt):
    """A source that changed since it was inspected is not prepared, and leaves no copy."""
    clip = make_clip(tmp_path / "a.mp4", frames=N, pix_fmt=pix_fmt)
    info = inspect(str(clip), "mp4")
    clip.write_bytes(clip.read_bytes() + struct.pack(">I4s", 8, b"free"))
    with pytest.raises(SourceChanged):
        prepare(str(clip), info.to_json(), str(tmp_path / "work.mp4"))
    assert not (tmp_path / "work.mp4").exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("kind", [".mp4", ".mov", ".mkv"])
def test_rewritten_source_is_no_bad_video(tmp_path, kind, share):
    """A source that somebody writes anew has changed: it is not called a bad video."""
    clip = make_clip(tmp_path / f"a{kind}", frames=N)
    info = inspect(str(clip), "matroska" if kind == ".mkv" else "mov")
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * share)])
    with pytest.raises(SourceChanged):
        prepare(str(clip), info.to_json(), str(tmp_path / "work.mp4"))
    assert not (tmp_path / "work.mp4").exists()


@pytest.mark.parametrize("made", [N - 1, N + 1])
@pytest.mark.parametrize("size", [(96, 64), (48, 32)])
def test_wrong_frame_count_is_not_finished(tmp_path, made, size):
    """A result with one frame more or less is refused, and leaves no file."""
    clip = make_clip(tmp_path / "a.mp4", frames=N)
    info = inspect(str(clip), "mp4")
    ready = prepare(str(clip), info.to_json(), str(tmp_path / "work.mp4"))
    generated = make_clip(tmp_path / "made.mp4", frames=made, size=size)
    with pytest.raises(CheckFailed, match=rf"made (29|31|more) frames instead of {N}"):
        finish(info.to_json(), ready.to_json(), str(generated), str(tmp_path / "out.mp4"))
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ({"frames": 31}, "30 frames instead of 31"),
        ({"width": 98}, "96 pixels of width instead of 98"),
        ({"width": 96, "panels": 2}, "96 pixels of width instead of 192"),
        ({"height": 66}, "64 pixels of height instead of 66"),
        ({"rate": "30000/1001"}, "30 frames a second instead of 30000/1001"),
        ({"rate": "25/1", "constant": False}, "30 frames a second instead of 25"),
        ({"duration": 2.0}, "lasts 1.000 s instead of 2.000 s"),
        ({"sound": True}, "no sound"),
    ],
)
def test_check_names_what_differs(tmp_path, expectation, words):
    clip = make_clip(tmp_path / "a.mp4", frames=N)
    with pytest.raises(CheckFailed, match=words):
        check(str(clip), expectation)


def test_check_compares_every_time(tmp_path):
    """The check compares every frame's time, and finds one that is off."""
    clip = make_clip(tmp_path / "a.mp4", frames=N)
    info = inspect(str(clip), "mp4")
    ready = prepare(str(clip), info.to_json(), str(tmp_path / "work.mp4"))
    asked = {"times": ready.times, "time_base": ready.time_base}
    assert check(str(clip), asked).max_time_error == 0
    ticks = np.fromfile(ready.times, "<i8")
    ticks[17] += 40
    ticks.tofile(ready.times)
    with pytest.raises(CheckFailed, match="off its source frame"):
        check(str(clip), asked)


def test_blank_is_refused_where_asked(tmp_path):
    """Blank frames are counted, the first are named, and a blank video is refused where that is asked."""
    black = make_clip(tmp_path / "a.mp4", frames=N, blank=True)
    found = check(str(black), {})
    assert (found.blank_count, found.blank[:3], len(found.blank)) == (N, [0, 1, 2], 20)
    with pytest.raises(CheckFailed, match=r"blank \(30 of 30: 0, 1, 2,"):
        check(str(black), {"not_blank": True})


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_cut_artifact_is_refused(tmp_path, share):
    with pytest.raises(CheckFailed):
        check(str(cut_open(tmp_path / "a.mp4", share)), {})


def test_damaged_artifact_is_refused(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=N, size=(192, 128), options={"crf": "4", "bf": "0"})
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 400] = os.urandom(400)
    clip.write_bytes(data)
    with pytest.raises(CheckFailed, match=r"decode|damaged"):
        check(str(clip), {})


def test_text_is_no_artifact(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(CheckFailed, match="no video"):
        check(str(tmp_path / "a.mp4"), {})
