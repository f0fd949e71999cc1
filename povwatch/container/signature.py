"""Recognises a file by its first bytes. Its name never counts: a `.mp4` may be a script that opens other files.

Arrivals, JSON checks, the command line and the engines all use this module.
It needs only the standard library of Python 3.10, because the cosmos engine imports it under upstream's interpreter.
"""

from __future__ import annotations

from povwatch.container.report import VIDEO_KINDS, Kind

HEAD = 4096
"""The number of bytes that are used."""

ENOUGH = 64
"""From so many bytes on, an unknown beginning is no video; fewer may still become one."""

BOXES = frozenset([b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx", b"uuid"])
"""Types of the first box in MP4 and QuickTime files, at byte 4."""

PICTURE_BRANDS = frozenset([b"heic", b"heix", b"avif", b"mif1"])

EBML = b"\x1a\x45\xdf\xa3"

TS_PACKET = 188
"""Bytes of a packet in an MPEG transport stream; each packet begins with 0x47."""

MAGIC: tuple[tuple[bytes, Kind, str], ...] = (
    (b"version https://git-lfs", Kind.GIT_LFS, "a git-lfs pointer, not the video that it stands for"),
    (b"ffconcat version", Kind.PLAYLIST, "a list of other files (ffconcat)"),
    (b"#EXTM3U", Kind.PLAYLIST, "a playlist (M3U8)"),
    (b"[playlist]", Kind.PLAYLIST, "a playlist (PLS)"),
    (b"PK\x03\x04", Kind.ARCHIVE, "a ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", Kind.ARCHIVE, "a 7-Zip archive"),
    (b"Rar!\x1a\x07", Kind.ARCHIVE, "a RAR archive"),
    (b"\x1f\x8b", Kind.ARCHIVE, "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", Kind.ARCHIVE, "a Zstandard archive"),
    (b"\xfd7zXZ\0", Kind.ARCHIVE, "an XZ archive"),
    (b"%PDF-", Kind.DOCUMENT, "a PDF document"),
    (b"\x7fELF", Kind.DOCUMENT, "a program"),
    (b"SQLite format 3\0", Kind.DOCUMENT, "a SQLite database"),
    (b"\xff\xd8\xff", Kind.PICTURE, "a JPEG picture"),
    (b"\x89PNG\r\n\x1a\n", Kind.PICTURE, "a PNG picture"),
    (b"GIF8", Kind.PICTURE, "a GIF picture"),
    (b"II*\0", Kind.PICTURE, "a TIFF picture"),
    (b"MM\0*", Kind.PICTURE, "a TIFF picture"),
    (b"ID3", Kind.SOUND, "sound only (MP3)"),
    (b"fLaC", Kind.SOUND, "sound only (FLAC)"),
    (b"\x00\x00\x01\xba", Kind.OTHER_VIDEO, "an MPEG program stream, which is not taken"),
    (b"FLV\x01", Kind.OTHER_VIDEO, "a Flash video, which is not taken"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind.OTHER_VIDEO, "a Windows Media file, which is not taken"),
    (b"OggS", Kind.OTHER_VIDEO, "an Ogg file, which is not taken"),
)
"""First bytes, and what they are in words."""

RIFFS = {
    b"WAVE": (Kind.SOUND, "sound only (WAV)"),
    b"WEBP": (Kind.PICTURE, "a WebP picture"),
}

STILLS = ((b"\xff\xd8\xff", "jpeg_pipe"), (b"\x89PNG\r\n\x1a\n", "png_pipe"))
"""First bytes of pictures that engines read, and FFmpeg's demuxer for each."""

DEMUXERS = {Kind.MP4: "mov", Kind.MATROSKA: "matroska", Kind.AVI: "avi"}
"""FFmpeg's demuxer for each container that povwatch reads."""

BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def classify(head: bytes) -> tuple[Kind, str | None]:
    """The kind of a file, and a description if it is no video that povwatch reads.

    `UNKNOWN` without a description means that there are too few bytes to tell.

    Args:
        head: the first HEAD bytes, or the whole file if it is shorter.
    """
    if not head:
        return Kind.EMPTY, None
    kind = _container(head)
    if kind is not None:
        return kind
    for magic, other, words in MAGIC:
        if head.startswith(magic):
            return other, words
    if _is_transport_stream(head):
        return Kind.OTHER_VIDEO, "an MPEG transport stream, which is not taken"
    if head[:1] == b"\xff" and head[1:2] in {b"\xfb", b"\xf3", b"\xf2", b"\xf1", b"\xf9"}:
        return Kind.SOUND, "sound only (MP3 or AAC)"
    return _text_or_unknown(head)


def video_kind(head: bytes) -> Kind | None:
    """The container of a readable video; None for anything else. `head` as in `classify`."""
    kind, words = classify(head)
    return kind if words is None and kind in VIDEO_KINDS else None


def demuxer(head: bytes) -> str | None:
    """FFmpeg's demuxer for a readable video, or for a JPEG or PNG picture; None for anything else.

    `head` as in `classify`.
    """
    kind = video_kind(head)
    if kind is not None:
        return DEMUXERS[kind]
    return next((still for magic, still in STILLS if head.startswith(magic)), None)


def _container(head: bytes) -> tuple[Kind, str | None] | None:
    """The verdict for the beginning of an MP4, Matroska or RIFF file, also of an unfinished one; None for others."""
    if head[4:8] == b"ftyp" and head[8:12] in PICTURE_BRANDS:
        return Kind.PICTURE, "a HEIC or AVIF picture"
    if head[4:8] in BOXES:
        return Kind.MP4, None
    if head.startswith(EBML):
        return Kind.MATROSKA, None
    if head.startswith(b"RIFF") and (len(head) < 12 or head[8:12] == b"AVI "):  # noqa: PLR2004 - where the name ends
        return Kind.AVI, None
    if head.startswith(b"RIFF") and head[8:12] in RIFFS:
        return RIFFS[head[8:12]]
    return (Kind.UNKNOWN, None) if b"RIFF".startswith(head) or EBML.startswith(head) else None


def _text_or_unknown(head: bytes) -> tuple[Kind, str | None]:
    text = _decoded(head)
    if text is not None:
        start = text.lstrip().lower()
        if start.startswith(("<!doctype html", "<html")):
            return Kind.TEXT, "a web page (HTML); the download failed, perhaps a login page"
        if start.startswith("<?xml"):
            return Kind.TEXT, "an XML file"
        return Kind.TEXT, "a text file"
    if len(head) < ENOUGH or not head[:ENOUGH].strip(b"\0"):
        return Kind.UNKNOWN, None  # too few bytes so far
    return Kind.UNKNOWN, "no video of any format that is known here"


def _decoded(head: bytes) -> str | None:
    """The text, if the bytes are UTF-8 or UTF-16 without unusual control characters; None otherwise."""
    encoding = next((name for mark, name in BOMS if head.startswith(mark)), "utf-8")
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as e:
        if len(head) < HEAD or e.start < len(head) - 4:  # HEAD may cut a character in two
            return None
        text = head[: e.start].decode(encoding)
    plain = all(c >= " " or c in "\t\n\r\f\x1b" for c in text)
    return text.lstrip("\ufeff") if plain else None


def _is_transport_stream(head: bytes) -> bool:
    """Whether there are three packets in a row. Cameras put a time of four bytes before each packet (M2TS)."""
    return any(
        len(head) > start + 2 * (TS_PACKET + start)
        and all(head[start + i * (TS_PACKET + start)] == 0x47 for i in range(3))  # noqa: PLR2004 - the sync byte
        for start in (0, 4)
    )
