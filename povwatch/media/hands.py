"""Scores of the hands in a result: where MediaPipe finds their 21 landmarks in it, and where it finds them in the clip.

MediaPipe is an extra (`povwatch[hands]`), and its model is a file that the configuration names: `quality.hands_model`.
Every STEP-th frame that is compared is looked at. A hand of the clip and one of the result are the same hand if their
centres are no further apart than the longer side of the hand's box in the clip; the nearest ones go together.
"""

from __future__ import annotations

import importlib.metadata
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from povwatch.core.scores import Missing
from povwatch.media.info import JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from povwatch.media.metrics import Found, Mask, Metric, Pair, Picture

STEP = 3
"""One of so many frames is looked at: a look takes longer than all other scores of a frame together."""

NEAR = 0.1
"""A point is where the clip has it if it is within this part of the hand's box. Source: PCK at 0.1."""

HANDS_MAX = 2
"""Hands that are looked for in a frame: those of the person who wears the camera."""


@dataclass(frozen=True)
class Hand:
    """A hand in a frame."""

    points: NDArray[np.float64]
    """Shape (21, 2): x and y in pixels, in the order of MediaPipe, which is that of MANO."""
    side: str
    """Left or Right, as MediaPipe says."""

    @property
    def centre(self) -> NDArray[np.float64]:
        """The mean of its points."""
        mean: NDArray[np.float64] = self.points.mean(axis=0)
        return mean

    @property
    def box(self) -> float:
        """The longer side of the box around its points, in pixels."""
        return max(1.0, float(np.ptp(self.points, axis=0).max()))

    def inside(self, mask: Mask | None) -> bool:
        """Whether its centre is inside a mask; None is everywhere."""
        if mask is None:
            return True
        x, y = (round(float(at)) for at in self.centre)
        return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])


@dataclass
class _Counts:
    frames: int = 0
    """Frames with a hand."""
    changed: int = 0
    """Frames in which a hand appears or vanishes."""
    hands: int = 0
    """Hands that are in both."""
    swapped: int = 0
    points: int = 0
    """Points of these that are where the clip has them."""
    all_points: int = 0


class Hands:
    """hands_changed, hands_pck, hands_swapped."""

    names: ClassVar[tuple[str, ...]] = ("hands_changed", "hands_pck", "hands_swapped")

    def __init__(self, find: Callable[[Picture], Sequence[Hand]]) -> None:
        """`find` finds the hands in a picture (RGB, uint8)."""
        self._find = find
        self._seen = 0
        self._counts: dict[str, _Counts] = {}

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        self._seen += 1
        if (self._seen - 1) % STEP:
            return
        ours, theirs = self._find(pair.result), self._find(pair.clip)
        for region, mask in pair.regions:
            counts = self._counts.setdefault(region, _Counts())
            _count(counts, [one for one in ours if one.inside(mask)], [one for one in theirs if one.inside(mask)])

    def compute(self, found: Found) -> None:
        """Add the scores."""
        for region, counts in self._counts.items():
            parts = (
                ("hands_changed", counts.changed, counts.frames),
                ("hands_pck", counts.points, counts.all_points),
                ("hands_swapped", counts.swapped, counts.hands),
            )
            for name, part, whole in parts:
                found.add(name, region, part / whole if whole else Missing.NO_HANDS)


class NoHands:
    """The same scores where MediaPipe cannot be used, and why."""

    names: ClassVar[tuple[str, ...]] = Hands.names

    def __init__(self, why: Missing) -> None:
        self.why = why

    def update(self, pair: Pair) -> None:
        """Look at nothing."""

    def compute(self, found: Found) -> None:
        """Add the reason."""
        for name in self.names:
            found.add(name, "", self.why)


def _count(counts: _Counts, ours: Sequence[Hand], theirs: Sequence[Hand]) -> None:
    same = matched(ours, theirs)
    counts.frames += bool(ours or theirs)
    counts.changed += len(same) < max(len(ours), len(theirs))
    counts.hands += len(same)
    for result, clip in same:
        counts.swapped += result.side != clip.side
        distances = np.linalg.norm(result.points - clip.points, axis=1)
        counts.points += int(np.count_nonzero(distances <= NEAR * clip.box))
        counts.all_points += len(distances)


def matched(ours: Sequence[Hand], theirs: Sequence[Hand]) -> list[tuple[Hand, Hand]]:
    """The hands that are in both, each with its other one: of the result, of the clip."""
    distances = sorted(
        (float(np.linalg.norm(one.centre - other.centre)), i, j)
        for i, one in enumerate(ours)
        for j, other in enumerate(theirs)
    )
    pairs: dict[int, int] = {}
    for distance, i, j in distances:
        if i not in pairs and j not in pairs.values() and distance <= theirs[j].box:
            pairs[i] = j
    return [(ours[i], theirs[j]) for i, j in pairs.items()]


@contextmanager
def hands(model: str) -> Iterator[Metric]:
    """The metric of the hands, with MediaPipe's Hand Landmarker loaded.

    Args:
        model: path of `hand_landmarker.task`; empty if none is configured.
    """
    try:
        import mediapipe as mp  # noqa: PLC0415 - an extra
    except (ImportError, OSError):  # it is not there, or a library that it loads is not
        yield NoHands(Missing.NOT_INSTALLED)
        return
    try:
        data = Path(model).read_bytes() if model else b""
    except OSError:
        data = b""
    if not data:
        yield NoHands(Missing.NO_MODEL)
        return
    vision = mp.tasks.vision
    options = vision.HandLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_buffer=data),
        running_mode=vision.RunningMode.IMAGE,
        num_hands=HANDS_MAX,
    )
    try:
        made = vision.HandLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:  # it is no model of hand landmarks
        print(f"{model}: {error}", file=sys.stderr)  # noqa: T201 - the child's output
        yield NoHands(Missing.NO_MODEL)
        return
    with made as landmarker:

        def find(picture: Picture) -> list[Hand]:
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
            return read(landmarker.detect(image), picture.shape[1::-1])

        yield Hands(find)


@dataclass(frozen=True, slots=True)
class Usable(JsonObject):
    """Whether hands can be scored here."""

    version: str
    """MediaPipe's; empty if it cannot be imported."""
    missing: str = ""
    """A word of Missing: why not; empty if they can."""


def usable(model: str, *, report: Callable[[float], None] = lambda _: None) -> Usable:
    """Load the model, as for a result. See `hands`."""
    report(0.0)
    with hands(model) as found:
        try:
            version = importlib.metadata.version("mediapipe")
        except importlib.metadata.PackageNotFoundError:
            version = ""
        return Usable(version, str(found.why) if isinstance(found, NoHands) else "")


def read(result: Any, size: tuple[int, int]) -> list[Hand]:  # noqa: ANN401 - MediaPipe's HandLandmarkerResult
    """The hands in MediaPipe's result, whose points are parts of the picture's width and height (`size`)."""
    return [
        Hand(np.array([(point.x, point.y) for point in points], np.float64) * size, sides[0].category_name)
        for points, sides in zip(result.hand_landmarks, result.handedness, strict=True)
    ]
