"""Sound comes out where it can be had, in step; where it cannot it is left out with a word. Never does it raise."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from support.beeps import (
    BEEPS,
    FRAMES,
    ambisonic,
    beeping,
    bunched,
    hole,
    joined,
    labelled,
    moved,
    onsets,
    spoil,
    spoil_wavpack,
    two_tracks,
)
from support.clips import read_numbers

from povwatch.attempt import soundtrack
from povwatch.core.errors import DiskFull
from povwatch.media.finish import finish
from povwatch.media.prepare import prepare
from povwatch.media.probe import inspect
from povwatch.media.run import call
from povwatch.media.sound import sound
from povwatch.process import start

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.media.info import SoundTrack

KINDS = {".mp4": "mp4", ".mov": "mp4", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}

TOLERANCE = 0.02
"""Seconds: the detector's 5 ms, and the slack that timestamps have."""


def come_out(clip: Path) -> tuple[SoundTrack, Path]:
    """The clip through inspect, prepare, sound and finish; what is known of its sound, and the result."""
    info = inspect(str(clip), KINDS[clip.suffix]).to_json()
    ready = prepare(str(clip), info, str(clip.with_name("working.mp4")))
    made = sound(str(clip), info, ready.to_json(), str(clip.with_name("sound.mp4")))
    out = clip.with_name("out.mp4")
    finish(info, ready.to_json(), ready.path, str(out), sound=made.path)
    return made, out


def tracks(out):
    with av.open(str(out)) as container:
        return len(container.streams.audio)


def in_step(out, beeps=BEEPS):
    found = onsets(out)
    assert found == pytest.approx(beeps, abs=TOLERANCE), found


COPIED = [
    ("a.mp4", "aac"),
    ("a.mov", "alac"),
    ("a.mkv", "flac"),
    ("a.mkv", "ac3"),
    ("a.mkv", "eac3"),
    ("a.webm", "libopus"),
    ("a.mkv", "libmp3lame"),
]
ANEW = [
    ("a.mkv", "vorbis"),
    ("a.mkv", "mp2"),
    ("a.mov", "pcm_s24be"),
    ("a.mov", "pcm_f32le"),
    ("a.mov", "pcm_alaw"),
    ("a.mov", "pcm_mulaw"),
    ("a.avi", "adpcm_ms"),
    ("a.avi", "pcm_u8"),
    ("a.mp4", "pcm_s16le"),
    ("a.mkv", "pcm_f64le"),
    ("a.mkv", "wavpack"),
    ("a.mov", "adpcm_ima_qt"),
]


@pytest.mark.parametrize(
    ("name", "codec", "copied"), [*((*case, True) for case in COPIED), *((*case, False) for case in ANEW)]
)
def test_every_codec_comes_out_in_step(tmp_path, name, codec, copied):
    """Sound of every codec comes out in step, copied where MP4 holds it."""
    made, out = come_out(beeping(tmp_path / name, codec, layout="stereo"))
    assert (made.copied, made.problem, made.changed) == (copied, "", "")
    in_step(out)


def test_telephone_speech(tmp_path):
    """Speech at 8 kHz comes out in step, as AAC."""
    made, out = come_out(beeping(tmp_path / "a.mov", "libopencore_amrnb", hertz=8000))
    assert made.audio == "aac"
    in_step(out)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("mic.webm", "libopus", {}),
        ("mic.mkv", "pcm_s16le", {}),
        ("mic.avi", "libmp3lame", {}),
        ("mic.mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("mic.mov", "pcm_s16le", {}),
    ],
)
def test_track_without_data_is_left_out(tmp_path, name, codec, options):
    """A track without data is left out with a reason, and costs no frame."""
    made, out = come_out(beeping(tmp_path / name, codec, change=lambda _: [], options=options))
    assert made.audio is None
    assert made.problem == "" if name == "mic.mov" else "there is none" in made.problem  # MOV does not even announce it
    assert tracks(out) == 0
    assert read_numbers(out) == list(range(FRAMES))


@pytest.mark.parametrize("how", ["empty", "unknown", "damaged"])
def test_next_track_replaces_a_bad_first(tmp_path, how):
    """Where the first track has no sound the next one is taken, and that is said."""
    clip = two_tracks(tmp_path / "a.mkv", "tta", "pcm_s16le", empty=how == "empty")
    if how == "unknown":
        clip.write_bytes(clip.read_bytes().replace(b"A_TTA1", b"A_ZZZ1"))
    elif how == "damaged":
        with av.open(str(clip)) as container:
            bodies = [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]
        data = clip.read_bytes()
        for body in bodies:
            data = data.replace(body, b"\x5a" * len(body))
        clip.write_bytes(data)
    made, out = come_out(clip)
    assert (made.audio, made.problem) == ("aac", "")
    assert "Another track" in made.changed
    assert tracks(out) == 1
    in_step(out)


