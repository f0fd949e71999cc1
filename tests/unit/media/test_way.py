"""Frame k in is frame k out, whatever the clip: inspect, prepare, finish and check in turn."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.clips import audio_span, make_clip, read_numbers, read_times, upright_frames

from povwatch.media.check import check
from povwatch.media.finish import finish
from povwatch.media.info import Expectation, Finished, Prepared, VideoInfo
from povwatch.media.prepare import prepare
from povwatch.media.probe import inspect
from povwatch.media.sound import sound

if TYPE_CHECKING:
    from pathlib import Path

N = 12
NTSC = Fraction(30_000, 1001)
FILM = Fraction(24_000, 1001)
VFR = [0, 3000, 5003, 9100, 12_000, 15_010, 18_000, 20_000, 24_950, 27_000, 33_000, 36_001]
HEVC = {"x265-params": "log-level=none:pools=none:frame-threads=1", "preset": "ultrafast"}
VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "crf": "20"}}
KINDS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}

CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("a.mp4", {}),
    "upper-case suffix": ("A.MP4", {}),
    "b-frames": ("a.mp4", {"options": {"bf": "3", "b-adapt": "0", "crf": "16"}}),
    "23.976": ("a.mp4", {"fps": FILM}),
    "29.97": ("a.mp4", {"fps": NTSC}),
    "29.97 quicktime": ("a.mov", {"fps": NTSC}),
    "variable rate": ("a.mp4", {"times": VFR, "time_base": Fraction(1, 90_000), "fps": 30}),
    "variable rate with b-frames": (
        "a.mp4",
        {"times": VFR, "time_base": Fraction(1, 90_000), "options": {"bf": "2", "crf": "16"}},
    ),
    "variable rate in mkv": (
        "a.mkv",
        {"times": [t // 90 for t in VFR], "time_base": Fraction(1, 1000)},
    ),
    "late start": (
        "a.mp4",
        {"times": [4500 + 3000 * k for k in range(N)], "time_base": Fraction(1, 90_000), "fps": 30},
    ),
    "late start off the millisecond": (
        "a.mkv",
        {"times": [67 + round(k * 1001 / 30) for k in range(N)], "time_base": Fraction(1, 1000), "fps": NTSC},
    ),
    "late start at a variable rate": (
        "a.mkv",
        {"times": [13 + t // 90 for t in VFR], "time_base": Fraction(1, 1000)},
    ),
    "turned 90": ("a.mp4", {"rotation": 90}),
    "turned 180": ("a.mov", {"rotation": 180}),
    "turned 270": ("a.mp4", {"rotation": 270}),
    "turned and odd": ("a.mp4", {"rotation": 90, "size": (101, 75), "pix_fmt": "yuv444p"}),
    "odd": ("a.mkv", {"size": (101, 75), "pix_fmt": "yuv444p", "fps": NTSC}),
    "odd 4:2:0": ("a.webm", {"size": (101, 75), **VP9}),
    "odd 4:2:0 turned": ("a.mp4", {"size": (101, 75), "rotation": 90, **VP9}),
    "odd width": ("a.mp4", {"size": (101, 76), "pix_fmt": "yuv444p"}),
    "10 bit h264": ("a.mp4", {"pix_fmt": "yuv420p10le"}),
    "10 bit hevc": ("a.mov", {"pix_fmt": "yuv420p10le", "codec": "libx265", "options": HEVC}),
    "full range": ("a.mp4", {"pix_fmt": "yuvj420p", "colour": {"color_range": 2}}),
    "4:2:2": ("a.mp4", {"pix_fmt": "yuv422p"}),
    "mkv 29.97 upper case": ("a.MKV", {"fps": NTSC}),
    "webm": ("a.webm", VP9),
    "webm vp8": ("a.webm", {"codec": "libvpx", "options": {"deadline": "realtime", "auto-alt-ref": "1"}}),
    "avi mpeg4": ("a.avi", {"codec": "mpeg4", "options": {"qscale": "2"}, "fps": NTSC}),
    "avi h264 b-frames": ("a.avi", {"fps": NTSC}),
    "avi mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "colour": {"color_range": 2}}),
    "wide pixels": ("a.mp4", {"sample_aspect": Fraction(4, 3)}),
    "slow": ("a.mp4", {"fps": Fraction(1, 2)}),
}


def go(clip: Path, **wishes: Any) -> tuple[VideoInfo, Prepared, Finished, Path]:
    folder = clip.parent
    info = inspect(str(clip), KINDS[clip.suffix.lower()])
    ready = prepare(str(clip), info.to_json(), str(folder / "work.mp4"))
    out = folder / "out.mp4"
    generated = wishes.pop("generated", ready.path)
    heard = sound(str(clip), info.to_json(), ready.to_json(), str(folder / "sound.mp4"))
    done = finish(info.to_json(), ready.to_json(), str(generated), str(out), sound=heard.path, **wishes)
    return info, ready, done, out


def expected(info: VideoInfo, ready: Prepared, **changes: Any) -> dict[str, Any]:
    return {
        **Expectation(
            frames=ready.frames,
            width=info.display_width,
            height=info.display_height,
            rate=ready.rate,
            constant=ready.constant,
            times=ready.times,
            time_base=ready.time_base,
            sound=info.audio is not None,
            not_blank=True,
            duration=info.duration,
        ).to_json(),
        **changes,
    }


@pytest.mark.parametrize(("name", "how"), CLIPS.values(), ids=list(CLIPS))
def test_frame_k_in_is_frame_k_out(tmp_path, name, how):
    """Every kind of clip keeps its frames, their order, size and times."""
    clip = make_clip(tmp_path / name, frames=N, **how)

    info, ready, _, out = go(clip)

    assert info.complete, info.why
    assert info.frames == ready.frames == N
    assert read_numbers(ready.path) == read_numbers(out) == list(range(N))
    size = how.get("size", (96, 64))
    assert (info.display_width, info.display_height) == size
    assert next(upright_frames(out)).shape == (size[1], size[0], 3)
    work = next(upright_frames(ready.path))
    assert (work.shape[1] % 2, work.shape[0] % 2) == (0, 0)
    found = check(str(out), expected(info, ready))
    assert found.max_time_error <= 0.5 * float(Fraction(ready.time_base))
    gaps = {b - a for a, b in pairwise(read_times(ready.path))}
    assert gaps == {Fraction(ready.fps_den, ready.fps_num)}, "the working copy has a constant rate"


@pytest.mark.parametrize("name", ["23.976", "29.97", "29.97 quicktime", "mkv 29.97 upper case", "avi h264 b-frames"])
def test_rational_rate_is_kept(tmp_path, name):
    """A rational rate is kept exactly."""
    file, how = CLIPS[name]
    info, ready, _, out = go(make_clip(tmp_path / file, frames=N, **how))
    assert info.constant
    assert info.fps == Fraction(ready.fps_num, ready.fps_den) == how["fps"]
    assert read_times(out) == [k / how["fps"] for k in range(N)], "exact, not rounded"


def test_variable_rate_is_put_back(tmp_path):
    """The result of a clip with a variable rate has the clip's times to the tick."""
    file, how = CLIPS["variable rate with b-frames"]
    info, ready, done, out = go(make_clip(tmp_path / file, frames=N, **how))
    assert not info.constant
    assert not ready.copied
    assert done.remuxed
    assert read_times(out) == [Fraction(t, 90_000) for t in VFR]


