"""Data about a clip, a working copy and an artifact, which crosses the pipe as JSON.

Standard library alone, because the daemon imports this.
Paths cross as text in Python's file-system encoding (surrogate escapes stand for bytes that are no UTF-8).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self  # it is new in Python 3.11, and the cosmos engine imports this module under 3.10

NOTHING = "No frame of it can be decoded."
"""Why a clip is incomplete if its packets are there but nothing decodes."""


class JsonObject:
    """A dataclass that converts to and from a JSON object; unknown keys are refused."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """The dataclass as a JSON object."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]  # every subclass is a dataclass

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Make one from the result of `to_json`.

        Raises:
            TypeError: a key is unknown or missing.
        """
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Bounds(JsonObject):
    """Limits on a clip: a file can promise far more than its bytes hold."""

    pixels: int = 8192 * 8192
    frames: int = 2_000_000
    seconds: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class VideoInfo(JsonObject):
    """A clip as `inspect` found it. Sizes are in pixels, `duration` and starts in seconds."""

    complete: bool
    """Nothing is missing: every packet is there, and all of them decode or count as damage."""
    why: str = ""
    """What is missing from an incomplete clip, for people. The fields below then have what could be read."""
    container: str = ""
    """The demuxer: mov, matroska or avi."""
    codec: str = ""
    width: int = 0
    """As coded, before the rotation."""
    height: int = 0
    display_width: int = 0
    """Upright, in the clip's own pixels: the size of what is published."""
    display_height: int = 0
    sample_aspect: str = "1/1"
    """Width to height of one pixel, upright. Pixels are never resampled for it; it is carried over."""
    turn: str = "none"
    """How the stored picture is brought upright: `none`, or the steps of turn.Turn."""
    rotation: int = 0
    """Degrees clockwise that a player turns the stored picture: 0, 90, 180 or 270."""
    pix_fmt: str = ""
    depth: int = 8
    """Bits a component."""
    frames: int = 0
    """Number of packets, or of decoded frames if decoding was tried. `prepare` decodes all and decides."""
    time_base: str = "1/1"
    """Seconds a tick."""
    start: float = 0.0
    """When the first frame is shown."""
    constant: bool = False
    """Whether every frame lies within half a tick of an even grid."""
    rate: str = "0/1"
    """Frames a second: exact if constant, else the average."""
    duration: float = 0.0
    audio: str | None = None
    """The sound's codec by the file's header. `prepare` finds out whether there is any sound."""
    video_streams: int = 1
    size: int = 0
    """Bytes of the file."""
    sha256: str = ""
    damage: dict[str, Any] | None = None
    """What does not decode, as JSON of damage.Damage. None for a clip that decodes, or before `prepare` has decoded
    every frame."""
    resized: dict[str, Any] | None = None
    """Where its pictures change their size, as damage.Sizes has it; None if they do not, or before `prepare`."""

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return Fraction(self.rate)

    @property
    def undecided(self) -> bool:
        """Whether only decoding from the front tells if it is complete."""
        return not self.complete and not self.why


@dataclass(frozen=True, slots=True)
class Measured(JsonObject):
    """Measurements of a file that a spec names."""

    frames: int
    width: int
    """Upright, in pixels."""
    height: int
    rate: str
    """Frames a second, on average; 0/1 for an array."""
    turned: bool = False
    """Whether players turn or mirror the stored picture; engines do not."""


@dataclass(frozen=True, slots=True)
class Decoded(JsonObject):
    """A video that another program made, as `decode` found it."""

    frames: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Prepared(JsonObject):
    """A working copy: constant rate, upright, even size, H.264 in MP4, 8 bit, one frame for each source frame."""

    path: str
    frames: int
    """Number of decoded frames. From here on, this number counts."""
    width: int
    height: int
    pad: tuple[int, int, int, int]
    """Pixels added at the left, top, right and bottom to make the size even."""
    fps_num: int
    fps_den: int
    copied: bool
    """Whether the bytes are the source's own."""
    times: str
    """A file of the source's timestamps: int64 little-endian ticks, one a frame."""
    time_base: str
    """Seconds a tick of `times`."""
    rate: str
    """The source's rational rate: exact if `constant`, else its average."""
    constant: bool
    damaged: int = 0
    """Packets of the source that do not decode; only the frames that a player shows count."""
    damage: dict[str, Any] | None = None
    """The lost and concealed frames, as damage.Damage has them; None if there are none."""
    resized: dict[str, Any] | None = None
    """Where the pictures change their size, as damage.Sizes has it; None if they do not."""
    start: float = 0.0
    """When the first frame is shown, in seconds."""
    duration: float = 0.0
    """Seconds from there to the end of the last frame."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad", tuple(self.pad))  # JSON gives a list


@dataclass(frozen=True, slots=True)
class Masked(JsonObject):
    """The mask of a video that a hook has drawn."""

    path: str
    sha256: str
    """Of the hook's video."""
    frames: int
    width: int
    """Of the hook's video, in pixels; the mask has the working copy's size."""
    height: int
    background: tuple[int, int, int]
    """The colour that counts as background: red, green, blue."""
    drawn: int
    """Frames that show anything else."""
    covered: float
    """The mask's white share of all frames, 0 to 1."""