def test_unknown_codec_is_left_out(tmp_path):
    """Sound of an unknown codec is left out, in plain words."""
    clip = beeping(tmp_path / "a.mkv", "tta")
    clip.write_bytes(clip.read_bytes().replace(b"A_TTA1", b"A_ZZZ1"))
    made, out = come_out(clip)
    assert (made.audio, made.problem) == (None, "Its sound cannot be had: it has a codec that is unknown here.")
    assert tracks(out) == 0


def test_track_of_one_packet_is_kept(tmp_path):
    made, out = come_out(beeping(tmp_path / "a.mkv", "pcm_s16le", change=lambda packets: packets[12:13]))
    assert (made.audio, made.problem) == ("aac", "")
    in_step(out, [0.256])


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2", "aac", "libopus", "flac", "vorbis"])
def test_hole_stays_a_hole(tmp_path, codec):
    """Copied packets would be played one after the other: what has a hole is encoded anew, with silence in it."""
    made, out = come_out(beeping(tmp_path / "a.mkv", codec, layout="stereo", change=hole(0.6, 1.1)))
    assert (made.audio, made.copied) == ("aac", False)
    in_step(out, [0.25, 1.25, 1.75, 2.25])
    with av.open(str(out)) as container:
        frames = list(container.decode(audio=0))
    whole = sum(frame.samples for frame in frames) / frames[0].sample_rate
    assert whole == pytest.approx(float(frames[-1].pts * frames[-1].time_base) + 0.02, abs=0.05), "silence is sound too"


@pytest.mark.parametrize("codec", ["mp2", "aac", "libopus", "pcm_s16le"])
@pytest.mark.parametrize("every", [0.1, 0.2])
def test_bursts_are_played_in_turn(tmp_path, codec, every):
    """Packets that are stamped in bursts are played one after the other, in step."""
    made, out = come_out(beeping(tmp_path / "a.mkv", codec, layout="stereo", change=bunched(every)))
    assert (made.audio, made.problem) == ("aac", "")
    in_step(out)


def test_hole_between_bursts_stays_a_hole(tmp_path):
    def change(packets):
        return bunched(0.2)(hole(0.6, 1.1)(packets))

    _, out = come_out(beeping(tmp_path / "a.mkv", "mp2", layout="stereo", change=change))
    assert onsets(out) == pytest.approx([0.25, 1.25, 1.75, 2.25], abs=0.025)


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30])
def test_samples_that_are_no_sound(tmp_path, codec, value):
    """Samples that are no numbers, or far too large, cost no sound beside them."""
    clip = beeping(tmp_path / "a.mov", codec)
    with av.open(str(clip)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.audio[0]) if p.size]
    data = bytearray(clip.read_bytes())
    form = {"pcm_f32le": "<f", "pcm_f64le": "<d"}[codec]
    for at, _ in places[20:22]:  # about 0.45 s
        data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    clip.write_bytes(data)
    made, out = come_out(clip)
    assert (made.audio, made.problem, made.changed) == ("aac", "", "")
    with av.open(str(out)) as container:
        assert all(np.isfinite(frame.to_ndarray()).all() for frame in container.decode(audio=0))
    found = onsets(out)
    assert all(any(abs(beep - b) < TOLERANCE for b in found) for beep in BEEPS), found


FORMS = [
    ("mp2", [("stereo", 48_000), ("mono", 48_000), ("stereo", 48_000)]),
    ("mp2", [("mono", 32_000), ("stereo", 44_100), ("stereo", 48_000)]),
    ("libmp3lame", [("stereo", 48_000), ("mono", 48_000), ("stereo", 44_100)]),
    ("ac3", [("stereo", 48_000), ("5.1", 48_000), ("mono", 48_000)]),
    ("eac3", [("5.1", 48_000), ("stereo", 48_000), ("5.1", 48_000)]),
]


@pytest.mark.parametrize(("codec", "forms"), FORMS)
def test_sound_may_change_its_form(tmp_path, codec, forms):
    """Sound whose rate or channels change on the way comes out in step, with the most channels."""
    made, out = come_out(joined(tmp_path / "a.mkv", codec, forms))
    assert (made.audio, made.copied, made.problem) == ("aac", False, "")
    with av.open(str(out)) as container:
        most = max(av.AudioLayout(layout).nb_channels for layout, _ in forms)
        assert container.streams.audio[0].channels == most
    in_step(out, [0.25 + 0.5 * k for k in range(2 * len(forms))])


