"""Clips that every player plays, though their last seekable point does not help or some packets do not decode."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import pytest
from support.clips import make_clip, number_of, read_times, upright_frames
from support.damaged import HEVC, KINDS, LONG, SHORT, cut_front, drop_box, from_the_front, noisy, remuxed, spoil

from povwatch.core.errors import NotAVideo
from povwatch.media.check import check
from povwatch.media.damage import Damage, Tally, describe_damage
from povwatch.media.finish import finish
from povwatch.media.measure import measure
from povwatch.media.prepare import prepare
from povwatch.media.probe import glimpse, inspect

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.media.info import Prepared, VideoInfo

N = 40
VP8 = {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8", "g": "250", "auto-alt-ref": "1"}}
VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "250"}}
MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "colour": {"color_range": 2}}
MPEG4 = {"codec": "mpeg4", "options": {"qscale": "3", "g": "250"}}

HURT: dict[str, tuple[str, dict[str, Any]]] = {
    "h264": ("a.mp4", {"options": LONG}),
    "h264 without b-frames": ("a.mp4", {"options": {**LONG, "bf": "0"}}),
    "h264 in short groups": ("a.mp4", {"options": SHORT}),
    "h264 in mov": ("a.mov", {"options": LONG}),
    "h264 in mkv": ("a.mkv", {"options": LONG}),
    "hevc": ("a.mp4", {"codec": "libx265", "options": HEVC}),
    "hevc in mkv": ("a.mkv", {"codec": "libx265", "options": HEVC}),
    "mpeg4": ("a.mp4", MPEG4),
    "mpeg4 in avi": ("a.avi", MPEG4),
    "vp8": ("a.webm", VP8),
    "vp9": ("a.webm", VP9),
    "mjpeg": ("a.mp4", MJPEG),
    "mjpeg in avi": ("a.avi", MJPEG),
}


def through(clip: Path, **wishes: Any) -> tuple[VideoInfo, Prepared, Path]:
    """Inspect, prepare, finish, check; what was found must be the same at each step."""
    info = inspect(str(clip), KINDS[clip.suffix], **wishes)
    assert info.complete, info.why
    ready = prepare(str(clip), info.to_json(), str(clip.parent / "work.mp4"))
    out = clip.parent / "out.mp4"
    finish(info.to_json(), ready.to_json(), ready.path, str(out))
    found = check(
        str(out),
        {"frames": ready.frames, "times": ready.times, "time_base": ready.time_base, "rate": ready.rate,
         "constant": ready.constant},
    )  # fmt: skip
    assert found.frames == ready.frames
    return info, ready, out


def numbers(path: Path) -> list[int | None]:
    found: list[int | None] = []
    for picture in upright_frames(path):
        try:
            found.append(number_of(picture))
        except AssertionError:
            found.append(None)
    return found


def has_come_out(clip: Path, out: Path) -> None:
    """The result has the frames that a decoder shows, at their times."""
    seen, times = from_the_front(clip)
    assert len(numbers(out)) == len(seen)
    pairs = [(ours, theirs) for ours, theirs in zip(numbers(out), seen, strict=True) if theirs is not None]
    assert all(ours in {theirs, None} for ours, theirs in pairs)
    assert sum(ours == theirs for ours, theirs in pairs) >= len(pairs) - 3
    if clip.suffix == ".avi":
        assert [float(time) for time in read_times(out)] == pytest.approx([float(time) for time in times], abs=0.0001)
    else:
        shift = min(times[0], 0)
        assert [float(time) for time in read_times(out)] == pytest.approx(
            [float(time - shift) for time in sorted(times)], abs=0.0006
        )


@pytest.mark.parametrize(
    ("kind", "which"),
    [
        *((kind, which) for kind in HURT for which in ((N // 2,), (N - 1,))),
        *((kind, which) for kind in ("h264", "mpeg4 in avi", "vp9") for which in ((1,), (5, 6, 30), (N - 3, N - 1))),
    ],
)
def test_damage_costs_undecodable_frames(tmp_path, kind, which):
    """Only the frames that a decoder does not show are lost; they are counted and named."""
    name, how = HURT[kind]
    clip = spoil(noisy(tmp_path / name, N, **how), *which)
    info, ready, out = through(clip)
    has_come_out(clip, out)
    assert not ready.copied
    damage = Damage.from_json(ready.damage)
    assert damage.frames == N
    assert damage.lost == N - ready.frames
    assert damage.lost + damage.concealed >= 1
    assert info.damage in (None, ready.damage)
    named = [number for first, last, _, _ in damage.lost_at for number in range(int(first), int(last) + 1)]
    assert len(named) == damage.lost
    if clip.suffix != ".avi":
        shown = {round(time * 30) for time in from_the_front(clip)[1]}
        assert set(named) == set(range(N)) - shown


def test_first_packet_of_several_groups(tmp_path):
    """A damaged first packet costs its group of pictures, and the clip is complete."""
    clip = spoil(noisy(tmp_path / "a.mp4", N, options=SHORT), 0)
    info, ready, out = through(clip)
    has_come_out(clip, out)
    assert 0 < ready.frames < N
    assert ready.damage["lost_at"][0][0] == 0
    assert describe_damage(ready.damage).startswith(
        f"{N - ready.frames} of {N} frames could not be decoded and are left out"
    )
    assert info.complete


def test_damage_in_fragments(tmp_path):
    """Damage in fragments costs the damaged frames alone."""
    whole = noisy(tmp_path / "whole.mp4", N, options=LONG)
    clip = spoil(remuxed(whole, tmp_path / "a.mp4", movflags="frag_every_frame+empty_moov+default_base_moof"), 7, N - 1)
    _, ready, out = through(clip)
    has_come_out(clip, out)
    assert ready.damage["lost"] == 2


def test_clip_without_a_decoding_frame_waits(tmp_path):
    """A clip of which no frame decodes is incomplete, with that reason."""
    clip = spoil(noisy(tmp_path / "a.mp4", N, options=LONG), 0)
    info = inspect(str(clip), "mp4")
    assert (info.complete, info.why) == (False, "No frame of it can be decoded.")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, "zeros") for name in ("h264", "hevc", "mpeg4 in avi", "vp8", "vp9", "mjpeg", "mjpeg in avi")),
        *((name, "half") for name in ("h264", "mpeg4 in avi")),  # other decoders take the zeros for a picture
    ],
)
def test_packets_of_zeros_have_not_come(tmp_path, name, how):
    """A tail of packets that are zeros is incomplete, and the byte is named."""
    file, made = HURT[name]
    clip = spoil(noisy(tmp_path / file, N, **made), *range(N - 5, N), how=how)
    info = inspect(str(clip), KINDS[clip.suffix])
    assert not info.complete
    assert "only zeros at byte" in info.why


def test_one_packet_of_zeros_has_not_come(tmp_path):
    """One packet of zeros anywhere makes a clip incomplete."""
    clip = spoil(noisy(tmp_path / "a.mp4", N, options=SHORT), 3, how="zeros")
    info = inspect(str(clip), "mp4")
    assert not info.complete
    assert "only zeros at byte" in info.why


CODED: dict[str, dict[str, Any]] = {
    "h264": {"options": LONG},
    "h264 without b-frames": {"options": {**LONG, "bf": "0"}},
    "h264 in short groups": {"options": SHORT},
    "hevc": {"codec": "libx265", "options": HEVC},
    "mpeg4": MPEG4,
}


@pytest.mark.parametrize(
    ("coded", "suffix", "seconds"),
    [
        *(("h264", ".mp4", Fraction(k, 30)) for k in (1, 10, 20, 39)),
        *((coded, suffix, Fraction(20, 30)) for coded in CODED for suffix in (".mp4", ".mov")),
    ],
)
def test_cut_without_encoding(tmp_path, coded, suffix, seconds):
    """A clip that was cut without encoding has the frames that a decoder shows, and no damage."""
    whole = noisy(tmp_path / f"whole{suffix}", N, **CODED[coded])
    clip = cut_front(whole, tmp_path / f"a{suffix}", seconds)
    info, ready, out = through(clip)
    assert numbers(out) == from_the_front(clip)[0] == list(range(round(seconds * 30), N))
    assert info.frames == ready.frames
    assert info.damage is ready.damage is None


REFRESH = {"x264-params": "intra-refresh=1:keyint=10:bframes=0", "preset": "fast"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("first", [0, 15])
def test_intra_refresh(tmp_path, suffix, first):
    """One picture that decoding can start at, or none: after that the picture is renewed bit by bit."""
    whole = noisy(tmp_path / "whole.mkv", N, options=REFRESH)
    clip = remuxed(whole, tmp_path / f"a{suffix}", lambda number, packet: packet if number >= first else None)
    _, ready, out = through(clip)
    has_come_out(clip, out)
    assert ready.frames > 0


@pytest.mark.parametrize(
    ("suffix", "marked", "kind"),
    [
        *((suffix, marked, kind)
          for suffix in (".mp4", ".mov", ".mkv") for marked in (True, False) for kind in ("h264", "hevc", "mpeg4")),
        *((".avi", True, kind) for kind in ("h264", "mpeg4")),
    ],
)  # fmt: skip
def test_wrong_key_marks(tmp_path, suffix, marked, kind):
    """Every packet is called a key frame, or none."""
    how = {"h264": {"options": LONG}, "hevc": {"codec": "libx265", "options": HEVC}, "mpeg4": MPEG4}[kind]

    def mark(_, packet):
        packet.is_keyframe = marked
        return packet

    clip = remuxed(noisy(tmp_path / f"whole{suffix}", N, **how), tmp_path / f"a{suffix}", mark)
    _, ready, out = through(clip)
    assert numbers(out) == list(range(N))
    assert ready.damage is None


def test_missing_list_of_key_frames(tmp_path):
    """A clip without its list of key frames comes out whole, and no damage is told."""
    clip = drop_box(noisy(tmp_path / "a.mp4", N, options=LONG), b"stss")
    _, ready, out = through(clip)
    assert numbers(out) == list(range(N))
    assert ready.damage is None


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("first", [0, 9, 11])
def test_open_groups_that_begin_anywhere(tmp_path, codec, first):
    """A clip that begins in an open group has the frames that a decoder shows, in order."""
    params = "open-gop=1:keyint=10:min-keyint=10:bframes=3:scenecut=0"
    options = {"x264-params": params} if codec == "libx264" else {
        "x265-params": f"log-level=none:pools=none:frame-threads=1:{params}", "preset": "ultrafast"}  # fmt: skip
    whole = noisy(tmp_path / "whole.mp4", N, codec=codec, options=options)
    clip = remuxed(whole, tmp_path / "a.mkv", lambda number, packet: packet if number >= first else None)
    _, ready, out = through(clip)
    has_come_out(clip, out)
    assert not ready.copied or ready.frames == N - first
    shown = [number for number in numbers(out) if number is not None]
    assert (ready.damage or {"lost": 0})["lost"] in {0, N - first - ready.frames}
    assert shown == sorted(shown)


def test_leading_pictures_are_no_damage(tmp_path):
    """They refer to what comes before the clip: no player shows them."""
    params = "open-gop=1:keyint=10:min-keyint=10:bframes=3:scenecut=0:log-level=none:pools=none:frame-threads=1"
    options = {"x265-params": params, "preset": "ultrafast"}
    whole = noisy(tmp_path / "whole.mp4", N, codec="libx265", options=options)
    with av.open(str(whole)) as container:
        keys = [k for k, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    clip = remuxed(whole, tmp_path / "a.mkv", lambda number, packet: packet if number >= keys[1] else None)
    _, ready, out = through(clip)
    has_come_out(clip, out)
    assert ready.frames < N - keys[1]
    assert ready.damage is None
    assert numbers(out) == list(range(10, N))


def cut_off(tmp_path, share=0.7):
    """A faststart clip of which the end has not come."""
    whole = noisy(tmp_path / "whole.mp4", N, options=LONG)
    data = remuxed(whole, tmp_path / "a.mp4", movflags="faststart").read_bytes()
    clip = tmp_path / "a.mp4"
    clip.write_bytes(data[: int(len(data) * share)])
    return clip


def test_cut_off_clip_as_far_as_it_decodes(tmp_path):
    """Of a clip that is cut off, the first frames come out, and the rest is told as lost."""
    clip = cut_off(tmp_path)
    assert not inspect(str(clip), "mp4").complete
    assert glimpse(str(clip), "mp4").complete
    info, ready, out = through(clip, missing="It is cut off.")
    assert 0 < ready.frames < N
    assert numbers(out)[: ready.frames - 3] == list(range(ready.frames - 3))
    damage = Damage.from_json(ready.damage)
    assert info.damage == ready.damage
    assert (damage.frames, damage.lost, damage.missing) == (N, N - ready.frames, "It is cut off.")
    assert describe_damage(ready.damage).startswith(
        f"Part of the file is missing: It is cut off. {damage.lost} of {N} frames"
    )


def test_clip_around_a_gap_of_zeros(tmp_path):
    """Of a clip with a gap of zeros, all other frames come out, and the gap is told as lost."""
    clip = spoil(noisy(tmp_path / "a.mp4", N, options=SHORT), *range(12, 18), how="zeros")
    assert not inspect(str(clip), "mp4").complete
    _, ready, out = through(clip, missing="There are only zeros at byte 1.")
    has_come_out(clip, out)
    assert ready.damage["lost"] == N - ready.frames > 0


def test_damaged_control_video_is_refused(tmp_path):
    """Engines read it themselves, each in its own way."""
    spoil(noisy(tmp_path / "a.mp4", N, options=LONG), N // 2)
    with pytest.raises(NotAVideo, match=f"1 of {N} frames could not be decoded"):
        measure("a.mp4", "mp4", root=str(tmp_path))


def test_nothing_decodes_of_zeros(tmp_path):
    """A clip whose packets are all zeros has no frame that decodes."""
    clip = spoil(noisy(tmp_path / "a.mp4", N, options=LONG), *range(N), how="zeros")
    found = glimpse(str(clip), "mp4")
    assert (found.complete, found.why) == (False, "No frame of it can be decoded.")


def test_untouched_clip_takes_the_short_way(tmp_path, monkeypatch):
    """A healthy clip costs what it always did."""
    from povwatch.media import probe  # noqa: PLC0415 - this test alone looks inside

    monkeypatch.setattr(probe, "_from_the_front", lambda *_: pytest.fail("decoded from the front"))
    for name, how in HURT.values():
        clip = make_clip(tmp_path / name, frames=N, **how)
        assert inspect(str(clip), KINDS[clip.suffix]).complete


# -- which frames are lost


def tally(codec, promised, shown, failed=(), concealed=(), *, fields=False):
    found = Tally(codec)
    for moment in promised:
        found.packet(moment, b"\x10", 100)
    for moment in failed:
        found.fail(moment)
    for moment in shown:
        found.frame(moment, concealed=moment in concealed, interlaced=fields)
    return found


def test_missing_frame_is_lost():
    """A frame that was promised and does not come out is lost; lost and concealed frames are named."""
    found = tally("h264", [0, 3, 1, 2], [0, 1, 3], failed=[2], concealed=[3])
    damage = found.damage([0, 1, 3], Fraction(1, 10))
    assert damage == Damage(4, 1, [[2, 2, 0.2, 0.2]], 1, [[3, 3, 0.3, 0.3]])
    assert str(damage) == (
        "1 of 4 frames could not be decoded and is left out: frame 2 (0.2 s). "
        "In 1 of 4 frames the decoder concealed errors: frame 3 (0.3 s)."
    )


def test_leading_pictures_are_no_loss():
    """Leading pictures are no loss, but the clip is not clean for readers that count packets."""
    found = tally("hevc", [3, 1, 2, 4], [3, 4])
    assert found.damage([3, 4], Fraction(1, 10)) is None
    assert not found.clean, "readers that count packets would count them"
    assert tally("hevc", [3, 1, 2, 4], [3, 4], failed=[1]).lost() == [1]
    assert tally("hevc", [3, 1, 2, 4], [4]).lost() == [1, 2, 3]


def test_half_frames_are_no_loss():
    """Fields in packets of their own are no loss."""
    assert tally("h264", range(8), range(0, 8, 2), fields=True).clean
    assert not tally("h264", range(8), range(0, 8, 2)).clean


def test_packets_that_show_nothing():
    """Packets that show nothing are no loss, in VP8 and in MPEG-4."""
    found = Tally("vp8")
    for moment, head in enumerate((b"\x10", b"\x01", b"\x31")):
        found.packet(moment, head, 100)
    assert list(found.promised) == [0, 2]
    found = Tally("mpeg4")
    for moment, size in enumerate((500, 19, 20)):
        found.packet(moment, b"\0", size)
    assert list(found.promised) == [0, 2]


def test_only_the_first_runs_are_named():
    """Of many lost runs only the first are named, and all frames are counted."""
    found = tally("h264", range(100), range(0, 100, 2))
    damage = found.damage(list(range(0, 100, 2)), Fraction(1, 25))
    assert (damage.frames, damage.lost, len(damage.lost_at)) == (100, 50, 20)
    assert str(damage).endswith("9 (0.36 s) and more.")


def test_frames_beyond_the_end_are_lost():
    """Frames that the index lists beyond the end of the file are lost."""
    found = tally("h264", range(6), range(6))
    damage = found.damage(list(range(6)), Fraction(1, 2), beyond=4, missing="It is cut off.")
    assert (damage.frames, damage.lost, damage.lost_at) == (10, 4, [[6, 9, 2.5, 2.5]])
