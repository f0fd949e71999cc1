"""What a look into a file says: which container it is, and whether all of it has arrived."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

NEARLY = 99.9
"""The most that an incomplete file is said to have, in per cent: 100 would read as a contradiction."""


class Kind(str, Enum):  # noqa: UP042 - upstream's Python is 3.10, and its engine asks for kinds too
    """What the file's own first bytes say it is, whatever its name says."""

    __str__ = str.__str__

    MP4 = "mp4"
    """MP4, M4V and QuickTime: boxes."""
    MATROSKA = "matroska"
    """MKV and WebM: EBML."""
    AVI = "avi"
    """RIFF, OpenDML too."""
    EMPTY = "empty"
    TEXT = "text"
    GIT_LFS = "git-lfs"
    PLAYLIST = "playlist"
    """Names other files to open; never handed to a demuxer."""
    PICTURE = "picture"
    SOUND = "sound"
    ARCHIVE = "archive"
    DOCUMENT = "document"
    OTHER_VIDEO = "other-video"
    """A video container that is not one of the first three."""
    UNKNOWN = "unknown"


VIDEO_KINDS = frozenset({Kind.MP4, Kind.MATROSKA, Kind.AVI})
"""The containers that are read; for these alone a demuxer is ever opened."""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one file. Exactly one holds: `complete`, or `not_video` is set, or neither (it waits)."""

    kind: Kind
    complete: bool
    why: str
    """One sentence for people; it does not name the file."""
    percent: float | None = None
    """How much has arrived, 0 to 100; None where the part that is there does not tell."""
    video: bool | None = None
    """Whether there is a video track; None while that cannot be read yet."""
    not_video: str | None = None
    """What the file is instead of a video, in words: `a text file`."""
    end_known: bool = True
    """False where the format does not say where the file ends (live WebM, fragments without an index).

    `complete` then means "whole as far as it goes": a copy that pauses between two fragments looks the same, so wait
    longer.
    """

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**fields | {"kind": Kind(fields["kind"])})


@dataclass(frozen=True, slots=True)
class Whole:
    """What a walk returns when nothing is missing."""

    video: bool | None = True
    end_known: bool = True


class Incomplete(Exception):  # noqa: N818 - a verdict that ends a walk, not an error
    """A part is missing. `have` of `need` bytes are there, where both are known."""

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
        """How much has arrived, in per cent."""
        if self.have is None or not self.need:
            return None
        return min(NEARLY, 100.0 * self.have / self.need)


class NoVideo(Exception):  # noqa: N818 - likewise
    """The container is sound, and there is no video in it; `what` says what it is instead."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