@pytest.mark.parametrize(
    ("layout", "labels", "result"),
    [
        ("stereo", (2, 1), "stereo"),
        ("5.1", (3, 1, 2, 5, 6, 4), "5.1"),
        ("stereo", (1, 1), "stereo"),
        ("hexadecagonal", tuple(65536 + n for n in range(16)), "stereo"),
        ("hexadecagonal", (), "stereo"),
    ],
)
def test_channels_in_their_own_order(tmp_path, layout, labels, result):
    """Channels in an order of the file's own come out in the result's layout; a mixdown is said."""
    made, out = come_out(labelled(tmp_path / "a.mov", layout, *labels))
    assert made.audio == "aac"
    assert ("16 channels" in made.changed) is (layout == "hexadecagonal")
    with av.open(str(out)) as container:
        assert container.streams.audio[0].layout.name == result
    in_step(out)


def test_own_channel_order_is_put_right(tmp_path):
    """Left and right are where they belong: the beeps are in the right channel alone, which is the first one."""
    clip = labelled(tmp_path / "a.mov", "stereo", 2, 1)
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams[1]) if p.size]
    for at, size in places:
        for k in range(at + 2, at + size, 4):
            data[k : k + 2] = b"\0\0"
    clip.write_bytes(data)
    _, out = come_out(clip)
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    loudest = [max(abs(frame[side]).max() for frame in frames) for side in (0, 1)]
    assert loudest[1] > 0.5
    assert loudest[0] < 0.02


@pytest.mark.parametrize(("name", "layout"), [("a.mkv", "10 channels"), ("a.mov", "22.2"), ("a.mp4", "22.2")])
def test_many_channels_are_mixed_down(tmp_path, name, layout):
    """More than eight channels are mixed down, and that is said."""
    made, out = come_out(beeping(tmp_path / name, "pcm_s24le", layout=layout))
    assert (made.audio, made.problem) == ("aac", "")
    assert "mixed down" in made.changed
    in_step(out)


def test_ambisonic_sound_is_mixed_down(tmp_path):
    """Ambisonic sound that MP4 cannot hold is mixed down, and that is said."""
    made, out = come_out(ambisonic(tmp_path / "a.mov"))
    assert "ambisonic" in made.changed
    in_step(out)


def test_ambisonic_opus_is_copied(tmp_path):
    """Ambisonic sound that MP4 holds is copied."""
    made, out = come_out(beeping(tmp_path / "a.mkv", "libopus", layout="ambisonic 1", mapping_family="2"))
    assert (made.audio, made.copied, made.problem) == ("opus", True, "")
    in_step(out)


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2", "aac"])
@pytest.mark.parametrize("by", [0.7, -0.5])
def test_sound_may_begin_before_or_after(tmp_path, codec, by):
    """Sound may begin before the picture or after it, and stays in step."""
    clip = beeping(tmp_path / "a.mov" if codec == "aac" else tmp_path / "a.mkv", codec, change=moved(by))
    _, out = come_out(clip)
    assert onsets(out) == pytest.approx(onsets(clip), abs=TOLERANCE)


def test_time_that_goes_back_stays_in_step(tmp_path):
    """Sound whose time goes back loses no step."""
    made, out = come_out(beeping(tmp_path / "a.mkv", "pcm_s16le", change=moved(-0.2, after=1.0)))
    assert made.problem == ""
    in_step(out, [0.25, 0.75, 1.05, 1.55, 2.05])


def test_sound_of_the_next_day_is_cut(tmp_path):
    """Sound that goes on a day later does not make a day of silence."""
    made, out = come_out(beeping(tmp_path / "a.mkv", "aac", change=moved(90_000.0, after=1.0)))
    assert "after the end of the picture" in made.changed
    in_step(out, [0.25, 0.75])
    assert out.stat().st_size < 2**20


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_sound_may_be_longer_or_shorter(tmp_path, codec):
    """Sound may be longer than the picture, or shorter."""
    _, out = come_out(beeping(tmp_path / "a.mov", codec, seconds=4.0))
    in_step(out, [0.25 + 0.5 * k for k in range(8)])
    _, out = come_out(beeping(tmp_path / "a.mov", codec, seconds=1.0))
    in_step(out, BEEPS[:2])


