"""Finds the frames that the decoder loses or conceals, and pictures that change their size. Pure; standard library.

The rule: decoding from the first packet on decides. A frame that the decoder outputs is shown, also one that it flags
because it had to conceal an error: players show it. A frame that it does not output is lost.

Pictures may also change their size, as in a call's recording. A result has one size: the others are scaled to it, and
look squeezed if their shape differs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.media.info import JsonObject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction


RUNS_MAX = 20
"""Runs of frames that a report keeps; all of them are counted."""

NAMED = 5
"""Runs that a sentence names at most."""

ONE_EACH = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1"})
"""Codecs whose packets each show one frame. For others, every frame is decoded to be counted."""

SHOWS = ONE_EACH | {
    *("mpeg4", "vp8", "libdav1d", "mpeg2video", "mpeg1video", "png", "jpeg2000", "huffyuv", "ffvhuff", "utvideo"),
    *("magicyuv", "v210", "r210", "cfhd", "dvvideo"),
}
"""Codecs whose packets tell whether they show a frame. If a frame is missing then, it is lost."""

NOT_CODED = 19
"""Bytes up to which an MPEG-4 packet may say that nothing changes, and show nothing (FFmpeg's MAX_NVOP_SIZE)."""

VP8_SHOWN = 0x10
"""Bit in the first byte of a VP8 frame: it is shown (RFC 6386, 9.1)."""


def shows(codec: str, head: bytes, size: int) -> bool:
    """Whether a packet is meant to be shown, as far as its codec tells.

    Args:
        head: the packet's first byte or more.
    """
    if codec == "vp8":
        return bool(head[:1]) and bool(head[0] & VP8_SHOWN)
    return codec != "mpeg4" or size > NOT_CODED


@dataclass(frozen=True, slots=True)
class Damage(JsonObject):
    """The frames of a clip that did not decode. A run is [first frame, last frame, its first second, its last]."""

    frames: int = 0
    """Frames in the clip by its packets, shown and lost. Runs count in these, from 0."""
    lost: int = 0
    """Frames that could not be decoded; no result has them."""
    lost_at: list[list[float]] = field(default_factory=list)
    """The first RUNS_MAX runs of them."""
    concealed: int = 0
    """Frames in which the decoder concealed an error; they are shown, as in players."""
    concealed_at: list[list[float]] = field(default_factory=list)
    missing: str = ""
    """What the file lacks, if `povwatch go --damaged` had it run nevertheless."""

    def __str__(self) -> str:
        """The damage in sentences."""
        found = [f"Part of the file is missing: {self.missing.rstrip('.')}."] if self.missing else []
        if self.lost:
            are = "is" if self.lost == 1 else "are"
            of = f"{self.lost} of {self.frames} frames could not be decoded and {are} left out"
            found.append(f"{of}: {_named(self.lost_at)}.")
        if self.concealed:
            of = f"In {self.concealed} of {self.frames} frames the decoder concealed errors"
            found.append(f"{of}: {_named(self.concealed_at)}.")
        return " ".join(found)


def describe_damage(damage: dict[str, Any] | None) -> str:
    """A clip's damage, from JSON, in sentences; empty without damage, or for JSON that is not ours."""
    try:
        return str(Damage.from_json(damage)) if damage else ""
    except (TypeError, ValueError, AttributeError, IndexError):  # a manifest that somebody edited
        return ""


class Tally:
    """Counts what went into a decoder and what came out, by packets and frames."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self.promised = array("q")
        """Times of showing of the packets that are to be shown, in the order of decoding."""
        self.shown: list[int | None] = []
        """Times of showing of the frames that came out, in the order of output."""
        self.concealed: list[int] = []
        """Indices of those frames that the decoder flagged."""
        self.failed: list[int] = []
        """Times of showing of the packets whose decoding raised an error."""
        self.fields = False
        """Some frames are interlaced: a packet may hold half of one."""

    def packet(self, moment: int, head: bytes, size: int) -> None:
        """A packet goes into the decoder."""
        if shows(self._codec, head, size):
            self.promised.append(moment)

    def fail(self, moment: int) -> None:
        """The last packet does not decode."""
        self.failed.append(moment)

    def frame(self, moment: int | None, *, concealed: bool, interlaced: bool) -> None:
        """A frame came out."""
        if concealed:
            self.concealed.append(len(self.shown))
        self.shown.append(moment)
        self.fields = self.fields or interlaced

    @property
    def clean(self) -> bool:
        """Whether every packet was decoded without an error."""
        return not self.failed and not self.concealed and not self._absent()

    def lost(self) -> list[int]:
        """Times of showing of the frames that did not come out, in order.

        The leading pictures of a clip that begins with an open group are left out: they come before the first packet's
        frame and refer to pictures before the clip. No player shows them, and nothing is damaged.
        """
        absent = self._absent()
        if absent and self.promised[0] in self.shown:
            failed = set(self.failed)
            return [moment for moment in absent if moment > self.promised[0] or moment in failed]
        return absent

    def _absent(self) -> list[int]:
        """When the frames that did not come out would be shown, in order."""
        came = set(self.shown)
        absent = [moment for moment in self.promised if moment not in came]
        failed = set(self.failed)
        if self._codec not in SHOWS or self.fields:
            return sorted(moment for moment in absent if moment in failed)
        count = max(0, len(self.promised) - len(self.shown))
        if len(absent) != count:  # the frames' times differ from the packets' (AVI), so the count decides
            absent = [*self.failed, *(moment for moment in absent if moment not in failed)]
        return sorted(absent[:count])

    def damage(self, times: Sequence[int], base: Fraction, *, beyond: int = 0, missing: str = "") -> Damage | None:
        """The damage; None if every frame decoded and nothing is missing.

        Args:
            times: when each shown frame is shown, in ticks, in order.
            base: seconds a tick.
            beyond: frames that the file's index lists after the last readable packet.
            missing: what the file lacks, for people.
        """
        lost = self.lost()
        order = sorted(times)
        # A lost frame's number: shown frames before it, and lost ones.
        places = [(bisect_left(order, moment) + before, moment) for before, moment in enumerate(lost)]
        concealed = [(place + bisect_left(lost, order[place]), order[place]) for place in self._flagged(order)]
        total = len(order) + len(lost) + beyond
        runs = _runs(places, base)
        if beyond:
            last = float(max([*order[-1:], *lost[-1:]], default=0) * base)
            runs.append([total - beyond, total - 1, last, last])
        if not (lost or concealed or beyond or missing):
            return None
        return Damage(
            frames=total,
            lost=len(lost) + beyond,
            lost_at=runs[:RUNS_MAX],
            concealed=len(concealed),
            concealed_at=_runs(concealed, base)[:RUNS_MAX],
            missing=missing,
        )

    def _flagged(self, order: Sequence[int]) -> list[int]:
        """Positions of the flagged frames in the order of showing."""
        moments = [self.shown[index] for index in self.concealed]
        found = [
            index if moment is None else bisect_left(order, moment)
            for index, moment in zip(self.concealed, moments, strict=True)
        ]
        return sorted({min(place, len(order) - 1) for place in found})


def _runs(places: Sequence[tuple[int, int]], base: Fraction) -> list[list[float]]:
    runs: list[list[float]] = []
    for number, moment in places:
        second = round(float(moment * base), 3)
        if runs and number == runs[-1][1] + 1:
            runs[-1][1], runs[-1][3] = number, second
        else:
            runs.append([number, number, second, second])
    return runs


def _named(runs: Sequence[Sequence[float]]) -> str:
    """Some runs in words: `49 (1.96 s), 52 to 60 (2.08 s to 2.4 s)`."""
    words = [
        f"{first:.0f} ({begin:g} s)" if first == last else f"{first:.0f} to {last:.0f} ({begin:g} s to {end:g} s)"
        for first, last, begin, end in runs[:NAMED]
    ]
    return f"frame{'s' * (len(runs) > 1 or runs[0][0] != runs[0][1])} {', '.join(words)}" + (
        " and more" if len(runs) > NAMED else ""
    )


class Sizes:
    """The sizes of the decoded pictures."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int]] = []
        """First frame (from 0), width and height of each run of pictures of one size, as stored."""
        self.count = 0
        """All runs, including those that are not kept."""
        self._last = (0, 0)

    def see(self, number: int, width: int, height: int) -> None:
        """Frame `number`, from 0, was decoded."""
        if (width, height) != self._last:
            self._last = (width, height)
            self.count += 1
            if len(self.runs) < RUNS_MAX:
                self.runs.append((number, width, height))

    def to_json(
        self, times: Sequence[int], base: Fraction, size: tuple[int, int], *, sideways: bool
    ) -> dict[str, Any] | None:
        """The changes as JSON; None if there are none.

        Args:
            times: when each frame is shown, in ticks.
            base: seconds a tick.
            size: width and height that all pictures are scaled to, upright.
            sideways: whether the stored pictures are turned by a quarter.

        Returns:
            `to` [width, height], `count` of the runs, and `runs`: [first frame, its second, width, height] each.
        """
        if self.count < 2:  # noqa: PLR2004 - one size
            return None
        runs = [
            [number, round(float(times[number] * base), 3), *((height, width) if sideways else (width, height))]
            for number, width, height in self.runs
            if number < len(times)
        ]
        return {"to": list(size), "count": self.count, "runs": runs}


def describe_sizes(resized: Mapping[str, Any] | None) -> str:
    """The changes in sentences; empty if there are none."""
    if not resized:
        return ""
    (_, _, width, height), *others = resized["runs"]
    named = [f"{w}x{h} from frame {number} ({second:g} s) on" for number, second, w, h in others[:NAMED]]
    more = resized["count"] - 1 - len(named)
    changes = ", ".join([f"{width}x{height} at first", *named, *([f"and {more} more changes"] if more else [])])
    to_width, to_height = resized["to"]
    squeezed = any(w * to_height != h * to_width for _, _, w, h in resized["runs"])
    shape = "; where their shape is another they look squeezed or stretched" if squeezed else ""
    return f"Its pictures change their size: {changes}. All are scaled to {to_width}x{to_height}{shape}."
