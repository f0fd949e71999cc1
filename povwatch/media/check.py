"""Checks frame by frame that an artifact is what the job asked for."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import TYPE_CHECKING

import av.error

from povwatch.core.errors import CheckFailed, NotAVideo
from povwatch.media import planes, times
from povwatch.media.errors import RUN_AGAIN
from povwatch.media.info import Checked, Expectation, text
from povwatch.media.prepare import read_times
from povwatch.media.probe import digest
from povwatch.media.source import Source, opened, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from av.video.frame import VideoFrame

BLANK = 2.0
"""A frame is blank if its luma deviates by less than this, in steps of 8 bits."""

NAMED = 20
"""Frames that a message or a report names at most."""

LOOSE = Fraction(1, 100)
"""Relative difference of an average rate that passes: a container stores only a few digits of it."""

STRICT = {"err_detect": "explode"}
"""Makes decoders report every error instead of concealing it."""


def check(
    artifact: str,
    expectation: dict[str, Any],
    *,
    report: Callable[[float], None] = lambda _: None,
) -> Checked:
    """Decode the whole artifact, an MP4, and compare it with what was asked for.

    Args:
        expectation: Expectation as JSON.

    Returns:
        All measured numbers.

    Raises:
        CheckFailed: with what was expected and what was found.
    """
    asked = Expectation.from_json(expectation)
    try:
        with opened(artifact, "mp4", STRICT) as source:
            found = _measure(source, asked, report)
    except NotAVideo as error:
        raise CheckFailed(f"The artifact is no video: {error.what}", RUN_AGAIN) from None
    _compare(found, asked)
    return found


class _Decoded:
    def __init__(self, source: Source, report: Callable[[int], None]) -> None:
        self.count = 0
        self.blank: list[int] = []
        self.blank_count = 0
        self.contrast = 0.0
        self.pix_fmt = ""
        try:
            for frame in source.frames():
                self._look(frame, source)
                report(self.count)
        except av.error.FFmpegError as error:
            raise CheckFailed(
                f"The artifact cannot be read past frame {self.count}: {error.strerror}.", RUN_AGAIN
            ) from None
        if source.damaged:
            raise CheckFailed(f"The artifact does not decode after frame {self.count}.", RUN_AGAIN)
        if not self.count:
            raise CheckFailed("The artifact has no frame.", RUN_AGAIN)

    def _look(self, frame: VideoFrame, source: Source) -> None:
        if frame.is_corrupt or source.damaged:
            raise CheckFailed(f"The artifact does not decode at frame {self.count}.", RUN_AGAIN)
        if (frame.width, frame.height) != (source.stream.width, source.stream.height):
            raise CheckFailed(f"The artifact changes its size at frame {self.count}.", RUN_AGAIN)
        if self.count == 0 and turn_of(frame):
            raise CheckFailed("The artifact is turned by a display matrix; it has to be upright.", RUN_AGAIN)
        self.pix_fmt = frame.format.name
        spread = planes.contrast(frame)
        self.contrast = max(self.contrast, spread)
        if spread < BLANK:
            self.blank_count += 1
            self.blank += [self.count] if len(self.blank) < NAMED else []
        self.count += 1


def _measure(source: Source, asked: Expectation, report: Callable[[float], None]) -> Checked:
    seen = _Decoded(source, lambda count: report(count / max(asked.frames or count, count)))
    shown = source.times()
    rate, _ = times.measure(shown, source.base, source.rates)
    audio = source.audio
    return Checked(
        frames=seen.count,
        width=source.stream.width,
        height=source.stream.height,
        rate=text(rate),
        duration=float((shown[-1] - shown[0]) * source.base + 1 / rate),
        pix_fmt=seen.pix_fmt,
        codec=source.stream.codec_context.name,
        audio=audio.codec_context.name if audio is not None and audio.codec_context is not None else None,
        size=os.fstat(source.fd).st_size,
        sha256=digest(source.fd),
        max_time_error=_time_error(shown, source.base, asked),
        blank=seen.blank,
        blank_count=seen.blank_count,
        contrast=round(seen.contrast, 2),
    )


def _time_error(shown: list[int], base: Fraction, asked: Expectation) -> float | None:
    """Largest distance in seconds of a frame from its source frame's time; None without a source to compare with.

    A source that starts below zero was moved to zero.
    """
    if asked.times is None:
        return None
    theirs = read_times(asked.times)[: len(shown)]
    tick = Fraction(asked.time_base)
    shift = -min(theirs[0], 0)
    return float(max(abs(ours * base - (t + shift) * tick) for ours, t in zip(shown, theirs, strict=False)))


def _compare(found: Checked, asked: Expectation) -> None:
    """Raise for the first difference, the simplest first."""
    width = None if asked.width is None else asked.width * asked.panels
    for what, wanted, got in (
        ("frames", asked.frames, found.frames),
        ("pixels of width", width, found.width),
        ("pixels of height", asked.height, found.height),
    ):
        if wanted is not None and got != wanted:
            raise CheckFailed(f"The artifact has {got} {what} instead of {wanted}.", RUN_AGAIN)
    if asked.rate is not None and found.frames > 1:
        wanted_rate, rate = Fraction(asked.rate), Fraction(found.rate)
        if rate != wanted_rate if asked.constant else abs(rate - wanted_rate) > wanted_rate * LOOSE:
            raise CheckFailed(f"The artifact has {rate} frames a second instead of {wanted_rate}.", RUN_AGAIN)
    if found.max_time_error is not None:
        half = float(Fraction(asked.time_base) / 2)
        if found.max_time_error > half + 1e-9:
            raise CheckFailed(
                f"A frame of the artifact is {found.max_time_error:.6f} s off its source frame; "
                f"half a tick, {half:.6f} s, is allowed.",
                RUN_AGAIN,
            )
    if asked.duration is not None and abs(found.duration - asked.duration) > 1 / Fraction(found.rate) + Fraction(
        1, 1000
    ):
        raise CheckFailed(f"The artifact lasts {found.duration:.3f} s instead of {asked.duration:.3f} s.", RUN_AGAIN)
    if asked.sound is not None and (found.audio is not None) != asked.sound:
        heard = "no sound" if asked.sound else f"sound ({found.audio})"
        raise CheckFailed(f"The artifact has {heard}; the source has {'some' if asked.sound else 'none'}.", RUN_AGAIN)
    if asked.not_blank and found.contrast < BLANK:
        named = ", ".join(str(k) for k in found.blank)
        raise CheckFailed(
            f"Every frame of the artifact is blank ({found.blank_count} of {found.frames}: {named}"
            f"{', ...' if found.blank_count > len(found.blank) else ''}); the contrast is {found.contrast} at most.",
            "A guardrail may have blacked it out. Change the prompt, or try another seed.",
        )