def test_generated_b_frames_lose_nothing(tmp_path):
    """A result with B-frames is retimed without encoding it again."""
    file, how = CLIPS["variable rate"]
    clip = make_clip(tmp_path / file, frames=N, **how)
    made = make_clip(tmp_path / "made.mp4", frames=N, fps=30, options={"bf": "3", "b-adapt": "0", "crf": "16"})
    _, _, done, out = go(clip, generated=made)
    assert done.remuxed
    assert read_numbers(out) == list(range(N))
    assert read_times(out) == [Fraction(t, 90_000) for t in VFR]
    for ours, theirs in zip(upright_frames(out), upright_frames(made), strict=True):
        assert (ours == theirs).all()


def test_late_start_is_kept(tmp_path):
    """A first frame that is not at zero keeps its time."""
    file, how = CLIPS["late start"]
    _, _, _, out = go(make_clip(tmp_path / file, frames=N, **how))
    assert read_times(out)[0] == Fraction(1, 20)


def test_frames_before_zero_are_dropped(tmp_path):
    """An MP4 whose first frames lie before zero: players drop them, and so do we, everywhere alike."""
    clip = make_clip(
        tmp_path / "a.mp4", frames=N, times=[3000 * (k - 3) for k in range(N)], time_base=Fraction(1, 90_000)
    )
    info, ready, _, out = go(clip)
    assert info.frames == ready.frames == N - 3
    assert not ready.copied
    assert read_numbers(out) == list(range(3, N))
    assert read_times(out)[0] == 0


@pytest.mark.parametrize(
    ("name", "how", "copied"),
    [
        ("a.mp4", {}, True),
        ("a.mp4", {"fps": NTSC, "audio": "aac"}, True),
        ("a.mov", {}, False),
        ("a.mkv", {}, False),
        ("a.mp4", {"rotation": 90}, False),
        ("a.mp4", {"pix_fmt": "yuv422p"}, False),
        ("a.mp4", {"sample_aspect": Fraction(4, 3)}, False),
        ("a.mp4", {"times": VFR, "time_base": Fraction(1, 90_000)}, False),
        ("a.mp4", {"codec": "mpeg4"}, False),
    ],
)
def test_only_what_fits_is_copied(tmp_path, name, how, copied):
    """The working copy is the clip itself only where nothing has to be changed."""
    clip = make_clip(tmp_path / name, frames=N, **how)
    info = inspect(str(clip), KINDS[clip.suffix])
    ready = prepare(str(clip), info.to_json(), str(tmp_path / "work.mp4"))
    assert ready.copied is copied
    assert ((tmp_path / "work.mp4").read_bytes() == clip.read_bytes()) is copied


