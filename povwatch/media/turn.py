"""How a stored picture becomes upright. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Turn:
    """How a stored picture becomes upright: first mirrored along its diagonal, then left-right, then top-bottom."""

    transpose: bool = False
    mirror: bool = False
    flip: bool = False

    @classmethod
    def from_matrix(cls, data: bytes) -> Turn:
        """Read a display matrix: nine int32 `a b u c d v x y w`, where x' = a x + c y and y' = b x + d y.

        Source: ISO/IEC 14496-12, 6.2.2, and FFmpeg's libavutil/display.h. A skew is not undone.
        """
        a, b, _, c, d, *_ = struct.unpack("=9i", data[:36])
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror=c < 0, flip=b < 0)
        return cls(mirror=a < 0, flip=d < 0)

    @classmethod
    def from_text(cls, value: str) -> Turn:
        """Read what `str` gives."""
        return cls(*(letter in value for letter in "tmf")) if value != "none" else cls()

    def __str__(self) -> str:
        steps = zip("tmf", (self.transpose, self.mirror, self.flip), strict=True)
        return "".join(letter for letter, taken in steps if taken) or "none"

    def __bool__(self) -> bool:
        return self.transpose or self.mirror or self.flip

    @property
    def degrees(self) -> int:
        """Degrees clockwise. For a mirrored picture, only its turn counts."""
        if self.transpose:
            return 90 if self.mirror else 270
        return 180 if self.flip else 0

    def apply(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn one plane, shape (height, width)."""
        if self.transpose:
            plane = plane.T
        if self.mirror:
            plane = plane[:, ::-1]
        return plane[::-1] if self.flip else plane

    def pad_of(self, right: int, bottom: int) -> tuple[int, int, int, int]:
        """Where pixels added at the stored right and bottom end up: left, top, right, bottom."""
        sides = [0, 0, right, bottom]
        if self.transpose:
            sides = [sides[1], sides[0], sides[3], sides[2]]
        if self.mirror:
            sides[0], sides[2] = sides[2], sides[0]
        if self.flip:
            sides[1], sides[3] = sides[3], sides[1]
        return (sides[0], sides[1], sides[2], sides[3])
