"""Scores of a result against its clip, frame by frame. docs/scores.md has the rules and their sources.

Each metric sees one frame after the other, and keeps sums. It keeps them once for the whole picture and once inside the
mask of what is kept, where there is one. All pictures of a pair have one size: that of the clip, or less: see score.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import cv2
import numpy as np

from povwatch.core.scores import KEPT, Missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Picture = NDArray[Any]
    Mask = NDArray[np.bool_]

WHOLE = ""
"""The region of the whole picture; KEPT is the other one. It ends the name of the region's scores."""

SSIM_SIDE = 360
"""Pixels: the short side of the pictures that blur SSIM compares, at most."""

BLURRED_TO = 90
"""The blur's standard deviation is the short side divided by this: 8 pixels of a picture of 720."""

SSIM_WINDOW, SSIM_SIGMA = (11, 11), 1.5
"""The window that SSIM is measured in. Source: Wang et al., Image Quality Assessment, IEEE TIP 13 (4), 2004."""

SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""The constants that keep SSIM stable, from the same paper."""

MOTION_BLUR, MOTION_DIFFERENCE, MOTION_OPENED, MOTION_DISTANCE = 7, 10, 3, 7.0
"""Pixels, grey levels, pixels, pixels. Source: cosmos-evaluator, docs/checks/hallucination.md, the defaults."""

ACCELERATION_BLUR = 7
"""Pixels. Source: nebius-physical-ai, cosmos_evaluator/temporal_consistency.py."""

COLOUR_SIDE = 256
"""Pixels: the long side of the pictures whose colours are compared, at most. Source: appearance_fidelity.py there."""

DRIFT_PERCENTILE = 95
"""So many percent of the frames have drifted by the score or less. Source: the same."""


@dataclass
class Pair:
    """A frame of the result and the clip's. Arrays have the shape (height, width), pictures 3 channels (RGB, uint8)."""

    result: Picture
    clip: Picture
    follows: bool = False
    """Whether the frame before it was seen, too."""
    control: Mask | None = None
    """The edges of the control; None without one."""
    holds: Mask | None = None
    """Where the edge control holds; None for everywhere."""
    kept: Mask | None = None
    """What is kept of the clip; None if nothing is."""
    thresholds: tuple[int, int] = (100, 200)
    """Of Canny."""

    @property
    def regions(self) -> Iterator[tuple[str, Mask | None]]:
        """The regions that are measured, with their masks; None is everywhere."""
        yield WHOLE, None
        if self.kept is not None:
            yield KEPT, self.kept

    @cached_property
    def grey(self) -> tuple[Picture, Picture]:
        """The luma of both, uint8."""
        return cv2.cvtColor(self.result, cv2.COLOR_RGB2GRAY), cv2.cvtColor(self.clip, cv2.COLOR_RGB2GRAY)


@dataclass
class Found:
    """What the metrics found."""

    scores: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, region: str, value: float | Missing, **details: Any) -> None:  # noqa: ANN401 - JSON values
        """Add a score of a region: its number, or why it has none; and what else is known about it."""
        if isinstance(value, Missing):
            self.missing[name + region] = str(value)
        else:
            self.scores[name + region] = round(value, 4)
        if details:
            self.details[name + region] = details


class Metric(Protocol):
    """Measures one thing, or several that come of the same work."""

    names: ClassVar[tuple[str, ...]]

    def update(self, pair: Pair) -> None:
        """Add the next frame."""

    def compute(self, found: Found) -> None:
        """Add the scores of all frames so far."""


class Edges:
    """edge_f1: Canny edges of the result against the control's, pixel by pixel, over all frames together."""

    names: ClassVar[tuple[str, ...]] = ("edge_f1",)

    def __init__(self, missing: Missing | None = None) -> None:
        """`missing`: why there is no control to compare with."""
        self.missing = missing
        self._counts: dict[str, Picture] = {}
        """By region: pixels of edges in both, in the result alone, in the control alone."""

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        if pair.control is None:
            return
        found = cv2.Canny(pair.result, *pair.thresholds) > 0
        given = pair.control
        if pair.holds is not None:
            found, given = found & pair.holds, given & pair.holds
        for region, mask in pair.regions:
            ours, theirs = (found, given) if mask is None else (found & mask, given & mask)
            both = int(np.count_nonzero(ours & theirs))
            counts = np.array([both, np.count_nonzero(ours) - both, np.count_nonzero(theirs) - both])
            self._counts[region] = self._counts.get(region, 0) + counts

    def compute(self, found: Found) -> None:
        """Add the scores."""
        if self.missing is not None or not self._counts:
            found.add("edge_f1", WHOLE, self.missing or Missing.NO_CONTROL)
            return
        for region, counts in self._counts.items():
            both, ours, theirs = map(int, counts)
            if both + theirs == 0:
                found.add("edge_f1", region, Missing.NO_EDGES)
                continue
            precision, recall = both / max(both + ours, 1), both / (both + theirs)
            f1 = 2 * both / (2 * both + ours + theirs)
            found.add("edge_f1", region, f1, precision=round(precision, 4), recall=round(recall, 4))


