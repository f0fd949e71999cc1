"""A stand-in for MANO hand estimation: it estimates nothing, and draws placeholders under the right names.

    python examples/mano/stand_in.py inputs/clip.mp4 --out outputs/clip

It writes 1_mano_overlay.mp4, 2_skeleton_overlay.mp4, 3_mano_no_overlay.mp4 and 4_skeleton_no_overlay.mp4: as many
frames as the clip has, of its size, at its times. So the whole pipeline can be tried without `mano_est/`, and the
overlays show that they are placeholders (a striped band at their top). The other two have nothing but the drawn hand on
grey, as `"povwatch": {"keep": "3_mano_no_overlay.mp4"}` keeps everything that is not their background. A file of that
name which is no stand-in's is left alone.
Needs PyAV and NumPy, which povwatch's own .venv has.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

NAMES = ("1_mano_overlay", "2_skeleton_overlay", "3_mano_no_overlay", "4_skeleton_no_overlay")
MARK = "stand-in: no hand was estimated"
"""In the comment of each file that was made here."""

GREY, BAND, HAND = 128, (250, 210, 0), (230, 90, 60)


def main() -> int:
    """Draw the four files."""
    parser = argparse.ArgumentParser(description="A stand-in for MANO: draws placeholders, estimates nothing.")
    parser.add_argument("video", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the folder that the files go to")
    words = parser.parse_args()
    print(f"This is a stand-in for MANO: it draws placeholders in {words.out}, and estimates nothing.", flush=True)
    words.out.mkdir(parents=True, exist_ok=True)
    targets = [words.out / f"{name}.mp4" for name in NAMES]
    if real := [target.name for target in targets if target.exists() and not is_ours(target)]:
        print(f"{', '.join(real)}: there already, and not from a stand-in. Nothing is touched.", file=sys.stderr)
        return 1
    count = draw(words.video, targets)
    print(f"{count} frames in each of {', '.join(target.name for target in targets)}")
    return 0


def draw(video: Path, targets: list[Path]) -> int:
    """Draw the files, each under another name until it is whole; how many frames that were."""
    drafts = [target.with_name(f".{target.name}.part") for target in targets]
    try:
        count = draw_drafts(video, drafts)
    except BaseException:
        for draft in drafts:
            draft.unlink(missing_ok=True)
        raise
    for draft, target in zip(drafts, targets, strict=True):
        os.replace(draft, target)  # noqa: PTH105 - one step, whatever is there
    return count


def draw_drafts(video: Path, drafts: list[Path]) -> int:
    """The same under the drafts' names."""
    count = 0
    with av.open(str(video)) as source:
        base = source.streams.video[0].time_base or Fraction(1, 1000)
        rate = source.streams.video[0].average_rate or Fraction(30)
        files: list[Drawn] = []
        try:
            counted = source.format.name == "avi"  # which has no times: frame k is shown from tick k on
            frames = source.decode(video=0)
            for picture, tick, length in pictures(frames, max(1, round(1 / (rate * base))), counted=counted):
                if not files:
                    files = [Drawn(draft, base, rate, picture.shape) for draft in drafts]
                for kind, file in enumerate(files):
                    file.add(drawn(picture, kind, count), tick, length)
                count += 1
        finally:
            for file in files:
                file.close()
    if not count:
        raise SystemExit(f"{video} has no frame.")
    return count


def pictures(frames: Iterator[VideoFrame], last: int, *, counted: bool) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    """Each frame of the clip upright, in RGB, with its tick and how many ticks it is shown."""
    held: tuple[NDArray[np.uint8], int] | None = None
    first = 0
    for number, frame in enumerate(frames):
        tick = number if counted or frame.pts is None else frame.pts
        first = min(first, tick)  # a clip that starts below zero is moved to zero
        if held is not None:
            last = tick - first - held[1]
            yield *held, last
        picture = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        held = np.ascontiguousarray(picture), tick - first
    if held is not None:
        yield *held, last


def drawn(picture: NDArray[np.uint8], kind: int, number: int) -> NDArray[np.uint8]:
    """One frame: kinds 0 and 1 over the clip's picture, 2 and 3 over grey; a blob for a mesh, lines for a skeleton."""
    height, width = picture.shape[:2]
    result = picture.copy() if kind < 2 else np.full_like(picture, GREY)  # noqa: PLR2004 - the first two
    y, x = np.mgrid[0:height, 0:width]
    across, down = width * (0.5 + 0.25 * math.sin(number / 10)), height * 0.65
    size = max(4.0, min(width, height) / 5)
    if kind % 2 == 0:
        result[(x - across) ** 2 + (y - down) ** 2 < size**2] = HAND
    else:
        for finger in range(5):
            angle = math.radians(-150 + 30 * finger)
            along = (x - across) * math.cos(angle) + (y - down) * math.sin(angle)
            beside = (y - down) * math.cos(angle) - (x - across) * math.sin(angle)
            result[(along > 0) & (along < size) & (abs(beside) < max(1.0, size / 12))] = HAND
    if kind < 2:  # noqa: PLR2004 - the first two: a band in the others would count as a hand
        band = y < max(2, height // 12)
        result[band & ((x + y) // max(2, height // 24) % 2 == 0)] = BAND
    return result


class Drawn:
    """One of the files."""

    def __init__(self, path: Path, base: Fraction, rate: Fraction, shape: tuple[int, ...]) -> None:
        # The clock of the whole file: FFmpeg's own choice of 1000 would round the start of a clip.
        options = {"movflags": "+faststart", "movie_timescale": str(base.denominator)}
        self.container: OutputContainer = av.open(str(path), "w", format="mp4", options=options)
        self.container.metadata["comment"] = MARK
        self.stream = self.container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "bf": "0"})
        self.stream.height, self.stream.width = shape[:2]
        odd = self.stream.height % 2 or self.stream.width % 2
        self.stream.pix_fmt = "yuv444p" if odd else "yuv420p"
        self.base = self.stream.time_base = self.stream.codec_context.time_base = base
        self.lengths: dict[int, int] = {}

    def add(self, picture: NDArray[np.uint8], tick: int, length: int) -> None:
        """The next frame."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = tick, self.base
        self.lengths[tick] = length
        self._mux(frame)

    def close(self) -> None:
        """Write what is left."""
        self._mux(None)
        self.container.close()

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self.stream.encode(frame):
            if packet.pts is not None:
                packet.duration = self.lengths.pop(packet.pts)
            self.container.mux(packet)


def is_ours(path: Path) -> bool:
    """Whether a file was made by a stand-in."""
    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment") == MARK
    except av.FFmpegError:
        return False


if __name__ == "__main__":
    sys.exit(main())
