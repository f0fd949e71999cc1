"""Space that was reserved and not filled, and bytes that make no sense."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import made_containers as made
from support.examining import examine_bytes

from povwatch import container
from povwatch.container import Kind, examine, reader

FILMS = {
    "mp4": lambda: made.video(size=(320, 240)),
    "mp4 faststart": lambda: made.video(size=(320, 240), movflags="faststart"),
    "mp4 fragments": lambda: made.video(size=(320, 240), movflags="frag_keyframe+empty_moov"),
    "mkv": lambda: made.video("matroska", size=(320, 240)),
    "webm": lambda: made.video("webm", "libvpx", size=(320, 240)),
    "avi": lambda: made.video("avi", "mpeg4", size=(320, 240)),
}


@pytest.fixture(scope="module", params=FILMS)
def film(request):
    return FILMS[request.param]()


def test_zeros_are_incomplete(film):
    """A file of zeros is incomplete and of unknown kind."""
    report = examine_bytes(bytes(len(film)))
    assert (report.kind, report.complete, report.not_video) == (Kind.UNKNOWN, False, None)


@pytest.mark.parametrize("there", [0.3, 0.6, 0.9])
def test_preallocated_file_is_incomplete(film, there):
    """A file that was given its size first and is not filled yet is incomplete."""
    have = int(len(film) * there)
    report = examine_bytes(film[:have] + bytes(len(film) - have))
    assert not report.complete
    assert report.not_video is None


def test_zeros_in_the_middle_are_found(film):
    low = len(film) // 2
    report = examine_bytes(film[:low] + bytes(len(film) // 4) + film[low + len(film) // 4 :])
    assert not report.complete, report


def test_hole_is_found_without_reading(film, tmp_path):
    path = tmp_path / "clip"
    path.write_bytes(film)
    hole = (len(film) // 2 // 4096 * 4096, 4096 * 8)
    with path.open("r+b") as file:
        file.seek(hole[0])
        file.write(bytes(hole[1]))
        file.flush()
        os.system(f"fallocate --punch-hole --offset {hole[0]} --length {hole[1]} {path}")  # noqa: S605
        report = examine(file.fileno(), len(film))
    assert not report.complete


def test_reserved_file_with_both_ends(tmp_path):
    """The index is at the end and came first, as with downloads in several parts."""
    film = made.video(size=(320, 240))
    mdat = film.index(b"mdat") + 4
    path = tmp_path / "clip"
    with path.open("w+b") as file:
        file.truncate(len(film))
        os.pwrite(file.fileno(), film[: mdat + 20_000], 0)
        tail = film.index(b"moov") - 4
        os.pwrite(file.fileno(), film[tail:], tail)
        report = examine(file.fileno(), len(film))
    assert not report.complete
    assert report.percent == pytest.approx(100 * 20_000 / len(film), abs=25)


FRAGMENTS = "frag_keyframe+empty_moov"
MUTED = {
    "mov fragments": ("mov", {"movflags": FRAGMENTS}),
    "mov fragments from the moof on": ("mov", {"movflags": f"{FRAGMENTS}+default_base_moof"}),
    "mov fragments without places": ("mov", {"movflags": f"{FRAGMENTS}+omit_tfhd_offset"}),
    "mov, a fragment a frame": ("mov", {"movflags": "frag_every_frame+empty_moov"}),
    "mov, a fragment a track": ("mov", {"movflags": f"{FRAGMENTS}+separate_moof"}),
    "mov hybrid": ("mov", {"movflags": "frag_keyframe"}),
    "mov": ("mov", {}),
    "mkv": ("matroska", {}),
    "avi": ("avi", {}),
}


@pytest.mark.parametrize(
    ("kind", "sound"),
    [
        *((kind, "pcm_s16le") for kind in MUTED),
        ("mov fragments", "pcm_s24le"),
        ("mov fragments", "pcm_f32le"),
        ("mkv", "pcm_s24le"),
    ],
)
def test_silence_is_whole(kind, sound):
    """Samples of PCM that are zero are sound; a frame of coded video that is zero was never written."""
    container, options = MUTED[kind]
    film = made.video(container, sound=sound, silent=True, size=(320, 240), **options)
    assert bytes(4000) in film
    report = examine_bytes(film)
    assert report.complete, report.why
    low, high = len(film) // 2, len(film) // 2 + 60_000
    report = examine_bytes(film[:low] + bytes(high - low) + film[high:])
    assert not report.complete
    assert examine_bytes(film[: len(film) // 2] + bytes(len(film) - len(film) // 2)).complete is False


RAW = [("mov", "rgb24"), ("mov", "yuyv422"), ("mov", "argb"), ("mov", "rgb555be"), ("matroska", "yuv420p"),
       ("avi", "yuv420p"), ("avi", "bgr24")]  # fmt: skip


@pytest.mark.parametrize(
    ("container", "pix_fmt", "options"),
    [*((*raw, {}) for raw in RAW), *((*raw, {"movflags": FRAGMENTS}) for raw in RAW if raw[0] == "mov")],
)
def test_black_raw_video_of_zeros_is_whole(container, pix_fmt, options):
    film = made.video(container, "rawvideo", frames=4, pix_fmt=pix_fmt, black=True, **options)
    assert bytes(9000) in film
    report = examine_bytes(film)
    assert report.complete, report.why


def test_black_raw_avi_is_whole():
    film = bytearray(made.video("avi", "rawvideo", frames=4))
    for at in (i for i in range(len(film)) if film.startswith(b"00dc", i)):
        size = int.from_bytes(film[at + 4 : at + 8], "little")
        if 1000 < size < len(film):
            film[at + 8 : at + 8 + size] = bytes(size)
    assert examine_bytes(bytes(film)).complete


def test_avi_padding_may_be_zero():
    film = made.video("avi", "mpeg4")
    assert b"JUNK" in film
    assert examine_bytes(film).complete


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), junk=st.binary(min_size=1, max_size=24))
def test_damage_never_raises(film, at, junk):
    """In the first kilobyte and the last ten, where the structure is, or anywhere."""
    edge = 1000
    for place in (int(at * edge), len(film) - 1 - int(at * 10 * edge), int(at * len(film))):
        place = max(0, place)  # noqa: PLW2901
        report = examine_bytes(film[:place] + junk + film[place + len(junk) :])
        assert report.why


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([b"", b"\0\0\0\x18ftyp", b"\0\0\0\x08free", b"\x1aE\xdf\xa3", b"RIFF\xff\xff\0\0AVI LIST"]),
    body=st.binary(max_size=600),
)
def test_random_bytes_are_never_a_film(start, body):
    """Random bytes raise nothing and are never complete."""
    assert not examine_bytes(start + body).complete


def test_bomb_of_headers_ends(monkeypatch):
    """A file of nothing but headers is given up after a fixed number of parts."""
    monkeypatch.setattr(reader, "STEPS", 10_000)
    assert "more than 10,000 parts" in examine_bytes(b"\0\0\0\x08free" * 20_000).why
    assert not examine_bytes(b"\0\0\0\x08free" * 5_000).complete


def test_long_matroska_is_judged_by_clusters(monkeypatch):
    """Clusters of known size need no look inside, so nothing is too long to be whole."""
    film = made.video("matroska", sound="aac")
    monkeypatch.setattr(reader, "STEPS", 60)
    assert examine_bytes(film).complete
    assert not examine_bytes(film[:-1]).complete


def test_tables_together_are_bounded(monkeypatch):
    """The tables of many tracks together have a limit."""
    film = made.video(sound="aac")
    assert examine_bytes(film).complete
    monkeypatch.setattr(reader, "TABLES_MAX", 500)
    assert "claims more than 500 bytes" in examine_bytes(film).why


def test_table_that_claims_too_much():
    """A table that claims more than the file holds is damage, and is not read."""
    film = made.video()
    at = film.index(b"stsz") + 12
    report = examine_bytes(film[:at] + b"\xff\xff\xff\xff" + film[at + 4 :])
    assert not report.complete
    assert "damaged" in report.why


def test_glance_reads_few_parts(tmp_path, monkeypatch):
    """A copy that grows is looked at again and again: not block by block, and with the same answer."""
    film = made.video("matroska", sound="aac")
    path = tmp_path / "growing.mkv"
    path.write_bytes(film[: len(film) * 2 // 3])
    reads = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: reads.append(args) or real(*args))
    with path.open("rb") as file:
        size = path.stat().st_size
        whole = container.examine(file.fileno(), size)
        looked, reads[:] = len(reads), []
        monkeypatch.setattr(container, "GLANCE", 10)
        glance = container.examine(file.fileno(), size, glance=True)
    assert glance.percent == whole.percent
    assert len(reads) < looked / 2
