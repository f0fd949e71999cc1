"""What scores and a contact sheet cost a clip: seconds, processor time, memory, and the share of generating.

    python benchmarks/scores.py [FRAMES [WIDTHxHEIGHT]] [--generating SECONDS] [--hands HAND_LANDMARKER.TASK]

The clip (93 frames of 1280x720) is noise that moves, with soft and hard edges; the result is the same, blurred a little
and lighter. One media child does it, as in the daemon; `mask` adds the scores inside a mask of what is kept, and
`--hands` a row with those of hands, where MediaPipe is installed. There are none, so that it searches every picture.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from povwatch.media.info import Scoring
from povwatch.media.run import call

GENERATING = 226.0
"""Seconds of generating 93 frames on an H200: docs/performance.md."""


def main() -> None:
    """Make the videos, score them in three ways, and print what it cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("frames", nargs="?", type=int, default=93)
    parser.add_argument("size", nargs="?", default="1280x720")
    parser.add_argument("--generating", type=float, help="of the clip; by default in proportion to its frames")
    parser.add_argument("--hands", type=Path, help="MediaPipe's model")
    asked = parser.parse_args()
    model = {"hands_model": str(asked.hands.resolve())} if asked.hands else {}
    size = tuple(map(int, asked.size.split("x")))
    generating = asked.generating or GENERATING * asked.frames / 93
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), asked.frames, size)
        about = Scoring("result.mp4", asked.frames, 1, "clip.mp4", (0, 0, 0, 0), edge_preset="medium")
        for name, fields in (
            ("the sheet alone", {"measured": False, "sheet": "sheet.jpg"}),
            ("scores and sheet", {"sheet": "sheet.jpg"}),
            ("scores and sheet, mask", {"sheet": "sheet.jpg", "kept": "mask.mp4"}),
            *([("scores and sheet, hands", {"sheet": "sheet.jpg"} | model)] if model else []),
        ):
            before, begun = spent(), time.monotonic()
            found = call("score", {"about": about.to_json() | fields}, timeout=7200, folder=folder)
            wall, cpu = time.monotonic() - begun, spent() - before
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(
                f"{name}: {wall:.1f} s, {cpu:.1f} s of processor time, {wall / generating:.1%} of generating, "
                f"at most {memory:.0f} MiB until now; {found['frames']} frames compared"
            )


def make(folder: Path, frames: int, size: tuple[int, int]) -> None:
    """The clip, its result and a mask that covers a quarter of it."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 255, (height + 120, width + 240, 3)).astype(np.uint8)
    scene = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    mask = np.zeros((height, width, 3), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    writers = {name: av.open(str(folder / f"{name}.mp4"), "w") for name in ("clip", "result", "mask")}
    streams = {}
    for name, container in writers.items():
        stream = streams[name] = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    for k in range(frames):
        picture = scene[k % 120 : k % 120 + height, 2 * k % 240 : 2 * k % 240 + width]
        result = cv2.convertScaleAbs(cv2.GaussianBlur(picture, (0, 0), 0.8), alpha=0.9, beta=20)
        for name, shown in (("clip", picture), ("result", result), ("mask", mask)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            writers[name].mux(streams[name].encode(frame))
    for name, container in writers.items():
        container.mux(streams[name].encode(None))
        container.close()


def spent() -> float:
    """Seconds of processor time of the children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