class BlurSsim:
    """blur_ssim: mean SSIM of the luma, after the same blur of both."""

    names: ClassVar[tuple[str, ...]] = ("blur_ssim",)

    def __init__(self) -> None:
        self._sums: dict[str, Picture] = {}
        """By region: the sum over pixels, and their number."""

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        size = within(pair.grey[0].shape[1::-1], short=SSIM_SIDE)
        sigma = min(size) / BLURRED_TO
        ours, theirs = (cv2.GaussianBlur(resized(grey, size).astype(np.float32), (0, 0), sigma) for grey in pair.grey)
        similar = ssim(ours, theirs)
        for region, mask in pair.regions:
            seen = similar if mask is None else similar[resized_mask(mask, size)]
            counts = np.array([seen.sum(dtype=np.float64), seen.size])
            self._sums[region] = self._sums.get(region, 0) + counts

    def compute(self, found: Found) -> None:
        """Add the scores."""
        _means("blur_ssim", self._sums, found)


def ssim(one: Picture, other: Picture) -> Picture:
    """SSIM of two pictures of 8-bit range (float32), for each pixel."""

    def mean(picture: Picture) -> Picture:
        return cv2.GaussianBlur(picture, SSIM_WINDOW, SSIM_SIGMA)

    mean_one, mean_other = mean(one), mean(other)
    squares, product = mean_one**2 + mean_other**2, mean_one * mean_other
    variances = mean(one * one + other * other) - squares
    covariance = mean(one * other) - product
    similar: Picture = ((2 * product + SSIM_C1) * (2 * covariance + SSIM_C2)) / (
        (squares + SSIM_C1) * (variances + SSIM_C2)
    )
    return similar


class Motion:
    """invented_motion, lost_motion: moving pixels of one video that are far from any that move in the other."""

    names: ClassVar[tuple[str, ...]] = ("invented_motion", "lost_motion")

    def __init__(self) -> None:
        self._before: tuple[Picture, Picture] | None = None
        self._counts: dict[str, Picture] = {}
        """By region: the result's moving pixels that are far and all, the clip's, and the pixels of the region."""

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        before, self._before = self._before, pair.grey
        if before is None or not pair.follows:
            return
        ours, theirs = (moving(old, new) for old, new in zip(before, pair.grey, strict=True))
        invented, lost = ours & far(theirs), theirs & far(ours)
        for region, mask in pair.regions:
            counted = [one if mask is None else one & mask for one in (invented, ours, lost, theirs)]
            size = ours.size if mask is None else np.count_nonzero(mask)
            counts = np.array([*(np.count_nonzero(one) for one in counted), size])
            self._counts[region] = self._counts.get(region, 0) + counts

    def compute(self, found: Found) -> None:
        """Add the scores."""
        if not self._counts:
            for name in self.names:
                found.add(name, WHOLE, Missing.TOO_SHORT)
        for region, counts in self._counts.items():
            invented, ours, lost, theirs, size = map(int, counts)
            for name, far_off, moves in (("invented_motion", invented, ours), ("lost_motion", lost, theirs)):
                found.add(name, region, far_off / max(moves, 1) if size else Missing.EMPTY_MASK, moving_pixels=moves)


def moving(old: Picture, new: Picture) -> Mask:
    """Where two consecutive frames (uint8) differ."""
    difference = cv2.GaussianBlur(cv2.absdiff(old, new), (MOTION_BLUR, MOTION_BLUR), 0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (MOTION_OPENED, MOTION_OPENED))
    opened = cv2.morphologyEx((difference > MOTION_DIFFERENCE).astype(np.uint8), cv2.MORPH_OPEN, disc)
    return np.asarray(opened, np.bool_)


