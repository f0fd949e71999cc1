"""Files that are no video are named in words; files that may still become one are not."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest
from PIL import Image
from support import made_containers as made
from support.examining import examine_bytes

from povwatch.container import Kind, Report


def picture(kind):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, kind)
    return file.getvalue()


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("clip.mp4", "x" * 100)
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
OTHERS = {
    "text": (b"Hello, this is no video.\n" * 5, Kind.TEXT, "text"),
    "one letter": (b"x", Kind.TEXT, "text"),
    "text in UTF-8": ("Grüße, 你好\n".encode() * 500, Kind.TEXT, "text"),
    "text in UTF-16": ("Grüße\n".encode("utf-16"), Kind.TEXT, "text"),
    "git-lfs": (LFS, Kind.GIT_LFS, "git-lfs"),
    "ffconcat": (b"ffconcat version 1.0\nfile /etc/passwd\n", Kind.PLAYLIST, "ffconcat"),
    "m3u8": (b"#EXTM3U\n#EXT-X-VERSION:3\nsegment.ts\n", Kind.PLAYLIST, "playlist"),
    "a login page": (b"\n<!DOCTYPE html><html><body>Log in</body></html>", Kind.TEXT, "HTML"),
    "zip": (archive(), Kind.ARCHIVE, "ZIP"),
    "gzip": (gzip.compress(b"x" * 100), Kind.ARCHIVE, "gzip"),
    "jpeg": (picture("jpeg"), Kind.PICTURE, "JPEG"),
    "png": (picture("png"), Kind.PICTURE, "PNG"),
    "webp": (picture("webp"), Kind.PICTURE, "WebP"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + b"\1" * 80, Kind.PICTURE, "AVIF"),
    "random": (bytes(range(128, 256)) * 2, Kind.UNKNOWN, "no video"),
}
SOUND = {
    "m4a": made.sound_only,
    "mka": lambda: made.sound_only("matroska", "libopus"),
    "wav": lambda: made.sound_only("wav", "pcm_s16le"),
    "avi": lambda: made.sound_only("avi", "pcm_s16le"),
    "aac": lambda: made.sound_only("adts"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_video_is_named(name):
    data, kind, word = OTHERS[name]
    report = examine_bytes(data)
    assert (report.kind, report.complete, report.video) == (kind, False, False)
    assert word in report.not_video
    assert word in report.why


@pytest.mark.parametrize("name", SOUND)
def test_sound_only_is_no_video(name):
    report = examine_bytes(SOUND[name]())
    assert not report.complete
    assert report.not_video.startswith("sound only")


@pytest.mark.parametrize(("container", "word"), [("mpegts", "transport stream"), ("flv", "Flash"), ("asf", "Windows")])
def test_other_video_formats_are_named(container, word):
    """A video of a format that is not taken in is named."""
    codec = "mpeg4" if container == "asf" else "libx264"
    report = examine_bytes(made.video(container, codec))
    assert report.kind is Kind.OTHER_VIDEO
    assert word in report.not_video


def test_empty_file_has_no_percentage():
    """Of an empty file, or one of zeros, nobody knows how much has come."""
    assert examine_bytes(b"") == Report(Kind.EMPTY, complete=False, why="The file is empty.", percent=None)
    for size in (4, 200_000):
        why = "Its beginning has not arrived yet."
        assert examine_bytes(bytes(size)) == Report(Kind.UNKNOWN, complete=False, why=why, percent=None)


@pytest.mark.parametrize("start", [b"R", b"RIFF", b"RIFF\x10\0\0\0", b"\x1a", b"\x1aE\xdf", b"\0\0\0", b"\0\0\0\x20ft"])
def test_first_bytes_are_no_verdict(start):
    """The first bytes of a video are not called no video."""
    report = examine_bytes(start)
    assert not report.complete
    assert report.not_video is None


def test_scripts_are_no_video():
    """The kinds that open other files are no video, so nothing that would follow them is ever run on them."""
    assert examine_bytes(OTHERS["ffconcat"][0]).not_video
    assert examine_bytes(OTHERS["m3u8"][0]).not_video
