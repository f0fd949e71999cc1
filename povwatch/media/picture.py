"""Converts one frame's pixels: upright, padded, cropped, set side by side.

Frames stay in Y'CbCr if possible, in the source's own matrix; only the range and the depth are changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from povwatch.media.fit import even
from povwatch.media.h264 import BT709

if TYPE_CHECKING:
    from collections.abc import Sequence

    from av.video.frame import VideoFrame

    from povwatch.media.turn import Turn


FULL = 2
"""AVColorRange of frames that use all 256 steps."""

SMOOTH = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP

NO_PAD = (0, 0, 0, 0)


class Working:
    """Converts decoded frames to working-copy frames: 8-bit 4:2:0, limited range, upright, even size.

    An odd size is padded at the stored right and bottom with its own edge before the turn, so that every chroma sample
    stays over its pixels. The padding may thus end up on another side.
    """

    def __init__(self, turn: Turn, size: tuple[int, int]) -> None:
        self.turn = turn
        self.size = size
        """Size as stored; a stream that changes its size is scaled to this one."""
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The working-copy frame of a decoded one."""
        plain = limited(self._reformatter, frame, "yuv420p", self.size)
        width, height = even(plain.width), even(plain.height)
        if not self.turn and (width, height) == (plain.width, plain.height):
            return plain
        from povwatch.media import planes  # noqa: PLC0415 - see there

        return planes.upright(plain, self.turn, (width, height))


class Fitted:
    """Converts generated frames to publishable ones: scaled, the padding cut off, odd sizes in 4:4:4.

    Args:
        panel: width and height of one picture before the cut.
        pad: pixels to cut at the left, top, right and bottom of each picture.
        panels: pictures side by side in a frame.
    """

    def __init__(self, panel: tuple[int, int], pad: Sequence[int] = NO_PAD, panels: int = 1) -> None:
        self.panel = panel
        self.pad = tuple(pad)
        self.panels = panels
        left, top, right, bottom = self.pad
        self.width = (panel[0] - left - right) * panels
        self.height = panel[1] - top - bottom
        odd = bool(self.width % 2 or self.height % 2 or any(self.pad))
        self.pix_fmt = "yuv444p" if odd else "yuv420p"
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The publishable frame of a generated one."""
        size = (self.panel[0] * self.panels, self.panel[1])
        grows = size[0] * size[1] > frame.width * frame.height
        scaling = Interpolation.LANCZOS if grows else Interpolation.AREA
        scaled = limited(self._reformatter, frame, self.pix_fmt, size, scaling)
        if not any(self.pad):
            return scaled
        from povwatch.media import planes  # noqa: PLC0415 - see there

        return planes.cut(scaled, self.panel, self.pad, self.panels)


def limited(
    reformatter: VideoReformatter,
    frame: VideoFrame,
    pix_fmt: str,
    size: tuple[int, int] | None = None,
    scaling: Interpolation = Interpolation.BICUBIC,
) -> VideoFrame:
    """The frame in 8-bit Y'CbCr of limited range, in its own matrix (RGB: in BT.709)."""
    width, height = size or (frame.width, frame.height)
    is_rgb = frame.format.is_rgb
    is_full = is_rgb or frame.color_range == FULL or frame.format.name.startswith("yuvj")
    if frame.format.name == pix_fmt and not is_full and (width, height) == (frame.width, frame.height):
        return frame
    colours: dict[str, Any] = {"dst_colorspace": "itu709"} if is_rgb else {}
    out = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format=pix_fmt,
        interpolation=scaling | SMOOTH,
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
        threads=1,
        **colours,
    )
    if is_rgb:
        out.colorspace, out.color_primaries, out.color_trc = BT709, BT709, BT709
    return out
