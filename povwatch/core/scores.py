"""The scores of a result: their names, their directions, and the words in place of a number. Pure, standard library.

media/score.py measures them. docs/scores.md has the rule, the source and the blind spots of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT = "_kept"
"""The end of the name of a score inside the mask of what is kept of the clip (`povwatch.keep`)."""

COMPARED = 600
"""Frames of a result that are compared at most."""


@dataclass(frozen=True, slots=True)
class Score:
    """One score."""

    name: str
    words: str
    """What it is, for people."""
    higher: bool
    """Whether a higher number is better."""
    unit: str = ""
    """Of the number; empty for a share from 0 to 1."""


class Missing(StrEnum):
    """Why a score has no number."""

    NO_CONTROL = "no-control"
    """The job has no edge control."""
    NO_EDGES = "no-edges"
    """The control shows no edge in the frames that were looked at."""
    OTHER_SIZE = "other-size"
    """The control has another size than the clip."""
    OTHER_LENGTH = "other-length"
    """The control has fewer frames than the result."""
    TOO_SHORT = "too-short"
    """It needs more frames than the result has."""
    EMPTY_MASK = "empty-mask"
    """The mask shows nothing in the frames that were looked at."""
    NO_HANDS = "no-hands"
    """No hand was found in both."""
    NOT_INSTALLED = "not-installed"
    """MediaPipe is not installed."""
    NO_MODEL = "no-model"
    """`quality.hands_model` names no file."""
    OUT_OF_TIME = "out-of-time"
    """Measuring took too long and was stopped."""
    FAILED = "failed"
    """Measuring failed."""


_WHOLE = (
    Score("edge_f1", "edges of the result on the edges of its control", higher=True),
    Score("blur_ssim", "structural similarity to the clip, both blurred", higher=True),
    Score("invented_motion", "share of the result's motion that is not in the clip", higher=False),
    Score("lost_motion", "share of the clip's motion that is not in the result", higher=False),
    Score("temporal_residual", "acceleration of the pixels that is not the clip's", higher=False, unit="grey levels"),
    Score("colour_drift", "change of the colour against the clip over time", higher=False, unit="ΔE"),
    Score("hands_changed", "share of frames in which a hand appears or vanishes", higher=False),
    Score("hands_pck", "share of the hands' points that are where the clip has them", higher=True),
    Score("hands_swapped", "share of hands that are left instead of right, or right instead of left", higher=False),
)

_INSIDE = tuple(Score(f"{one.name}{KEPT}", f"{one.words}, inside what is kept", one.higher, one.unit) for one in _WHOLE)

SCORES: Mapping[str, Score] = {one.name: one for one in (*_WHOLE, *_INSIDE)}
"""Every score by its name, in the order in which they are shown."""

HANDS = tuple(name for name in SCORES if name.startswith("hands_"))
"""The scores that need MediaPipe."""


def shown(name: str, scores: Mapping[str, float], missing: Mapping[str, str]) -> str:
    """A score's number, or the word in its place, for people; empty if it was not asked for."""
    return f"{scores[name]:.3f}" if name in scores else str(missing.get(name, ""))


def listed(scores: Mapping[str, float], missing: Mapping[str, str]) -> list[tuple[str, str]]:
    """The scores that have a number or a word, in the order of SCORES, each with its text for people."""
    return [(name, text) for name in SCORES if (text := shown(name, scores, missing))]
