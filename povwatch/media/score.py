"""Scores a finished result against its clip, and makes its contact sheet, in one pass over the frames of both.

Frame k of each video belongs to frame k of the others, and one frame of each is in memory at a time. Every frame is
decoded; those of a long clip are compared in runs of consecutive ones, evenly spread.

Pictures are compared in the clip's size, or shrunk to a short side of SIDE pixels. That is what the engines do before
they compute edges. A result of another size is scaled to it.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av.error
import cv2
import numpy as np

from povwatch.container.signature import HEAD, video_kind
from povwatch.core.cosmos import EDGE_PRESET, EDGE_THRESHOLDS
from povwatch.core.errors import CheckFailed, NotAVideo, PovwatchError
from povwatch.core.scores import COMPARED, KEPT, Missing
from povwatch.media.info import Scored, Scoring
from povwatch.media.metrics import WHOLE, Acceleration, BlurSsim, Colour, Edges, Found, Motion, Pair, resized, within
from povwatch.media.sheet import Sheet
from povwatch.media.source import opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.media.metrics import Mask, Metric, Picture

SIDE = 720
"""Pixels of the short side of the pictures that are compared, at most."""

RUN = 12
"""Consecutive frames of a longer clip that are compared."""

HALF = 127
"""A control shows an edge, and a mask holds, where it is brighter."""


def score(about: dict[str, Any], *, report: Callable[[float], None] = lambda _: None) -> Scored:
    """Score a result.

    Args:
        about: Scoring as JSON.

    Raises:
        CheckFailed: the result or the clip cannot be read to its end.
        NotAVideo: one of them is no video.
    """
    cv2.setNumThreads(1)  # each thread takes address space, which is limited
    asked = Scoring.from_json(about)
    found = Found()
    with ExitStack() as stack:
        pairs = _Pairs(asked, stack)
        edges = Edges()
        metrics = [edges, *_others(asked, stack)] if asked.measured else []
        sheet = Sheet(asked.frames) if asked.sheet is not None else None
        guarded = [_Guarded(metric) for metric in metrics]
        many = _pass(pairs, guarded, sheet, asked.frames, report)
        edges.missing = pairs.control.missing or pairs.holds.missing
        for metric in guarded:
            metric.compute(found)
        if pairs.scaled:
            found.details["scaled"] = pairs.scaled
        if pairs.kept.missing is not None:  # what was found before it ended says nothing about the whole
            for name in [name for metric in guarded for name in metric.names]:
                found.scores.pop(name + KEPT, None)
                found.details.pop(name + KEPT, None)
                found.add(name, KEPT, pairs.kept.missing)
    if sheet is not None and asked.sheet is not None:
        sheet.save(Path(asked.sheet))
    return Scored(found.scores, found.missing, found.details, many, sheet is not None)


def _others(asked: Scoring, stack: ExitStack) -> list[Metric]:
    """All metrics but the edges."""
    metrics: list[Metric] = [BlurSsim(), Motion(), Acceleration(), Colour()]
    if asked.hands_model is not None:
        from povwatch.media.hands import hands  # noqa: PLC0415 - an extra, and slow to import

        metrics.append(stack.enter_context(hands(asked.hands_model)))
    return metrics


class _Guarded:
    """A metric whose failure costs its own scores, and no others."""

    def __init__(self, metric: Metric) -> None:
        self.names = metric.names
        self._metric = metric
        self._failed = False

    def update(self, pair: Pair) -> None:
        """Add the next frame."""
        if not self._failed:
            try:
                self._metric.update(pair)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, the other scores are measured
                traceback.print_exc(file=sys.stderr)
                self._failed = True

    def compute(self, found: Found) -> None:
        """Add the scores."""
        if not self._failed:
            self._metric.compute(found)
            return
        for name in self.names:
            found.add(name, WHOLE, Missing.FAILED)


def _pass(
    pairs: _Pairs, metrics: list[_Guarded], sheet: Sheet | None, frames: int, report: Callable[[float], None]
) -> int:
    """Show the metrics and the sheet their frames; return how many were compared."""
    wanted = set(compared(frames)) if metrics else set()
    before, count = -2, 0
    for number in range(frames):
        pair = pairs.next(wanted=number in wanted or (sheet is not None and number in sheet.moments))
        if pair is not None and number in wanted:
            pair.follows = before == number - 1
            before, count = number, count + 1
            for metric in metrics:
                metric.update(pair)
        if pair is not None and sheet is not None:
            sheet.add(number, pairs.moment, pair.clip, pair.result)
        report((number + 1) / frames)
    return count


def compared(frames: int) -> list[int]:
    """The frames of a result that are compared: all, or runs of RUN, evenly spread, COMPARED in all."""
    if frames <= COMPARED:
        return list(range(frames))
    runs = COMPARED // RUN
    starts = [round(run * (frames - RUN) / (runs - 1)) for run in range(runs)]
    return [start + k for start in starts for k in range(RUN)]


class _Pairs:
    """Reads all videos in step."""

    def __init__(self, asked: Scoring, stack: ExitStack) -> None:
        self._asked = asked
        self._result = _Video(asked.result, "The result", stack)
        self._clip = _Video(asked.clip, "The working copy", stack)
        self.control = _Given(asked.edge_control, stack)
        self.holds = _Given(asked.edge_mask, stack)
        self.kept = _Given(asked.kept, stack)
        if asked.edge_control is None and asked.edge_preset is None:
            self.control.missing = Missing.NO_CONTROL
        self._thresholds = EDGE_THRESHOLDS.get(asked.edge_preset or EDGE_PRESET, EDGE_THRESHOLDS[EDGE_PRESET])
        self.scaled = ""
        """The result's own size, if it was scaled."""

    @property
    def moment(self) -> float | None:
        """When the frame that was read last is shown, in seconds."""
        return self._result.moment

    def next(self, *, wanted: bool) -> Pair | None:
        """The next frame of all videos, decoded; None unless it is wanted.

        Raises:
            CheckFailed: the result or the clip has no more frames.
        """
        result, clip = self._result.next(wanted=wanted), self._clip.next(wanted=wanted)
        given = [video.next(wanted=wanted) for video in (self.control, self.holds, self.kept)]
        if result is None or clip is None:
            return None
        result = result[:, result.shape[1] - result.shape[1] // self._asked.panels :]
        clip = self._cut(clip)
        size = within((clip.shape[1], clip.shape[0]), short=SIDE)
        if result.shape != clip.shape:
            self.scaled = f"{result.shape[1]}x{result.shape[0]}"
        small = resized(np.ascontiguousarray(clip), size)
        control, holds, kept = given
        return Pair(
            result=resized(np.ascontiguousarray(result), size),
            clip=small,
            control=self._edges(control, clip, small),
            holds=None if holds is None else _bright(holds, size),
            kept=None if kept is None else _bright(self._cut(kept), size),
            thresholds=self._thresholds,
        )

    def _cut(self, picture: Picture) -> Picture:
        """A picture in the working copy's size without the pixels that were added."""
        left, top, right, bottom = self._asked.pad
        return picture[top : picture.shape[0] - bottom, left : picture.shape[1] - right]

    def _edges(self, control: Picture | None, clip: Picture, small: Picture) -> Mask | None:
        """The edges of a given or computed control."""
        if self.control.missing is not None:
            return None
        if self._asked.edge_control is None:
            return np.asarray(cv2.Canny(small, *self._thresholds), np.bool_)
        if control is None:
            return None
        if control.shape != clip.shape:
            whole = control.shape[1::-1] == self._clip.size
            if not whole:
                self.control.missing = Missing.OTHER_SIZE
                return None
            control = self._cut(control)
        return _bright(control, small.shape[1::-1])


class _Video:
    """The frames of a video that has to be there."""

    def __init__(self, path: str, name: str, stack: ExitStack) -> None:
        self._name = name
        source = stack.enter_context(opened(path, kind_of(path)))
        self.size = (source.stream.width, source.stream.height)
        self._base = source.base
        self._frames = source.frames()
        self._count = 0
        self.moment: float | None = None
        """When the last frame is shown, in seconds."""

    def next(self, *, wanted: bool) -> Picture | None:
        """The next frame, RGB; None unless it is wanted.

        Raises:
            CheckFailed: there is none.
        """
        try:
            frame = next(self._frames, None)
        except av.error.FFmpegError as error:
            raise CheckFailed(f"{self._name} cannot be read past frame {self._count}: {error.strerror}.") from error
        if frame is None:
            raise CheckFailed(f"{self._name} ends after {self._count} frames.")
        self._count += 1
        self.moment = None if frame.pts is None else float(frame.pts * self._base)
        return frame.to_ndarray(format="rgb24") if wanted else None


class _Given:
    """The frames of a video whose faults cost the scores that need it, and no others."""

    def __init__(self, path: str | None, stack: ExitStack) -> None:
        self.missing: Missing | None = None
        """Why its scores have no number."""
        self._video: _Video | None = None
        if path is not None:
            try:
                self._video = _Video(path, "", stack)
            except (PovwatchError, OSError):
                self.missing = Missing.FAILED

    def next(self, *, wanted: bool) -> Picture | None:
        """The next frame, RGB; None unless it is wanted and there is one."""
        if self._video is None or self.missing is not None:
            return None
        try:
            return self._video.next(wanted=wanted)
        except CheckFailed:
            self.missing = Missing.OTHER_LENGTH
        except (PovwatchError, OSError):
            self.missing = Missing.FAILED
        return None


def kind_of(path: str) -> str:
    """The container of a video, by its signature.

    Raises:
        NotAVideo: the signature is unknown.
    """
    with Path(path).open("rb") as file:
        kind = video_kind(file.read(HEAD))
    if kind is None:
        raise NotAVideo(f"{Path(path).name} is no MP4, Matroska or AVI video.")
    return str(kind)


def _bright(picture: Picture, size: tuple[int, int]) -> Mask:
    """Where a picture (RGB) is bright, in another size, as upstream scales controls: linearly."""
    luma = picture[:, :, 0]
    if luma.shape[1::-1] != size:
        luma = cv2.resize(np.ascontiguousarray(luma), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(luma > HALF, np.bool_)
