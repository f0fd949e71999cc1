"""Makes a small picture of videos side by side, all at one moment, and tells when a video's frames are shown."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from povwatch.container.signature import HEAD, video_kind
from povwatch.core.errors import NotAVideo
from povwatch.files.fs import read_at_most
from povwatch.media.info import JsonObject
from povwatch.media.plain import plain
from povwatch.media.source import opened, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from povwatch.media.source import Source

HEIGHT = 180
"""Pixels."""

WIDTH_MAX = 240
"""Pixels of one video in the picture; of a wider one the middle is shown."""

WIDE_MAX = 2000
"""Pixels that the widest video is scaled to."""

MOMENT = 0.4
"""Which moment of a video, as a part of its length."""

QUALITY = 82
"""Of the JPEG, of 100."""

GAP = 2
"""White pixels between two videos."""


@dataclass(frozen=True, slots=True)
class Still(JsonObject):
    """The picture."""

    jpeg: str
    """In base 64."""
    times: list[int] | None
    """When each frame of the last video is shown: microseconds after the first one, if it was asked for."""


def still(videos: Sequence[dict[str, str]], *, times: bool, report: Callable[[float], None] = lambda _: None) -> Still:
    """Make the picture.

    Args:
        videos: each has the `root` that it is below and its `path` relative to that. At least one.
        times: whether to read the times of the last one's frames, without decoding them.

    Raises:
        NotAVideo: one of them is no video.
        SourceChanged: one of them is gone.
    """
    pictures = []
    shown: list[int] | None = None
    for number, video in enumerate(videos, 1):
        path, root = video["path"], video["root"]
        kind = _kind(path, root)
        with opened(path, kind, root=root) as source:
            pictures.append(_picture(_frame_at(source, MOMENT)))
        if times and number == len(videos):
            with opened(path, kind, root=root) as source:
                shown = _times(source)
        report(number / len(videos))
    data = io.BytesIO()
    Image.fromarray(_beside(pictures)).save(data, "JPEG", quality=QUALITY)
    return Still(base64.b64encode(data.getvalue()).decode(), shown)


def _kind(path: str, root: str) -> str:
    with plain(path, root) as fd:
        kind = video_kind(read_at_most(fd, HEAD))
    if kind is None:
        raise NotAVideo(f"{path} is no video.")
    return str(kind)


def _frame_at(source: Source, part: float) -> VideoFrame:
    """The first frame at or after a part of the length; the last one that decodes if there is none."""
    length = source.stream.duration
    begin = source.stream.start_time or 0
    wanted = begin + int(length * part) if length else begin
    if length:
        source.container.seek(wanted, stream=source.stream, backward=True)
    found = None
    for frame in source.frames():
        found = frame
        if frame.pts is None or frame.pts >= wanted:
            break
    if found is None:
        raise NotAVideo(f"No frame of {source.name} decodes.")
    return found


def _picture(frame: VideoFrame) -> NDArray[np.uint8]:
    """The upright frame in the picture's height, or the middle of a wide one: RGB, shape (HEIGHT, width, 3)."""
    turn = turn_of(frame)
    across, down = (frame.height, frame.width) if turn.transpose else (frame.width, frame.height)
    wide = max(2, min(WIDE_MAX, round(across * HEIGHT / down)))
    size = (HEIGHT, wide) if turn.transpose else (wide, HEIGHT)
    rgb = np.asarray(frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray(), np.uint8)
    upright = np.stack([turn.apply(rgb[..., part]) for part in range(3)], axis=2) if turn else rgb
    beyond = max(0, wide - WIDTH_MAX) // 2
    return upright[:, beyond : beyond + WIDTH_MAX]


def _beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    parts: list[Any] = []
    for picture in pictures:
        parts += [gap, picture] if parts else [picture]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def _times(source: Source) -> list[int]:
    moments = [
        moment
        for packet in source.packets()
        if packet.size and not packet.is_discard and (moment := source.moment(packet)) is not None
    ]
    first = min(moments, default=0)
    return [round((moment - first) * source.base * 1_000_000) for moment in sorted(moments)]