def far(moves: Mask) -> Mask:
    """Where no pixel near moves."""
    if not moves.any():  # without a zero, there are no distances
        return np.ones_like(moves)
    distances = cv2.distanceTransform((~moves).astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(distances > MOTION_DISTANCE, np.bool_)


class Acceleration:
    """temporal_residual: the result's second difference over time less the clip's, in the worst part of the picture."""

    names: ClassVar[tuple[str, ...]] = ("temporal_residual",)

    def __init__(self) -> None:
        self._before: list[tuple[Picture, Picture]] = []
        """The last two frames, blurred, int16."""
        self._sums: dict[str, Picture] = {}
        """By region: sums over pixels for the whole and its four quarters, then the number of pixels of each."""

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        side = (ACCELERATION_BLUR, ACCELERATION_BLUR)
        now = cv2.GaussianBlur(pair.grey[0], side, 0), cv2.GaussianBlur(pair.grey[1], side, 0)
        if not pair.follows:
            self._before.clear()
        if len(self._before) == 2:  # noqa: PLR2004 - a second difference has three frames
            ours, theirs = (_accelerated(one, two, three) for one, two, three in zip(*self._before, now, strict=True))
            residual = cv2.absdiff(ours, theirs)
            for region, mask in pair.regions:
                parts = _quarters(residual) if mask is None else [residual[mask]]
                sums = np.array([part.sum(dtype=np.float64) for part in parts] + [part.size for part in parts])
                self._sums[region] = self._sums.get(region, 0) + sums
        self._before = [*self._before[-1:], now]

    def compute(self, found: Found) -> None:
        """Add the scores."""
        if not self._sums:
            found.add("temporal_residual", WHOLE, Missing.TOO_SHORT)
        for region, sums in self._sums.items():
            totals, sizes = np.split(sums, 2)
            if not sizes.all():
                found.add("temporal_residual", region, Missing.EMPTY_MASK)
                continue
            means = totals / sizes
            rest = {} if region else {"quarters": [round(float(one), 4) for one in means[1:]]}
            found.add("temporal_residual", region, float(means.max()), whole=round(float(means[0]), 4), **rest)


def _accelerated(one: Picture, two: Picture, three: Picture) -> Picture:
    return one.astype(np.int16) - 2 * two.astype(np.int16) + three.astype(np.int16)


def _quarters(picture: Picture) -> list[Picture]:
    """The whole picture, then its four quarters; a middle row or column belongs to two."""
    height, width = picture.shape
    top, left = (height + 1) // 2, (width + 1) // 2
    rows, columns = (slice(0, top), slice(height - top, height)), (slice(0, left), slice(width - left, width))
    return [picture, *(picture[row, column] for row in rows for column in columns)]


class Colour:
    """colour_drift: how far the mean colour (CIELAB) leaves the distance to the clip's that it begins with."""

    names: ClassVar[tuple[str, ...]] = ("colour_drift",)

    def __init__(self) -> None:
        self._shifts: dict[str, list[Picture]] = {}
        """By region: mean of the result less mean of the clip, for each frame: L*, a*, b*."""

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        size = within(pair.clip.shape[1::-1], long=COLOUR_SIDE)
        ours, theirs = (_lab(resized(picture, size)) for picture in (pair.result, pair.clip))
        for region, mask in pair.regions:
            inside = None if mask is None else resized_mask(mask, size)
            shifts = self._shifts.setdefault(region, [])
            if inside is None or inside.any():
                shifts.append(_mean(ours, inside) - _mean(theirs, inside))

    def compute(self, found: Found) -> None:
        """Add the scores."""
        for region, shifts in self._shifts.items():
            if len(shifts) < 2:  # noqa: PLR2004 - a change has two ends
                found.add("colour_drift", region, Missing.TOO_SHORT if shifts or not region else Missing.EMPTY_MASK)
                continue
            changes = np.linalg.norm(np.array(shifts) - shifts[0], axis=1)
            shift = [round(float(one), 2) for one in np.mean(shifts, axis=0)]
            found.add("colour_drift", region, float(np.percentile(changes, DRIFT_PERCENTILE)), shift=shift)


def _lab(picture: Picture) -> Picture:
    """CIELAB (D65) of an sRGB picture: L* 0 to 100."""
    lab: Picture = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def _mean(picture: Picture, inside: Mask | None) -> Picture:
    pixels = picture.reshape(-1, 3) if inside is None else picture[inside]
    mean: Picture = pixels.mean(axis=0, dtype=np.float64)
    return mean


def _means(name: str, sums: Mapping[str, Picture], found: Found) -> None:
    """Add the mean of each region, from the sum over its pixels and their number."""
    for region, (total, count) in sums.items():
        found.add(name, region, float(total / count) if count else Missing.EMPTY_MASK)


def within(size: tuple[int, int], *, short: int | None = None, long: int | None = None) -> tuple[int, int]:
    """Width and height, shrunk in proportion until the short or the long side is at most so many pixels."""
    scale = min(1.0, *(() if short is None else (short / min(size),)), *(() if long is None else (long / max(size),)))
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture in another size: shrunk by the mean of areas, enlarged linearly."""
    if picture.shape[1::-1] == size:
        return picture
    scaling = cv2.INTER_AREA if picture.shape[1] * picture.shape[0] > size[0] * size[1] else cv2.INTER_LINEAR
    made: Picture = cv2.resize(picture, size, interpolation=scaling)
    return made


def resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask in another size: true where at least half of the area is."""
    if mask.shape[1::-1] == size:
        return mask
    return np.asarray(resized(mask.astype(np.uint8) * 255, size) > 127, np.bool_)  # noqa: PLR2004 - half of 255
