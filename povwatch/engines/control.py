"""Computes the controls that upstream computes on the fly: edge (Canny), bit for bit, and vis (blur).

About one in 20,000 values of a blurred picture differs by 1: upstream ends with torchvision's bicubic, which sums in
float32 in another order.

Source: cosmos_transfer2/_src/transfer2/datasets/augmentors/control_input.py (AddControlInputEdge, AddControlInputBlur)
and blur.py at upstream's pinned commit, as inference calls them: `use_random=False`, the bilateral blur, on the CPU.
Frames are RGB, uint8, shape (height, width, 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from povwatch.core.cosmos import EDGE_THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    Frame = NDArray[Any]

BLUR_FACTORS = {
    "very_low": (1, 4),
    "low": (4, 4),
    "medium": (2, 10),
    "high": (1, 16),
    "very_high": (4, 16),
}
"""Factors by which the frame is shrunk for the blur, and after it."""

BILATERAL = (30, 150, 100)
"""Diameter, sigma of colour, sigma of space."""

MODELS = {"depth": "Video Depth Anything", "seg": "Grounding DINO and SAM 2"}


def edge(frame: Frame, preset: str = "medium") -> Frame:
    """Canny edges, white on black, equal in the three channels.

    Raises:
        KeyError: the preset is unknown.
    """
    lower, upper = EDGE_THRESHOLDS[preset]
    edges = cv2.Canny(np.ascontiguousarray(frame), lower, upper)
    return np.repeat(edges[:, :, None], 3, axis=2)


def blur(frame: Frame, preset: str = "medium") -> Frame:
    """Blur a frame: shrink, filter bilaterally, enlarge; then shrink and enlarge again by antialiased bicubic.

    Raises:
        KeyError: the preset is unknown.
    """
    before, after = BLUR_FACTORS[preset]
    height, width = frame.shape[:2]
    frame = np.ascontiguousarray(frame)
    small = cv2.resize(frame, (max(1, width // before), max(1, height // before)), interpolation=cv2.INTER_AREA)
    blurred = cv2.bilateralFilter(small, *BILATERAL)
    full = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    tiny = bicubic(full, (max(1, int(width / after)), max(1, int(height / after))))
    return bicubic(tiny, (width, height))


def bicubic(frame: Frame, size: tuple[int, int]) -> Frame:
    """Resize to (width, height) as torchvision's `resize(..., BICUBIC, antialias=True)` does on uint8.

    This is Keys' kernel with a = -0.5, widened for shrinking, in float32, clamped and rounded at the end. Pillow has
    the same kernel for single floating-point channels. (On uint8, Pillow rounds between the two directions as well.)
    """
    channels = [
        np.asarray(Image.fromarray(frame[..., c].astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        for c in range(frame.shape[2])
    ]
    rounded: Frame = np.rint(np.clip(np.stack(channels, axis=2), 0, 255)).astype(np.uint8)
    return rounded


def note(key: str, size: tuple[int, int]) -> Frame:
    """A card of size (width, height) that says why there is nothing to see."""
    width, height = size
    card = Image.new("RGB", size, (24, 24, 24))
    lines = [
        f"{key} is computed by a model that comes with Cosmos",
        f"({MODELS[key]}).",
        "The preview cannot show it.",
    ]
    draw = ImageDraw.Draw(card)
    font = ImageFont.load_default(max(8, min(width // 28, height // 8)))
    draw.multiline_text(
        (width / 2, height / 2), "\n".join(lines), fill=(230, 230, 230), font=font, anchor="mm", align="center"
    )
    return np.asarray(card).copy()


def maker(key: str, preset: str) -> Callable[[Frame], Frame]:
    """The function that makes the control `key` from a frame; a note for controls that need a model."""
    if key == "edge":
        return lambda frame: edge(frame, preset)
    if key == "vis":
        return lambda frame: blur(frame, preset)
    return lambda frame: note(key, (frame.shape[1], frame.shape[0]))
