"""The contact sheet of a result: eight moments, the input over the result, as one JPEG."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[Any]

MOMENTS = 8

COLUMNS = 4

AREA = 480 * 270
"""Pixels of one picture, at most."""

GAP = 6
"""Pixels between two moments, and around all of them."""

BETWEEN = 2
"""Pixels between the input and the result below it."""

TITLE = 20
"""Pixels of the line above a moment."""

BACKGROUND, TEXT = (18, 18, 18), (225, 225, 225)

QUALITY = 88

JPEG_MAX = 65_500
"""Pixels of the longest side that JPEG allows."""


class Sheet:
    """Collects the moments of a result. The pictures are kept small."""

    def __init__(self, frames: int) -> None:
        many = min(MOMENTS, frames)
        self.moments = [(2 * k + 1) * frames // (2 * many) for k in range(many)]
        """The frames that are shown: the middle of each eighth."""
        self._cells: list[Picture] = []

    def add(self, number: int, moment: float | None, clip: Picture, result: Picture) -> None:
        """Add the frame if it is one of the moments. Both pictures are RGB and of one size; `moment` is in seconds."""
        if number not in self.moments:
            return
        height, width = clip.shape[:2]
        scale = min(1.0, sqrt(AREA / (width * height)), JPEG_MAX / (4 * COLUMNS) / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        above, below = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (clip, result))
        between = np.full((BETWEEN, size[0], 3), BACKGROUND, np.uint8)
        self._cells.append(np.vstack([_title(number, moment, size[0]), above, between, below]))

    def save(self, path: Path) -> None:
        """Write the sheet."""
        height, width = self._cells[0].shape[:2]
        columns = min(COLUMNS, len(self._cells))
        rows = -(-len(self._cells) // columns)
        sheet = Image.new("RGB", (GAP + columns * (width + GAP), GAP + rows * (height + GAP)), BACKGROUND)
        for k, cell in enumerate(self._cells):
            place = GAP + k % columns * (width + GAP), GAP + k // columns * (height + GAP)
            sheet.paste(Image.fromarray(cell), place)
        sheet.save(path, "JPEG", quality=QUALITY)


def _title(number: int, moment: float | None, width: int) -> Picture:
    """The line above a moment: its time and its frame, as far as they fit."""
    line = Image.new("RGB", (width, TITLE), BACKGROUND)
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(13)
    frame = f"frame {number}"
    texts = [frame] if moment is None else [f"{_clock(moment)}   {frame}", _clock(moment)]
    text = next((text for text in texts if draw.textlength(text, font) <= width), "")
    draw.text((0, TITLE / 2), text, fill=TEXT, font=font, anchor="lm")
    return np.asarray(line)


def _clock(moment: float) -> str:
    """A time as 1:02.5: minutes, seconds and tenths."""
    tenths = round(moment * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02}.{tenths % 10}"
