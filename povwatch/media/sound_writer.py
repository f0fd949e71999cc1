"""Converts decoded sound to one form, lays it out by its timestamps, and encodes it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from numpy.typing import NDArray

    from povwatch.media.channels import Fold

LATE = 1.0
"""Seconds of silence that are not filled if the sound goes on only after the end of the picture."""


class Converter:
    """Converts frames of one form to samples of the result: float32 of shape (samples, channels)."""

    def __init__(self, fold: Fold, layout: str, rate: int) -> None:
        self._fold, self._layout, self._rate = fold, layout, rate
        self._matrix = None if fold.matrix is None else np.array(fold.matrix, np.float32).T
        self._first: AudioResampler | None = None
        self._second: AudioResampler | None = None
        self._size = AudioLayout(layout).nb_channels

    def samples(self, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
        """The samples for a frame; None flushes the rest."""
        if self._first is None:
            if frame is None:
                return
            known = frame.layout.name
            direct = self._matrix is None and known == self._fold.layout
            # packed, because PyAV counts the planes of eight channels wrongly
            self._first = AudioResampler("flt", self._layout if direct else known, self._rate)
            if not direct:
                self._second = AudioResampler("flt", self._layout, self._rate)
        for part in self._first.resample(frame):
            if self._second is None:
                yield _packed(part, self._size)
            else:
                yield from self._relabelled(part)
        if frame is None and self._second is not None:
            for part in self._second.resample(None):
                yield _packed(part, self._size)

    def _relabelled(self, part: AudioFrame) -> Iterator[NDArray[np.float32]]:
        samples = _packed(part, part.layout.nb_channels)
        mixed = samples if self._matrix is None else samples @ self._matrix
        frame = _frame(mixed, self._fold.layout, self._rate, part.pts or 0)
        assert self._second is not None  # noqa: S101 - the caller looked
        for ready in self._second.resample(frame):
            yield _packed(ready, self._size)


class SoundWriter:
    """Writes samples one after the other, with silence for the gaps."""

    def __init__(self, container: OutputContainer, out: AudioStream, rate: int, size: int, layout: str) -> None:
        self._container, self._out = container, out
        self._rate, self._size, self._layout = rate, size, layout
        self._at: int | None = None
        self._skip = 0

    def begin(self, start: float, until: float) -> bool:
        """Set the start of the next samples; False if they begin so long after the picture that they are left out."""
        place = round(start * self._rate)
        at = self._at if self._at is not None else 0
        if start > until + LATE and place > at + LATE * self._rate:
            return False
        if self._at is None:
            self._at = at = max(place, 0)
        self._skip = max(at - place, 0)  # begins before zero, or overlaps earlier samples
        while place > self._at:
            self._put(np.zeros((min(place - self._at, self._rate), self._size), np.float32))
        return True

    def add(self, parts: Iterator[NDArray[np.float32]]) -> None:
        """Write samples."""
        for part in parts:
            rest = part[self._skip :]
            self._skip -= len(part) - len(rest)
            if len(rest):
                self._put(rest)

    def close(self) -> None:
        """Flush the encoder."""
        if self._at is not None:
            self._container.mux(self._out.encode(None))

    def _put(self, samples: NDArray[np.float32]) -> None:
        at = self._at or 0
        self._container.mux(self._out.encode(_frame(samples, self._layout, self._rate, at)))
        self._at = at + len(samples)


def _packed(frame: AudioFrame, size: int) -> NDArray[np.float32]:
    """Samples clipped to full scale, as players do.

    The encoder refuses NaN, infinity and huge numbers, which float PCM may contain.
    """
    samples = cast("NDArray[np.float32]", frame.to_ndarray()).reshape(-1, size)
    return np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)


def _frame(samples: NDArray[np.float32], layout: str, rate: int, at: int) -> AudioFrame:
    packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
    return frame
