"""Makes the working copy that an engine reads: constant rate, upright, even size, 8-bit H.264 in MP4.

It has exactly one frame for each frame of the source that decodes, in order: engines count frames, and labels are by
frame number. A source that is all of this already, and decodes without an error, is copied byte for byte. A damaged one
is not: each engine reads a damaged file in its own way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from array import array
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import NotAVideo, SourceChanged
from povwatch.media import encode, times
from povwatch.media.damage import Sizes
from povwatch.media.ffmpeg_errors import BLOCK
from povwatch.media.info import Prepared, VideoInfo, text
from povwatch.media.picture import NO_PAD, Working
from povwatch.media.plain import plain
from povwatch.media.probe import digest
from povwatch.media.source import Source, opened
from povwatch.media.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from av.video.frame import VideoFrame

FICLONE = 0x40049409
"""ioctl: share the blocks of another file (btrfs, XFS). Source: linux/fs.h."""

TIMES_SUFFIX = ".times"


def prepare(
    source: str,
    info: dict[str, Any],
    out_path: str,
    *,
    report: Callable[[float], None] = lambda _: None,
) -> Prepared:
    """Make the working copy of `source` at `out_path`, and the file of its timestamps beside it.

    Args:
        info: the clip's VideoInfo as JSON.
        out_path: the copy, a name that ends in .mp4.

    Raises:
        SourceChanged: the clip is not the one that `info` describes.
        NotAVideo: no frame decodes.
    """
    about = VideoInfo.from_json(info)
    try:
        return _prepare(source, about, out_path, report)
    except SourceChanged:
        raise
    except Exception:
        # The error says nothing about the clip if this is another file: somebody may be writing it anew.
        with plain(source) as fd:
            if digest(fd) == about.sha256:
                raise
        Path(out_path).unlink(missing_ok=True)
        raise _changed(layout.shown(os.fsencode(Path(source).name))) from None


def read_times(path: str) -> list[int]:
    """The timestamps that `prepare` kept: ticks, one a frame."""
    ticks = array("q")
    with Path(path).open("rb") as file:
        ticks.frombytes(file.read())
    if sys.byteorder == "big":
        ticks.byteswap()
    return ticks.tolist()


def _prepare(source: str, about: VideoInfo, out_path: str, report: Callable[[float], None]) -> Prepared:
    with opened(source, about.container) as clip:
        if not about.damage:
            try:
                return _made(clip, about, out_path, report)
            except _Unclean:
                Path(out_path).unlink(missing_ok=True)
        missing = str((about.damage or {}).get("missing", ""))
        with clip.reopened(lenient=bool(missing)) as exact:
            return _made(exact, about, out_path, report, missing)


class _Unclean(Exception):  # noqa: N818 - an answer, not an error
    """Not everything decodes, or not all in one size: the work is repeated exactly; see Source."""


def _made(
    clip: Source, about: VideoInfo, out_path: str, report: Callable[[float], None], missing: str = ""
) -> Prepared:
    """Make the working copy.

    Raises:
        _Unclean: the clip is not read exactly, and part of it does not decode.
    """
    copied = not clip.exact and _fit_to_copy(clip, about)
    sizes = Sizes()
    if copied:
        _copy(clip, about, out_path)
        pad = NO_PAD
        for _ in _counted(clip, about, report, sizes):
            pass
        if sizes.count > 1:  # each engine reads such a file in its own way
            raise _Unclean
    else:
        pad = _transcode(clip, about, out_path, report, sizes)
        if digest(clip.fd) != about.sha256:
            Path(out_path).unlink()
            raise _changed(clip.name)
    if not clip.exact and not clip.tally.clean:
        raise _Unclean
    shown = clip.times()
    if not shown:
        raise NotAVideo(f"{clip.name}: no frame of it can be decoded.", "Export it again.")
    rate, constant = times.measure(shown, clip.base, clip.rates)
    if any(shown[0] < moment < shown[-1] for moment in clip.tally.lost()):
        # On a coarse clock, uneven times would pass for even ones, and be moved.
        rate, constant = (len(shown) - 1) / (clip.base * (shown[-1] - shown[0])), False
    fps = times.working_rate(about.fps, constant=about.constant)
    damage = clip.damage(missing)
    return Prepared(
        path=out_path,
        frames=len(shown),
        width=about.display_width + pad[0] + pad[2],
        height=about.display_height + pad[1] + pad[3],
        pad=pad,
        fps_num=fps.numerator,
        fps_den=fps.denominator,
        copied=copied,
        times=_keep_times(shown, out_path),
        time_base=text(clip.base),
        rate=text(rate),
        constant=constant,
        damaged=clip.damaged,
        damage=damage.to_json() if damage else None,
        resized=sizes.to_json(shown, clip.base, (about.display_width, about.display_height), sideways=_sideways(about)),
        start=float(shown[0] * clip.base),
        duration=float((shown[-1] - shown[0]) * clip.base + 1 / about.fps),
    )


def _sideways(about: VideoInfo) -> bool:
    """Whether the stored pictures are turned by a quarter to be upright."""
    return about.rotation in {90, 270}


def _fit_to_copy(clip: Source, about: VideoInfo) -> bool:
    """Whether the clip's own bytes work as the copy.

    Every reader that engines use must see the same frames: no second video stream, no fragments (whose count is not in
    the index), nothing before zero, no QuickTime brand.
    """
    brand = clip.container.metadata.get("major_brand", "").strip()
    return (
        about.container == "mov"
        and brand != "qt"
        and about.codec == "h264"
        and about.pix_fmt == "yuv420p"
        and about.constant
        and about.fps >= 1
        and about.turn == "none"
        and Fraction(about.sample_aspect) == 1
        and about.width % 2 == 0
        and about.height % 2 == 0
        and about.start == 0
        and about.video_streams == 1
        and clip.stream.frames == about.frames
        and clip.stream.codec_context.color_range != 2  # noqa: PLR2004 - AVCOL_RANGE_JPEG
    )


def _copy(clip: Source, about: VideoInfo, out_path: str) -> None:
    """Copy the bytes, sharing blocks if the file system can, and verify that they are the admitted ones."""
    fd = os.open(out_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        shared = False
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, FICLONE, clip.fd)
            shared = True
        at = 0
        while not shared and (data := os.pread(clip.fd, BLOCK, at)):
            at += _write(fd, data)
        if digest(fd) != about.sha256:
            Path(out_path).unlink()
            raise _changed(clip.name)
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _transcode(
    clip: Source, about: VideoInfo, out_path: str, report: Callable[[float], None], sizes: Sizes
) -> tuple[int, int, int, int]:
    """Encode every frame anew; return the padding.

    The rate is `info`'s, measured over every packet, because a frame is known to be the last one only at the end.
    """
    turn = Turn.from_text(about.turn)
    work = Working(turn, (about.width, about.height))
    grid = times.Even(times.working_rate(about.fps, constant=about.constant))
    encoder: encode.Encoder | None = None
    with encode.mp4(out_path, grid.timescale) as container:
        for frame in _counted(clip, about, report, sizes):
            fitted = work(frame)
            if encoder is None:
                encoder = encode.Encoder(container, fitted, grid, encode.WORKING)
            container.mux(encoder.add(fitted))
        if encoder is None:
            if not clip.exact:
                raise _Unclean
            raise NotAVideo(f"{clip.name}: no frame of it can be decoded.", "Export it again.")
        container.mux(encoder.rest())
    return turn.pad_of(about.width % 2, about.height % 2)


def _counted(clip: Source, about: VideoInfo, report: Callable[[float], None], sizes: Sizes) -> Iterator[VideoFrame]:
    for count, frame in enumerate(clip.frames(), 1):
        if not clip.exact and (clip.damaged or clip.tally.concealed):
            raise _Unclean
        sizes.see(count - 1, frame.width, frame.height)
        report(count / max(about.frames, count))
        yield frame


def _keep_times(shown: list[int], out_path: str) -> str:
    path = out_path + TIMES_SUFFIX
    ticks = array("q", shown)
    if sys.byteorder == "big":
        ticks.byteswap()
    with Path(path).open("wb") as file:
        file.write(ticks.tobytes())
    return path


def _changed(name: str) -> SourceChanged:
    return SourceChanged(f"{name} is not the file that was admitted: its bytes changed.")
