"""Decodes a whole video to see whether it decodes and how many frames it has. Nothing is kept."""

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
    """Decode the file at `path`, which is no symlink.

    Args:
        kind: mp4, matroska or avi, by its signature.
        report: called while decoding goes on; the fraction is unknown.

    Raises:
        NotAVideo: the file does not decode to its end, or has no frame.
        SourceChanged: the file is gone.
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
