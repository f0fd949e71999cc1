"""A whole file is whole, and no beginning of it is."""

from __future__ import annotations

import pytest
from support import made_containers as made
from support.examining import examine_bytes

from povwatch.container import Kind

WHOLE = {
    "mp4": (Kind.MP4, made.video),
    "mp4 with sound": (Kind.MP4, lambda: made.video(sound="aac")),
    "mp4 faststart": (Kind.MP4, lambda: made.video(sound="aac", movflags="faststart")),
    "mp4 h265": (Kind.MP4, lambda: made.video(codec="libx265", codec_options={"x265-params": "log-level=none"})),
    "mp4 with a segment index": (Kind.MP4, lambda: made.video(movflags="dash+global_sidx+frag_keyframe")),
    "mov": (Kind.MP4, lambda: made.video("mov", sound="pcm_s16le")),
    "mov prores": (Kind.MP4, lambda: made.video("mov", "prores_ks", pix_fmt="yuv422p10le")),
    "mkv": (Kind.MATROSKA, lambda: made.video("matroska", sound="aac")),
    "mkv, index in front": (Kind.MATROSKA, lambda: made.video("matroska", reserve_index_space="4096")),
    "webm vp8": (Kind.MATROSKA, lambda: made.video("webm", "libvpx", sound="libopus")),
    "webm vp9": (Kind.MATROSKA, lambda: made.video("webm", "libvpx-vp9", codec_options={"deadline": "realtime"})),
    "avi": (Kind.AVI, lambda: made.video("avi", "mpeg4", sound="pcm_s16le")),
    "avi mjpeg": (Kind.AVI, lambda: made.video("avi", "mjpeg", pix_fmt="yuvj420p")),
    "avi of several parts (OpenDML)": (Kind.AVI, made.open_dml),
    "avi raw": (Kind.AVI, lambda: made.video("avi", "rawvideo", frames=6)),
}
OPEN_ENDED = {
    "mp4 fragments": (Kind.MP4, lambda: made.video(movflags="frag_keyframe+empty_moov+skip_trailer")),
    "mp4 fragments down a pipe": (
        Kind.MP4,
        lambda: made.streamed("mp4", "libx264", movflags="frag_keyframe+empty_moov+default_base_moof+skip_trailer"),
    ),
    "mkv down a pipe": (Kind.MATROSKA, lambda: made.streamed("matroska", "libx264")),
    "webm live": (Kind.MATROSKA, lambda: made.streamed("webm", "libvpx", live="1")),
}


@pytest.fixture(scope="module", params=[*WHOLE, *OPEN_ENDED])
def sample(request):
    kind, make = (WHOLE | OPEN_ENDED)[request.param]
    return request.param, kind, make()


def test_whole_file_is_whole(sample):
    """A whole file of every container is complete, with its kind."""
    name, kind, data = sample
    report = examine_bytes(data)
    assert (report.kind, report.complete, report.not_video) == (kind, True, None)
    assert report.video is True
    assert report.end_known is (name in WHOLE)


def test_no_beginning_is_whole(sample):
    """No beginning of a file is whole, but where a fragment or a cluster ends."""
    name, _, data = sample
    whole_as_far_as_it_goes = []
    for length in cuts(data):
        report = examine_bytes(data[:length])
        assert report.not_video is None, length
        if report.complete and name in WHOLE:
            assert data[length + 4 : length + 8] == b"mfra", (
                length
            )  # all frames are there, only the index of them is not
        elif report.complete:
            assert report.end_known is False, length
            whole_as_far_as_it_goes.append(length)
    assert len(whole_as_far_as_it_goes) <= 4  # between fragments or clusters, nowhere else


def test_percentage_is_what_arrived(sample):
    """The percentage is within 8 of what has arrived, or is not told."""
    name, _, data = sample
    if name in OPEN_ENDED:
        assert all(examine_bytes(data[:n]).percent in (None, 0.0) for n in cuts(data))
        return
    for tenth in range(1, 10):
        report = examine_bytes(data[: len(data) * tenth // 10])
        assert report.percent is None or abs(report.percent - 10 * tenth) < 8, (
            report
        )  # an index at the end is not foreseen
        assert report.percent is not None or tenth < 3  # inside an index that comes first nothing can be said


def test_mp4_without_its_index_says_so():
    data = made.video()
    report = examine_bytes(data[: data.index(b"moov") - 4])
    assert not report.complete
    assert "moov" in report.why


def test_killed_recording_is_incomplete():
    """An AVI whose recorder was killed is incomplete."""
    avi = bytearray(made.video("avi", "mpeg4"))
    avi[4:8] = b"\0\0\0\0"
    assert "not finished" in examine_bytes(bytes(avi)).why


def test_makers_trailer_is_no_part():
    """A camera maker's trailer behind a film is ignored, but a standard box that is cut off is not."""
    film = made.video(movflags="faststart")
    for trailer in (b"\0\0\x10\0SEFH trailer", b"plain bytes of a camera maker", b"\xff" * 300, b"\0\0\0\x0cabcdefgh"):
        assert examine_bytes(film + trailer).complete, trailer
    assert examine_bytes(made.video("avi", "mpeg4") + b"trailer").complete
    cut_box = b"\0\0\x10\0udta" + b"x" * 50  # a box of the standard is cut off, whoever put it there
    assert not examine_bytes(film + cut_box).complete


def test_avi_without_its_last_padding_byte():
    """An AVI without its last padding byte is whole."""
    film = bytearray(made.video("avi", "mpeg4"))
    film[4:8] = (len(film) - 8 + 1).to_bytes(4, "little")
    assert not examine_bytes(bytes(film)).complete
    film += b"x"
    assert examine_bytes(bytes(film)).complete


def test_open_dml_avi_needs_its_later_parts():
    """An OpenDML AVI needs its later parts, and the percentage counts them."""
    film = made.open_dml()
    second = film.index(b"AVIX") - 8
    report = examine_bytes(film[:second])
    assert not report.complete
    assert report.percent == pytest.approx(100 * second / len(film), abs=2)


def cuts(data):
    """Lengths to cut at: every one near both ends and near each box of an MP4, and a sweep between."""
    marks = [at for name in (b"moof", b"mdat", b"moov", b"mfra", b"\x1f\x43\xb6\x75") for at in find_all(data, name)]
    near = {length for mark in marks for length in range(mark - 9, mark + 10)}
    swept = range(0, len(data), max(1, len(data) // 150))
    return sorted(n for n in {*near, *swept, *range(70), *range(len(data) - 70, len(data))} if 0 <= n < len(data))


def find_all(data, name):
    at = data.find(name)
    while at >= 0:
        yield at
        at = data.find(name, at + 1)
