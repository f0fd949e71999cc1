"""A real excerpt, and files as cameras and tools leave them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.clips import audio_span, make_clip, read_numbers, read_times, upright_frames

from povwatch.engines.port import Context
from povwatch.engines.preview import PreviewEngine
from povwatch.media.check import check
from povwatch.media.finish import finish
from povwatch.media.prepare import prepare
from povwatch.media.probe import inspect
from povwatch.media.sound import sound

BUNNY = Path(__file__).parents[2] / "data" / "bigbuckbunny.mp4"


def remuxed(clip, out, format_, **options):
    """The clip's packets in another container."""
    with av.open(str(clip)) as source, av.open(str(out), "w", format=format_, options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out


def through(clip, kind="mp4"):
    info = inspect(str(clip), kind)
    assert info.complete, info.why
    ready = prepare(str(clip), info.to_json(), str(clip.parent / "work.mp4"))
    out = clip.parent / "out.mp4"
    finish(info.to_json(), ready.to_json(), ready.path, str(out))
    check(str(out), {"frames": ready.frames, "times": ready.times, "time_base": ready.time_base})
    return info, ready, out


def test_big_buck_bunny_through_the_preview(tmp_path):
    """A real clip goes all the way with all its frames, times and sound."""
    info = inspect(str(BUNNY), "mp4")
    assert (info.frames, info.rate, info.constant, info.audio) == (50, "25/1", True, "aac")
    ready = prepare(str(BUNNY), info.to_json(), str(tmp_path / "work.mp4"))
    assert ready.copied
    job = {
        "id": 1,
        "name": "bunny",
        "video": ready.path,
        "frames": ready.frames,
        "width": ready.width,
        "height": ready.height,
        "fps_num": ready.fps_num,
        "fps_den": ready.fps_den,
        "spec": {"edge": {"control_weight": 1.0}},
    }
    (tmp_path / "private").mkdir()
    made = PreviewEngine().generate(job, Context(str(tmp_path / "private"), str(tmp_path)))
    out = tmp_path / "out.mp4"
    heard = sound(str(BUNNY), info.to_json(), ready.to_json(), str(tmp_path / "sound.mp4"))
    assert heard.copied
    done = finish(info.to_json(), ready.to_json(), made["path"], str(out), sound=heard.path)
    assert (done.remuxed, done.sound) == (True, True)
    found = check(
        str(out),
        {"frames": 50, "width": 640, "height": 360, "rate": "25/1", "sound": True, "not_blank": True,
         "times": ready.times, "time_base": ready.time_base, "duration": 2.0},
    )  # fmt: skip
    assert found.contrast > 20
    assert audio_span(out) == pytest.approx(audio_span(BUNNY), abs=0.001)


def test_fragments_are_made_whole(tmp_path):
    """A fragmented MP4 comes out whole, and is not copied as it is."""
    plain = make_clip(tmp_path / "plain.mp4")
    clip = remuxed(plain, tmp_path / "a.mp4", "mp4", movflags="frag_keyframe+empty_moov")
    info, ready, out = through(clip)
    assert info.frames == 12
    assert not ready.copied, "its index does not tell how many frames there are"
    assert read_numbers(out) == list(range(12))


def test_single_frame(tmp_path):
    """A clip of one frame goes all the way."""
    clip = make_clip(tmp_path / "a.mp4", frames=1)
    info, ready, out = through(clip)
    assert (info.frames, ready.frames, ready.fps_num) == (1, 1, 30)
    assert read_numbers(out) == [0]


def test_default_one_of_two_videos(tmp_path):
    """Of two video streams the default one is taken."""
    small = make_clip(tmp_path / "small.mp4", frames=12, size=(48, 32), blank=True)
    large = make_clip(tmp_path / "large.mp4", frames=12)
    clip = tmp_path / "a.mkv"
    with av.open(str(small)) as one, av.open(str(large)) as two, av.open(str(clip), "w", format="matroska") as out:
        streams = [out.add_stream_from_template(c.streams.video[0]) for c in (one, two)]
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for source, stream in zip((one, two), streams, strict=True):
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    info, ready, out = through(clip, "matroska")
    assert (info.display_width, info.video_streams) == (96, 2)
    assert read_numbers(out) == list(range(12))
    assert not ready.copied


@pytest.mark.parametrize("bits", ["open-gop=1", "keyint=6:min-keyint=6:open-gop=1:bframes=3"])
def test_open_groups_of_pictures(tmp_path, bits):
    """HEVC with open groups of pictures keeps every frame."""
    hevc = {"x265-params": f"log-level=none:pools=none:frame-threads=1:{bits}", "preset": "ultrafast"}
    clip = make_clip(tmp_path / "a.mkv", frames=30, codec="libx265", options=hevc)
    _, ready, out = through(clip, "matroska")
    assert ready.frames == 30
    assert read_numbers(out) == list(range(30))


def test_xvid_with_b_frames_in_avi(tmp_path):
    """MPEG-4 with B-frames in AVI keeps every frame and its time."""
    clip = make_clip(tmp_path / "a.avi", frames=20, codec="mpeg4", options={"bf": "2", "qscale": "2"}, fps=25)
    info, ready, out = through(clip, "avi")
    assert info.frames == ready.frames == 20
    assert read_numbers(out) == list(range(20))
    assert read_times(out) == [Fraction(k, 25) for k in range(20)]


def test_damaged_packet_costs_its_own_frame(tmp_path):
    """What players show is what counts: source frame k is the k-th that decodes."""
    clip = make_clip(tmp_path / "a.avi", frames=20, codec="mjpeg", pix_fmt="yuvj420p", colour={"color_range": 2})
    data = bytearray(clip.read_bytes())
    starts = [k for k in range(len(data) - 3) if data[k : k + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 20
    data[starts[7] : starts[8] - 8] = bytes(starts[8] - 8 - starts[7])
    clip.write_bytes(data)
    info = inspect(str(clip), "avi")
    ready = prepare(str(clip), info.to_json(), str(tmp_path / "work.mp4"))
    assert (ready.frames, ready.damaged) == (19, 1)
    assert read_numbers(ready.path) == [k for k in range(20) if k != 7]
    out = tmp_path / "out.mp4"
    finish(info.to_json(), ready.to_json(), ready.path, str(out))
    assert read_times(out) == [Fraction(k, 30) for k in range(20) if k != 7]


def test_mirrored_pictures_are_made_upright(tmp_path):
    plain = make_clip(tmp_path / "plain.mp4", options={"crf": "4"})
    clip = tmp_path / "a.mp4"
    with av.open(str(plain)) as source, av.open(str(clip), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(0, hflip=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    info, ready, _ = through(clip)
    assert info.turn == "m"
    for ours, theirs in zip(upright_frames(ready.path), upright_frames(plain), strict=True):
        assert np.abs(ours.astype(int) - theirs[:, ::-1]).mean() < 3
