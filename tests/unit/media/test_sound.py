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
    made, out = come_out(beeping(tmp_path / name, codec, layout="stereo"))
    assert (made.copied, made.problem, made.changed) == (copied, "", "")
    in_step(out)


def test_speech_of_a_telephone(tmp_path):
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
def test_a_track_without_data_is_left_out_with_a_word(tmp_path, name, codec, options):
    made, out = come_out(beeping(tmp_path / name, codec, change=lambda _: [], options=options))
    assert made.audio is None
    assert made.problem == "" if name == "mic.mov" else "there is none" in made.problem  # MOV does not even announce it
    assert tracks(out) == 0
    assert read_numbers(out) == list(range(FRAMES))


@pytest.mark.parametrize("how", ["empty", "unknown", "damaged"])
def test_the_next_track_is_taken_where_the_first_has_no_sound(tmp_path, how):
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


def test_sound_of_an_unknown_codec_is_left_out_in_plain_words(tmp_path):
    clip = beeping(tmp_path / "a.mkv", "tta")
    clip.write_bytes(clip.read_bytes().replace(b"A_TTA1", b"A_ZZZ1"))
    made, out = come_out(clip)
    assert (made.audio, made.problem) == (None, "Its sound cannot be had: it has a codec that is unknown here.")
    assert tracks(out) == 0


def test_a_track_of_one_packet_is_kept(tmp_path):
    made, out = come_out(beeping(tmp_path / "a.mkv", "pcm_s16le", change=lambda packets: packets[12:13]))
    assert (made.audio, made.problem) == ("aac", "")
    in_step(out, [0.256])


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2", "aac", "libopus", "flac", "vorbis"])
def test_a_hole_stays_a_hole(tmp_path, codec):
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
def test_packets_that_are_stamped_in_bursts_are_played_one_after_the_other(tmp_path, codec, every):
    made, out = come_out(beeping(tmp_path / "a.mkv", codec, layout="stereo", change=bunched(every)))
    assert (made.audio, made.problem) == ("aac", "")
    in_step(out)


def test_a_hole_between_bursts_stays_a_hole(tmp_path):
    def change(packets):
        return bunched(0.2)(hole(0.6, 1.1)(packets))

    _, out = come_out(beeping(tmp_path / "a.mkv", "mp2", layout="stereo", change=change))
    assert onsets(out) == pytest.approx([0.25, 1.25, 1.75, 2.25], abs=0.025)


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30])
def test_samples_that_are_no_sound_cost_no_sound(tmp_path, codec, value):
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
def test_channels_in_an_order_of_their_own(tmp_path, layout, labels, result):
    made, out = come_out(labelled(tmp_path / "a.mov", layout, *labels))
    assert made.audio == "aac"
    assert ("16 channels" in made.changed) is (layout == "hexadecagonal")
    with av.open(str(out)) as container:
        assert container.streams.audio[0].layout.name == result
    in_step(out)


def test_an_order_of_its_own_is_put_right(tmp_path):
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
def test_more_than_eight_channels_are_mixed_down_and_that_is_said(tmp_path, name, layout):
    made, out = come_out(beeping(tmp_path / name, "pcm_s24le", layout=layout))
    assert (made.audio, made.problem) == ("aac", "")
    assert "mixed down" in made.changed
    in_step(out)


def test_ambisonic_sound_is_mixed_down_and_that_is_said(tmp_path):
    made, out = come_out(ambisonic(tmp_path / "a.mov"))
    assert "ambisonic" in made.changed
    in_step(out)


def test_ambisonic_sound_that_mp4_holds_is_copied(tmp_path):
    made, out = come_out(beeping(tmp_path / "a.mkv", "libopus", layout="ambisonic 1", mapping_family="2"))
    assert (made.audio, made.copied, made.problem) == ("opus", True, "")
    in_step(out)


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp2", "aac"])
@pytest.mark.parametrize("by", [0.7, -0.5])
def test_sound_may_begin_after_the_picture_or_before(tmp_path, codec, by):
    clip = beeping(tmp_path / "a.mov" if codec == "aac" else tmp_path / "a.mkv", codec, change=moved(by))
    _, out = come_out(clip)
    assert onsets(out) == pytest.approx(onsets(clip), abs=TOLERANCE)


def test_time_that_goes_back_loses_no_step(tmp_path):
    made, out = come_out(beeping(tmp_path / "a.mkv", "pcm_s16le", change=moved(-0.2, after=1.0)))
    assert made.problem == ""
    in_step(out, [0.25, 0.75, 1.05, 1.55, 2.05])


def test_sound_that_goes_on_a_day_later_does_not_make_a_day_of_silence(tmp_path):
    made, out = come_out(beeping(tmp_path / "a.mkv", "aac", change=moved(90_000.0, after=1.0)))
    assert "after the end of the picture" in made.changed
    in_step(out, [0.25, 0.75])
    assert out.stat().st_size < 2**20


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_sound_may_be_longer_than_the_picture_or_shorter(tmp_path, codec):
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
def test_damaged_packets_are_silent_and_the_rest_is_in_step(tmp_path, name, codec, which):
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


def test_sound_that_is_junk_from_end_to_end_costs_no_picture_and_is_said(tmp_path):
    made, out = come_out(spoil_wavpack(beeping(tmp_path / "a.mkv", "wavpack"), range(3)))
    assert made.audio is None
    assert made.problem
    assert read_numbers(out) == list(range(FRAMES))


def test_sound_of_which_nothing_decodes_is_left_out_with_a_word(tmp_path):
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


def test_a_child_that_dies_of_decoding_sound_costs_no_sound_that_can_be_copied(tmp_path, monkeypatch):
    dying(monkeypatch, "povwatch.media.sound.listened")
    made, file = make(beeping(tmp_path / "a.mp4", "aac"))
    assert (made.audio, made.copied) == ("aac", True)
    assert "SIGABRT" in made.changed
    in_step(file)


@pytest.mark.parametrize(
    ("where", "how", "told"),
    [
        ("povwatch.media.sound.listened", "os.abort()", "SIGABRT"),
        ("povwatch.media.sound.listened", "os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("povwatch.media.sound.opened", "os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("povwatch.media.sound.opened", "raise MemoryError", "memory"),
        ("povwatch.media.sound.opened", "raise KeyError('x')", "KeyError"),
    ],
)
def test_a_child_that_dies_of_sound_costs_the_sound_alone(tmp_path, monkeypatch, where, how, told):
    dying(monkeypatch, where, how)
    made, file = make(beeping(tmp_path / "a.mkv", "pcm_s16le"))
    assert (made.audio, made.path) == (None, None)
    assert told in made.problem
    assert not file.exists()


def test_a_full_disk_is_not_the_sound_s_doing(tmp_path, monkeypatch):
    dying(monkeypatch, "povwatch.media.encode.mp4", "raise OSError(28, 'No space left on device')")
    with pytest.raises(DiskFull):
        make(beeping(tmp_path / "a.mkv", "pcm_s16le"))
