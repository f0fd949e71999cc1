"""Decode a video whole: does it, and how many frames are that? Nothing of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av.error

from povwatch.core.errors import NotAVideo
from povwatch.media.info import Bounds, Decoded
from povwatch.media.source import opened

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN = "Have it written whole."


def decode(path: str, kind: str, *, report: Callable[[float], None] = lambda _: None) -> Decoded:
    """Decode the file at `path`.

    Args:
        path: the file; no symlink.
        kind: mp4, matroska or avi, as its signature tells.
        report: told that it goes on; how far is not known.

    Raises:
        NotAVideo: it does not decode to its end, or holds no frame.
        SourceChanged: it is gone.
    """
    frames, limit = 0, Bounds().frames
    with opened(path, kind) as source:
        try:
            for frame in source.frames():
                frames += 1
                if frame.is_corrupt or source.damaged or frames > limit:
                    break
                report(0.0)
        except av.error.FFmpegError as error:
            raise NotAVideo(f"cannot be read past frame {frames} ({error.strerror})", AGAIN) from None
        if source.damaged or not frames or frames > limit:
            raise NotAVideo(f"does not decode after frame {frames}" if frames else "has no frame that decodes", AGAIN)
        return Decoded(frames, source.stream.width, source.stream.height)
