"""Maps a sound's channels to speakers, and mixes down layouts that AAC and players do not know."""

from __future__ import annotations

from dataclasses import dataclass

ORDER = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC"),
    *("TBR", "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR"),
)
"""FFmpeg's names of the speakers, in its order of samples. Source: libavutil/channel_layout.h."""

UNNAMED = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""Number of channels to the assumed layout: AVI and raw PCM name none."""

KEPT = frozenset({"mono", "stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.1", "7.1"})
"""Layouts that come out of AAC in MP4 as they went in."""

AMBISONIC = "AMBI"

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """The conversion of samples before FFmpeg's resampler, which knows the usual layouts, gets them."""

    layout: str
    """The layout after the conversion, as FFmpeg names it."""
    matrix: Matrix | None
    """A row for each output channel, a column for each input channel; None if samples stay as they are."""
    loss: str = ""
    """What is lost, for people."""


def fold(names: tuple[str, ...]) -> Fold:
    """The conversion of sound with these channels.

    Args:
        names: FFmpeg's name of each channel, in the order of the samples; "NONE" if the file names none.
    """
    count = len(names)
    if len(set(names)) == count and all(name in ORDER for name in names):
        ordered = tuple(sorted(names, key=ORDER.index))
        matrix = None if ordered == names else tuple(_row(count, {names.index(name): 1.0}) for name in ordered)
        return Fold("+".join(ordered), matrix)
    if AMBISONIC + "0" in names:
        return _ambisonic(names)
    if count in {1, 2} or (set(names) == {"NONE"} and count in UNNAMED):
        return Fold(UNNAMED[count], None)
    return alternate(count)


def alternate(count: int) -> Fold:
    """Mix every other channel to the left, the rest to the right: tracks of a recorder are mostly pairs."""
    left = _row(count, dict.fromkeys(range(0, count, 2), 1 / len(range(0, count, 2))))
    right = _row(count, dict.fromkeys(range(1, count, 2), 1 / len(range(1, count, 2)))) if count > 1 else left
    loss = f"{count} channels that the file gives no order for are mixed down to stereo, every other one to each side"
    return Fold("stereo", (left, right), loss)


def target(folds: list[Fold], sizes: list[int]) -> str:
    """The result's layout: the one with most channels, if AAC and players know it.

    Args:
        folds: the conversion of each form of the sound.
        sizes: channels that each form has after it.
    """
    layout, size = max(zip((f.layout for f in folds), sizes, strict=True), key=lambda found: found[1])
    usual = UNNAMED.get(size, "7.1")
    return next((found for found in (layout, usual) if found in KEPT), "7.1")


def _ambisonic(names: tuple[str, ...]) -> Fold:
    """Two first-order cardioids that point to the sides (ACN, SN3D); a head-locked pair is added unchanged."""
    count, front, side = len(names), names.index("AMBI0"), names.index("AMBI1") if "AMBI1" in names else None
    rows = []
    for sign, speaker in ((1, "FL"), (-1, "FR")):
        row = {front: 0.5 if side is not None else 1.0}
        if side is not None:
            row[side] = 0.5 * sign
        if speaker in names:
            row[names.index(speaker)] = 1.0
        rows.append(_row(count, row))
    return Fold("stereo", tuple(rows), f"ambisonic sound of {count} channels is mixed down to stereo")


def _row(count: int, values: dict[int, float]) -> tuple[float, ...]:
    return tuple(values.get(k, 0.0) for k in range(count))
