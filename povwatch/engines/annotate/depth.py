"""Computes a clip's depth, frame by frame, in memory for a few frames.

Equal to upstream (`_compute_depth_maps` in cosmos_transfer2/_src/transfer2/inference/utils.py, and `infer_video_depth`
of Video-Depth-Anything): each frame is looked at in the clip's size, scaled by the model's own rules; the model's map
is brought back to that size (bilinear, corners aligned); 0 is the farthest and 255 the nearest of the whole clip, the
same in the three channels; a value between two whole numbers is cut off. On a GPU it computes in float16, on the CPU in
float32. The model itself is another one: see annotation.py.
A clip whose depths differ by rounding alone is black here; upstream stretches the rounding to the whole range.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from povwatch.engines.annotate import video
from povwatch.engines.annotate.estimate import AT_ONCE, Estimator
from povwatch.media.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from povwatch.engines.annotate.video import Frame
    from povwatch.media.info import Prepared

SHARE = 0.9
"""The part of the work that the model does."""

ROUNDING = 2.0**-11
"""Relative, of float16."""

FLAT = "The depth of this clip is the same everywhere: the control is black."


def depth(
    clip: Prepared, folder: str, out_path: str, device: str, report: Callable[[float], None]
) -> tuple[int, list[str]]:
    """Write the depth of a clip as a grey video; returns its frames, and sentences for the log.

    Args:
        folder: the model's.
        device: torch's name of it.
        report: gets the progress, 0 to 1.
    """
    scratch = Path(f"{out_path}.part")
    maps = video.DepthMaps(str(scratch))
    size = (clip.height, clip.width)
    try:
        lowest, highest = _measure(Estimator(folder, device), clip, maps, lambda part: report(SHARE * part))
        flat = highest - lowest <= ROUNDING * abs(highest)
        shades = _shades(maps, size, lowest, np.inf if flat else highest)
        shown = _reported(shades, clip, lambda part: report(SHARE + (1 - SHARE) * part))
        count = video.write(out_path, clip, shown, grey=True)
    finally:
        scratch.unlink(missing_ok=True)
    return count, [FLAT] if flat else []


def normalised(depth: Frame, lowest: float, highest: float) -> Frame:
    """A map as a grey picture, uint8: 0 where it is lowest of the whole clip, 255 where it is highest."""
    low, high = np.float32(lowest), np.float32(highest)
    scaled = (depth - low) / (high - low + np.float32(1e-8)) * np.float32(255)
    grey: Frame = np.clip(scaled, 0, 255).astype(np.uint8)
    return grey


def resized(depth: Frame, size: tuple[int, int]) -> Frame:
    """A map in another height and width: float32, bilinear, corners aligned."""
    given = torch.from_numpy(depth.astype(np.float32))[None, None]
    found: Frame = functional.interpolate(given, size, mode="bilinear", align_corners=True)[0, 0].numpy()
    return found


def _measure(
    model: Estimator, clip: Prepared, maps: video.DepthMaps, report: Callable[[float], None]
) -> tuple[float, float]:
    """Write each frame's map to a file; the lowest and the highest depth, in the clip's size.

    Raises:
        MediaError: the model's numbers are none.
    """
    lowest, highest, done = np.inf, -np.inf, 0
    pictures = video.frames(clip)
    with maps.writing() as file:
        while some := list(islice(pictures, AT_ONCE[model.device])):
            for found in model(some):
                if not np.isfinite(found).all():
                    raise MediaError(f"The depth of frame {done} is no number.", "Is the model the one that it names?")
                file.add(found)
                whole = resized(found, (clip.height, clip.width))
                lowest, highest = min(lowest, float(whole.min())), max(highest, float(whole.max()))
                done += 1
                report(done / clip.frames)
    return lowest, highest


def _shades(maps: video.DepthMaps, size: tuple[int, int], lowest: float, highest: float) -> Iterator[Frame]:
    for found in maps.read():
        yield normalised(resized(found, size), lowest, highest)[:, :, None]


def _reported(pictures: Iterable[Frame], clip: Prepared, report: Callable[[float], None]) -> Iterator[Frame]:
    for number, picture in enumerate(pictures, 1):
        yield picture
        report(number / clip.frames)