@pytest.mark.parametrize(
    ("name", "codec", "which"),
    [
        ("a.mp4", "ac3", range(11, 13)),
        ("a.mp4", "flac", range(4, 5)),
        ("a.mp4", "aac", range(18, 20)),
        ("a.mov", "mp2", range(15, 17)),
    ],
)
def test_damaged_packets_are_silent(tmp_path, name, codec, which):
    """Damaged packets are silent, and the rest stays in step."""
    made, out = come_out(spoil(beeping(tmp_path / name, codec), which))
    assert made.problem == ""
    found = onsets(out)
    assert all(any(abs(beep - b) < TOLERANCE for b in found) for beep in BEEPS if not 0.35 < beep < 0.6), found
    with av.open(str(out)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 0, "it decodes without an error"


@pytest.mark.parametrize("which", [range(1), range(1, 2), range(2, 3)])
def test_damaged_sound_costs_no_picture(tmp_path, which):
    """The Matroska demuxer goes on at the next cluster when it cannot parse a packet of a stream that it reads."""
    made, out = come_out(spoil_wavpack(beeping(tmp_path / "a.mkv", "wavpack"), which))
    assert made.audio == "aac" or made.problem
    assert read_numbers(out) == list(range(FRAMES))


def test_junk_sound_costs_no_picture(tmp_path):
    """Sound that is junk from end to end is left out with a reason, and costs no frame."""
    made, out = come_out(spoil_wavpack(beeping(tmp_path / "a.mkv", "wavpack"), range(3)))
    assert made.audio is None
    assert made.problem
    assert read_numbers(out) == list(range(FRAMES))


def test_undecodable_sound_is_left_out(tmp_path):
    """Sound of which nothing decodes is left out with a reason."""
    made, out = come_out(spoil(beeping(tmp_path / "a.mp4", "ac3"), range(75)))
    assert made.audio is None
    assert "nothing comes out" in made.problem
    assert tracks(out) == 0


# -- in children


def args(clip):
    info = call("inspect", {"path": str(clip), "kind": KINDS[clip.suffix]}, timeout=60)
    ready = call("prepare", {"source": str(clip), "info": info, "out_path": str(clip.parent / "w.mp4")}, timeout=60)
    return {"source": str(clip), "info": info, "prepared": ready}


def dying(monkeypatch, where, how="os.abort()"):
    """Media children die, for real, as soon as they come to a function."""
    module, name = where.rsplit(".", 1)
    program = (
        f"import os, signal, sys, {module} as m\nfrom povwatch.media import child\nif sys.argv[1] == 'sound':\n"
        f"    def dies(*_, **__): {how}\n    m.{name} = dies\nchild.main()"
    )
    started = start.subprocess.Popen

    def popen(command, **rest):
        return started([*command[:2], "-c", program, command[-1]], **rest)

    monkeypatch.setattr(start.subprocess, "Popen", popen)


def make(clip):
    (clip.parent / "room").mkdir()
    made = soundtrack.make(str(clip.parent / "room"), args(clip), 2.4, threading.Event())
    return made, clip.parent / "room" / soundtrack.NAME


def test_child_dies_of_copyable_sound(tmp_path, monkeypatch):
    """A child that dies of decoding costs no sound that can be copied."""
    dying(monkeypatch, "povwatch.media.sound.decode_sound")
    made, file = make(beeping(tmp_path / "a.mp4", "aac"))
    assert (made.audio, made.copied) == ("aac", True)
    assert "SIGABRT" in made.changed
    in_step(file)


@pytest.mark.parametrize(
    ("where", "how", "told"),
    [
        ("povwatch.media.sound.decode_sound", "os.abort()", "SIGABRT"),
        ("povwatch.media.sound.decode_sound", "os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("povwatch.media.sound.opened", "os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("povwatch.media.sound.opened", "raise MemoryError", "memory"),
        ("povwatch.media.sound.opened", "raise KeyError('x')", "KeyError"),
    ],
)
def test_child_dies_of_sound(tmp_path, monkeypatch, where, how, told):
    """A child that dies of the sound costs the sound alone, and the reason is told."""
    dying(monkeypatch, where, how)
    made, file = make(beeping(tmp_path / "a.mkv", "pcm_s16le"))
    assert (made.audio, made.path) == (None, None)
    assert told in made.problem
    assert not file.exists()


def test_full_disk_is_not_the_sounds_doing(tmp_path, monkeypatch):
    dying(monkeypatch, "povwatch.media.encode.mp4", "raise OSError(28, 'No space left on device')")
    with pytest.raises(DiskFull):
        make(beeping(tmp_path / "a.mkv", "pcm_s16le"))
