"""Computes a clip's segments: Grounding DINO finds things in the first frame, SAM 2 follows them, each gets a colour.

Equal to upstream (cosmos_transfer2/_src/transfer2/auxiliary/sam2/, and `segmentation_color_mask` in
datasets/augmentors/seg.py): the things are those of the first frame; at most OBJECTS_MAX of them; the colours are drawn
from the same ranges, for the largest thing of the whole clip first; smaller things cover larger ones; all else is
black. Upstream draws other colours in each run; here the prompt decides them, so that a clip's segments are the same
each time. Upstream looks at JPEGs of the frames, here it is the frames themselves; and where it was built with CUDA, it
fills holes of up to 8 pixels in SAM 2's small masks, which transformers does not.
"""

from __future__ import annotations

import colorsys
import random
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from povwatch.core.errors import JobFailed
from povwatch.engines.annotate import video
from povwatch.engines.annotate.detect import boxes
from povwatch.engines.annotate.track import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from povwatch.engines.annotate.video import Frame
    from povwatch.media.info import Prepared

SHARE = 0.95
"""The part of the work that the models do."""

CUT = "The prompt of the segments is longer than Grounding DINO reads: its end was not looked for."

EMPTY = "SAM 2 keeps nothing of what was found in the first frame: the control is black."


def segments(
    clip: Prepared,
    folders: tuple[str, str],
    prompt: str,
    out_path: str,
    *,
    device: str,
    report: Callable[[float], None],
) -> tuple[int, int, list[str]]:
    """Write the segments of a clip as a video in RGB; returns its frames, the segments, and sentences for the log.

    Args:
        folders: Grounding DINO's and SAM 2's.
        device: torch's name of it.
        report: gets the progress, 0 to 1.

    Raises:
        JobFailed: the first frame has nothing that the prompt names.
    """
    first = next(video.frames(clip))
    found, cut = boxes(folders[0], device, first, prompt)
    if not len(found):
        raise nothing(prompt)
    scratch = Path(f"{out_path}.part")
    masks = MasksFile(scratch, (clip.height, clip.width))
    try:
        tracked = Tracker(folders[1], device).follow(video.frames(clip), clip.frames, found)
        areas = masks.write(tracked, lambda done: report(SHARE * done / clip.frames))
        colours = drawn(prompt, len(found))
        order = by_size(areas)
        pictures = (coloured(some[order], colours) for some in masks.read())
        count = video.write(out_path, clip, pictures, grey=False)
    finally:
        scratch.unlink(missing_ok=True)
    return count, len(found), [*([CUT] if cut else []), *([] if areas.any() else [EMPTY])]


def nothing(prompt: str) -> JobFailed:
    """The error for a clip whose first frame has nothing that a prompt names."""
    said = prompt if len(prompt) <= SAID else f"{prompt[:SAID]} ..."
    return JobFailed(
        f"seg: nothing was found in the clip's first frame for {said!r}.",
        'Name things that are in the first frame in seg.control_prompt, such as "hands cup", or give a control_path.',
    )


SAID = 200
"""Characters of a prompt in a message."""


class MasksFile:
    """The masks of all frames in a file, packed; they are too many for memory."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        """`size` is the height and width of a mask."""
        self._path = path
        self._size = size
        self._lengths: list[tuple[int, int]] = []
        """Things, and bytes, of each frame."""

    def write(self, frames: Iterator[Frame], done: Callable[[int], None]) -> Frame:
        """Write the masks of each frame, bool, shape (things, height, width); the pixels of each thing in all frames.

        `done` gets the number of frames that are written.
        """
        areas: Frame | None = None
        self._lengths = []
        with self._path.open("wb") as file:
            for number, masks in enumerate(frames, 1):
                here = masks.reshape(len(masks), -1).sum(axis=1, dtype=np.int64)
                areas = here if areas is None else areas + here
                packed = zlib.compress(np.packbits(masks).tobytes(), level=1)
                file.write(packed)
                self._lengths.append((len(masks), len(packed)))
                done(number)
        return np.zeros(0, np.int64) if areas is None else areas

    def read(self) -> Iterator[Frame]:
        """The masks of each frame, as they were written."""
        with self._path.open("rb") as file:
            for things, length in self._lengths:
                bits = np.frombuffer(zlib.decompress(file.read(length)), np.uint8)
                shape = (things, *self._size)
                yield np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)


def by_size(areas: Frame) -> Frame:
    """The order in which things are painted: the largest first. Those of one size stay as they are."""
    order: Frame = np.argsort(-areas, kind="stable")
    return order


def drawn(prompt: str, count: int) -> Frame:
    """So many colours, RGB, uint8, shape (count, 3), for a prompt. Source: `generate_distinct_colors`, seg.py."""
    dice = random.Random(prompt)  # noqa: S311 - colours
    drawn = [(dice.uniform(0, 1), dice.uniform(0.1, 1), dice.uniform(0.2, 1.0)) for _ in range(count)]
    colours: Frame = (np.array([colorsys.hsv_to_rgb(*one) for one in drawn]) * 255).astype(np.uint8)
    return colours


def coloured(masks: Frame, colours: Frame) -> Frame:
    """One frame's masks as a picture, RGB; a later mask covers earlier ones."""
    picture = np.zeros((*masks.shape[1:], 3), np.uint8)
    for mask, colour in zip(masks, colours, strict=True):
        picture[mask] = colour
    return picture
