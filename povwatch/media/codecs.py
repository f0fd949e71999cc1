"""Lists the codecs that FFmpeg has here, for doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from povwatch.media.info import JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable

NEEDED = {
    **dict.fromkeys(("h264", "hevc", "vp8", "vp9", "mpeg4", "mjpeg", "prores"), "r"),
    **dict.fromkeys(("libx264", "aac"), "w"),
}
"""Codecs of clips and results, each with r(ead) or w(rite)."""


@dataclass(frozen=True, slots=True)
class Codecs(JsonObject):
    """The installed codecs."""

    av: str
    """PyAV's version."""
    ffmpeg: str
    codecs: dict[str, bool]
    """Each codec of NEEDED to whether it is installed."""


def codecs(*, report: Callable[[float], None] = lambda _: None) -> Codecs:
    """Look for each codec that is needed."""
    report(0.0)
    return Codecs(av.__version__, av.ffmpeg_version_info, {name: _has(name, mode) for name, mode in NEEDED.items()})


def _has(name: str, mode: str) -> bool:
    try:
        Codec(name, mode)  # type: ignore[arg-type]
    except UnknownCodecError:
        return False
    return True
