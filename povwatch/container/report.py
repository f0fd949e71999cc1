"""The verdict on a file: its container, and whether it has arrived completely."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

NEARLY = 99.9
"""The highest percentage of an incomplete file; 100 would contradict it."""


class Kind(str, Enum):  # noqa: UP042 - upstream's Python is 3.10, and its engine asks for kinds too
    """What a file is by its first bytes, whatever its name."""

    __str__ = str.__str__

    MP4 = "mp4"
    """MP4, M4V and QuickTime: boxes."""
    MATROSKA = "matroska"
    """MKV and WebM: EBML."""
    AVI = "avi"
    """RIFF, including OpenDML."""
    EMPTY = "empty"
    TEXT = "text"
    GIT_LFS = "git-lfs"
    PLAYLIST = "playlist"
    """A file that names other files to open; it is never given to a demuxer."""
    PICTURE = "picture"
    SOUND = "sound"
    ARCHIVE = "archive"
    DOCUMENT = "document"
    OTHER_VIDEO = "other-video"
    """A video container that povwatch does not read."""
    UNKNOWN = "unknown"


VIDEO_KINDS = frozenset({Kind.MP4, Kind.MATROSKA, Kind.AVI})
"""The containers that povwatch reads. A demuxer is opened only for these."""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a file: `complete`, or `not_video` is set, or neither, and the file waits."""

    kind: Kind
    complete: bool
    why: str
    """A sentence for people, without the file's name."""
    percent: float | None = None
    """How much has arrived, 0 to 100; None if the part that has arrived does not tell."""
    video: bool | None = None
    """Whether it has a video track; None while that cannot be read yet."""
    not_video: str | None = None
    """What the file is instead of a video: `a text file`."""
    end_known: bool = True
    """False if the format does not tell where the file ends (live WebM, fragments without an index).

    `complete` then means "complete as far as it goes". A copy that pauses between two fragments looks the same, so wait
    longer.
    """

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**fields | {"kind": Kind(fields["kind"])})


@dataclass(frozen=True, slots=True)
class Whole:
    """The result of a walk that found nothing missing."""

    video: bool | None = True
    end_known: bool = True


class Incomplete(Exception):  # noqa: N818 - a verdict that ends a walk, not an error
    """A part is missing. `have` of `need` bytes have arrived, if both are known."""

    def __init__(
        self, why: str, *, have: int | None = None, need: int | None = None, video: bool | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.have = have
        self.need = need
        self.video = video

    @property
    def percent(self) -> float | None:
        """How much has arrived, in per cent; None if unknown."""
        if self.have is None or not self.need:
            return None
        return min(NEARLY, 100.0 * self.have / self.need)


class NoVideo(Exception):  # noqa: N818 - a verdict that ends a walk, not an error
    """The container is valid but has no video; `what` says what it is instead."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