@dataclass(frozen=True, slots=True)
class SoundTrack(JsonObject):
    """The sound of a result, made before the engine generates."""

    path: str | None = None
    """An MP4 with the sound alone, whose zero is the result's; None without sound."""
    audio: str | None = None
    """Its codec."""
    copied: bool = False
    """Whether its packets are the clip's own."""
    problem: str = ""
    """Why a clip that announces sound has none in the result, for people."""
    changed: str = ""
    """What was lost of the sound, for people: channels mixed down, packets that do not decode."""


@dataclass(frozen=True, slots=True)
class Finished(JsonObject):
    """A publishable file."""

    path: str
    frames: int
    width: int
    height: int
    remuxed: bool
    """Whether the engine's packets were put on the source's times unchanged, without loss."""
    sound: bool
    """Whether it has sound: the first frames alone may have none."""


@dataclass(frozen=True, slots=True)
class Expectation(JsonObject):
    """What an artifact has to be. `None` means that it is not checked."""

    frames: int | None = None
    width: int | None = None
    height: int | None = None
    panels: int = 1
    """Pictures side by side; `width` is that of one (show_input, show_control_condition)."""
    rate: str | None = None
    """The source's rational rate."""
    constant: bool = True
    """Whether `rate` is exact; an average is compared loosely."""
    times: str | None = None
    """The file of Prepared.times."""
    time_base: str = "1/1"
    sound: bool | None = None
    not_blank: bool = False
    """Whether blank frames are refused, for real engines, whose blocked videos may come back black."""
    duration: float | None = None
    """Seconds, within one frame."""


@dataclass(frozen=True, slots=True)
class Scoring(JsonObject):
    """What is scored against what. Paths are relative to the private folder; sizes are in pixels."""

    result: str
    """The finished result, an MP4."""
    frames: int
    """Of the result; the clip may have more."""
    panels: int
    """Pictures side by side in a frame of the result; the last one is scored."""
    clip: str
    """The working copy."""
    pad: tuple[int, int, int, int]
    """Pixels at the left, top, right and bottom of the working copy that are not the clip's."""
    measured: bool = True
    """Whether scores are wanted, and not the contact sheet alone."""
    edge_preset: str | None = None
    """Preset of an edge control that is computed from the clip; None without one."""
    edge_control: str | None = None
    """The edge control that was given."""
    edge_mask: str | None = None
    """A video that is white where the edge control holds."""
    kept: str | None = None
    """The mask of what is kept of the clip, in the working copy's size."""
    hands_model: str | None = None
    """MediaPipe's model of hand landmarks, absolute; empty if none is configured, None to leave hands out."""
    sheet: str | None = None
    """Where the contact sheet is to be written; None for none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad", tuple(self.pad))  # JSON gives a list


@dataclass(frozen=True, slots=True)
class Scored(JsonObject):
    """The scores of a result."""

    scores: dict[str, float] = field(default_factory=dict)
    """By their names in core/scores.py."""
    missing: dict[str, str] = field(default_factory=dict)
    """Scores that have no number, with the word that says why."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else is known of a score, by its name."""
    frames: int = 0
    """Frames that were compared."""
    sheet: bool = False
    """Whether the contact sheet was written."""
    problem: str = ""
    """Why there are no scores, or no sheet, for people."""


@dataclass(frozen=True, slots=True)
class Checked(JsonObject):
    """Measurements of an artifact, by `check`."""

    frames: int
    width: int
    height: int
    rate: str
    duration: float
    pix_fmt: str
    codec: str
    audio: str | None
    size: int
    sha256: str
    max_time_error: float | None = None
    """Seconds: the largest distance of a frame from its source frame's time."""
    blank: list[int] = field(default_factory=list)
    """The first 20 frames without contrast."""
    blank_count: int = 0
    contrast: float = 0.0
    """Standard deviation of the luma over the frame with most of it, in 8-bit steps."""


def text(value: Fraction) -> str:
    """A rational for JSON, always with its denominator."""
    return f"{value.numerator}/{value.denominator}"