def test_pixel_shape_is_carried_over(tmp_path):
    """The result has the clip's pixel shape, and the working copy has square pixels."""
    import av  # noqa: PLC0415 - this test alone looks at it

    file, how = CLIPS["wide pixels"]
    _, ready, _, out = go(make_clip(tmp_path / file, frames=N, **how))
    with av.open(str(out)) as made, av.open(ready.path) as work:
        assert made.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert work.streams.video[0].sample_aspect_ratio in {None, 1}


@pytest.mark.parametrize("rotation", [0, 90])
def test_colours_survive_in_any_matrix(tmp_path, rotation):
    """The same picture in BT.709, BT.601, full range and 10 bit is the same picture in the working copy."""
    ways = {
        "709": {"colour": {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}},
        "601": {"colour": {"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 1}},
        "full": {"colour": {"colorspace": 1, "color_range": 2}, "pix_fmt": "yuv420p"},
        "10 bit": {"colour": {"colorspace": 1, "color_range": 1}, "pix_fmt": "yuv420p10le"},
    }
    seen = {}
    for name, how in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        clip = make_clip(
            folder / "a.mov", frames=2, rotation=rotation, options={"crf": "1", "preset": "ultrafast"}, **how
        )
        _, ready, _, _ = go(clip)
        seen[name] = next(upright_frames(ready.path)).astype(int)
    for name, picture in seen.items():
        assert abs(picture - seen["709"]).mean() < 2, name


@pytest.mark.parametrize(
    ("name", "audio", "copied", "codec"),
    [
        ("a.mp4", "aac", True, "aac"),
        ("a.mov", "pcm_s16le", False, "aac"),
        ("a.mkv", "libopus", True, "opus"),
        ("a.mkv", "flac", True, "flac"),
        ("a.mkv", "ac3", True, "ac3"),
        ("a.avi", "libmp3lame", True, "mp3"),
        ("a.avi", "pcm_s16le", False, "aac"),
    ],
)
def test_sound_is_carried_over(tmp_path, name, audio, copied, codec):
    """Sound comes out over the same time, copied where MP4 holds it."""
    clip = make_clip(tmp_path / name, frames=30, audio=audio, times=None)
    info, ready, done, out = go(clip)
    assert done.sound
    made = sound(str(clip), info.to_json(), ready.to_json(), str(tmp_path / "sound.mp4"))
    assert (made.copied, made.problem, made.changed) == (copied, "", "")
    found = check(str(out), expected(info, ready))
    assert found.audio.removeprefix("lib").removesuffix("float") == codec
    before, after = audio_span(clip), audio_span(out)
    assert after == pytest.approx(before, abs=0.03)


@pytest.mark.parametrize(("name", "audio"), [("a.mov", "pcm_s16le"), ("a.mp4", "aac")])
def test_offset_of_the_sound_is_kept(tmp_path, name, audio):
    clip = make_clip(tmp_path / name, frames=30, audio=audio, audio_start=0.4)
    _, _, _, out = go(clip)
    assert audio_span(clip)[0] == pytest.approx(0.4, abs=0.03)
    assert audio_span(out)[0] == pytest.approx(audio_span(clip)[0], abs=0.03)


def test_first_frames_and_their_sound(tmp_path):
    """Where only the first frames are made, the sound ends with them."""
    clip = make_clip(tmp_path / "a.mp4", frames=30, audio="aac")
    made = make_clip(tmp_path / "made.mp4", frames=10)
    info, ready, done, out = go(clip, generated=made, frames=10)
    assert done.frames == 10
    assert read_numbers(out) == list(range(10))
    assert audio_span(out)[1] < 10 / 30 + 0.06
    check(str(out), expected(info, ready, frames=10, duration=10 / 30))


@pytest.mark.parametrize("size", [(192, 128), (48, 32)])
def test_another_size_is_scaled_back(tmp_path, size):
    """A result of another size is scaled to the clip's."""
    clip = make_clip(tmp_path / "a.mp4", frames=N)
    made = make_clip(tmp_path / "made.mp4", frames=N, size=size)
    info, ready, done, out = go(clip, generated=made)
    assert not done.remuxed
    assert read_numbers(out) == list(range(N))
    check(str(out), expected(info, ready))


def test_another_size_may_stay(tmp_path):
    """A result of another size keeps it where that is asked for."""
    clip = make_clip(tmp_path / "a.mp4", frames=N)
    made = make_clip(tmp_path / "made.mp4", frames=N, size=(48, 32))
    info, ready, done, out = go(clip, generated=made, keep_size=True)
    assert (done.width, done.height) == (48, 32)
    assert done.remuxed
    check(str(out), expected(info, ready, width=48, height=32))


def test_panels_are_cut_one_by_one(tmp_path):
    """Panels side by side are cut to the clip's size one by one."""
    clip = make_clip(tmp_path / "a.mp4", frames=N, size=(101, 75), pix_fmt="yuv444p")
    made = make_clip(tmp_path / "made.mp4", frames=N, size=(204, 76))
    info, ready, done, out = go(clip, generated=made, panels=2)
    assert (done.width, done.height) == (202, 75)
    assert read_numbers(out) == list(range(N))
    check(str(out), expected(info, ready, panels=2))
