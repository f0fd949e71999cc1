"""Reads the clip and its control, chunk by chunk, at the size that the model works at.

At most one chunk is in memory. Resizing and the computed controls are upstream's (see engines/control.py): the clip is
resized to the model's size first, and edges and blur are computed from that. The pipeline itself takes finished
controls.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from povwatch.core.errors import NotAVideo, SourceChanged
from povwatch.engines import control
from povwatch.engines.port import EngineFailure
from povwatch.engines.preview import SCALING, kind_of
from povwatch.media.fit import Shape, differs, even
from povwatch.media.source import opened

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from povwatch.engines.control import Frame
    from povwatch.engines.transfer.request import Request

    Pair = tuple[Frame, Frame | None]


FIT = "Give a control video with a frame for each of the clip's, in its size and rate."


@dataclass(frozen=True, slots=True)
class Piece:
    """The input of one chunk; arrays of shape (frames, height, width, 3), RGB."""

    control: Frame
    clip: Frame | None
    """The clip's frames, if they are to be shown."""


def pieces(request: Request) -> Generator[Piece]:
    """The input of each chunk, in order. Frames that two chunks share are decoded once.

    Raises:
        EngineFailure: a video ends too soon, or cannot be read.
    """
    try:
        with ExitStack() as stack:
            frames = _pairs(request, stack)
            shared: list[Pair] = []
            for chunk in request.chunks:
                new = [next(frames) for _ in range(chunk.start + len(shared), chunk.end)]
                pairs = shared + new
                piece = Piece(
                    np.stack([one for one, _ in pairs]),
                    np.stack([one for _, one in pairs if one is not None]) if request.show_input else None,
                )
                shared = pairs[len(pairs) - request.carried :]
                del new, pairs  # a suspended generator keeps its names, so a chunk's frames would be in memory twice
                yield piece
    except (NotAVideo, SourceChanged) as error:
        raise EngineFailure("invalid", error.what, error.todo) from error


def check_control(request: Request) -> None:
    """Check that a given control video fits the clip, before any GPU time.

    Its frames are counted without decoding them.

    Raises:
        EngineFailure: it does not fit, or is no video.
    """
    asked = request.control
    if asked.path is None:
        return
    name = f"{asked.key}.control_path ({Path(asked.path).name})"
    try:
        with opened(asked.path, kind_of(asked.path, name, FIT)) as given:
            rate = next((one for one in given.rates if one), Fraction(0))
            frames = sum(1 for packet in given.packets() if packet.size)
            found = Shape(frames, given.stream.width, given.stream.height, rate)
    except (NotAVideo, SourceChanged) as error:
        raise EngineFailure("invalid", f"{name}: {error.what}", error.todo) from error
    clip = Shape(request.clip_frames, request.width, request.height, request.rate)
    difference = differs(found, clip, request.frames)
    if difference == "frames":
        raise EngineFailure("invalid", f"{name} has {frames} frames; the clip has {request.clip_frames}.", FIT)
    if difference == "size":
        size, wanted = f"{even(found.width)}x{even(found.height)}", f"{request.width}x{request.height}"
        raise EngineFailure("invalid", f"{name} is {size}; the clip is {wanted}.", FIT)
    if difference == "rate":
        pace, wanted = f"{float(rate):.3f}", f"{float(request.rate):.3f}"
        raise EngineFailure("invalid", f"{name} has {pace} frames a second; the clip has {wanted}.", FIT)


def _pairs(request: Request, stack: ExitStack) -> Iterator[Pair]:
    """Each frame's control, and the frame itself if it is to be shown."""
    asked = request.control
    if asked.path is None:
        make = control.maker(asked.key, asked.preset or "medium")
        for frame in _decoded(request.video, "The working copy", cv2.INTER_AREA, request, stack):
            yield make(frame), frame if request.show_input else None
        return
    name = f"{asked.key}.control_path ({Path(asked.path).name})"
    given = _decoded(asked.path, name, SCALING[asked.key], request, stack)
    if request.show_input:
        clip = _decoded(request.video, "The working copy", cv2.INTER_AREA, request, stack)
        yield from zip(given, clip, strict=True)
    else:
        for frame in given:
            yield frame, None


def _decoded(path: str, name: str, scaling: int, request: Request, stack: ExitStack) -> Iterator[Frame]:
    """The first frames of a video, as many as are generated, at the model's size."""
    source = stack.enter_context(opened(path, kind_of(path, name, FIT))).frames()
    for count in range(request.frames):
        frame = next(source, None)
        if frame is None:
            short = f"{name} ends after {count} frames; {request.frames} are needed."
            raise EngineFailure("error", short) if path == request.video else EngineFailure("invalid", short, FIT)
        rgb: Frame = frame.to_ndarray(format="rgb24")
        if rgb.shape[1::-1] != request.size:
            rgb = np.asarray(cv2.resize(rgb, request.size, interpolation=scaling), np.uint8)
        yield rgb
