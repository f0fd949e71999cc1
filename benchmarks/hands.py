"""What the scores of hands say of changes that are known, on pictures of real hands.

    python benchmarks/hands.py HAND_LANDMARKER.TASK PICTURE...

Each picture becomes a clip of 12 frames, over which it drifts by a pixel a frame. The results are the same clip, and
the clip with one thing done to its hands: moved by a part of their longer side, mirrored in their place, or covered.
It is scored as in the daemon, by the media child within its limits; the cost of a look is printed too.
A picture in which MediaPipe finds no hand is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from povwatch.media.hands import hands
from povwatch.media.info import Scoring
from povwatch.media.run import call

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from povwatch.media.hands import Hand

FRAMES = 12

MARGIN = 0.6
"""The part of a hand's box that is changed around it too."""

Change = "Callable[[NDArray[np.uint8], list[Hand]], NDArray[np.uint8]]"


def main() -> None:
    """Score each change of each picture, and print the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", nargs="+", type=Path)
    asked = parser.parse_args()
    print(f"{'picture':28} {'hands':>5} {'what was done':22} {'changed':>8} {'pck':>6} {'swapped':>8} {'seconds':>8}")
    with hands(str(asked.model)) as metric:
        for path in asked.pictures:
            picture = even(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
            found = list(metric._find(picture))  # noqa: SLF001 - as the scores do
            if not found:
                print(f"{path.stem[:28]:28} {0:5} left out")
                continue
            for name, change in CHANGES.items():
                scores, seconds = scored(picture, change(picture, found), str(asked.model.resolve()))
                numbers = [scores.get(f"hands_{key}") for key in ("changed", "pck", "swapped")]
                shown = "   ".join("     -" if number is None else f"{number:6.3f}" for number in numbers)
                print(f"{path.stem[:28]:28} {len(found):5} {name:22} {shown} {seconds:8.2f}")


def scored(picture: NDArray[np.uint8], changed: NDArray[np.uint8], model: str) -> tuple[dict[str, float], float]:
    """The scores of one result, and the seconds that scoring took."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "clip.mp4"), picture)
        write(Path(folder, "result.mp4"), changed)
        about = Scoring("result.mp4", FRAMES, 1, "clip.mp4", (0, 0, 0, 0), hands_model=model)
        begun = time.monotonic()
        found = call("score", {"about": about.to_json()}, timeout=600, folder=folder)
        return found["scores"], time.monotonic() - begun


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    """A video over which the picture drifts."""
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(FRAMES):
            shown = np.ascontiguousarray(np.roll(picture, k, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode(None))


def even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture without the last row and column of an odd size, which H.264 does not have."""
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height - height % 2, : width - width % 2])


def around(picture: NDArray[np.uint8], hand: Hand) -> tuple[slice, slice]:
    """The rows and columns of a hand and some margin."""
    low, high = hand.points.min(axis=0) - MARGIN * hand.box, hand.points.max(axis=0) + MARGIN * hand.box
    (left, top), (right, bottom) = low.astype(int).clip(0), high.astype(int)
    return slice(top, min(bottom, picture.shape[0])), slice(left, min(right, picture.shape[1]))


def moved(part: float) -> Change:
    """Move everything down by this part of the first hand's longer side: the frame is the hand's surroundings too."""

    def change(picture: NDArray[np.uint8], found: list[Hand]) -> NDArray[np.uint8]:
        return np.roll(picture, round(part * found[0].box), axis=0)

    return change


def mirrored(picture: NDArray[np.uint8], found: list[Hand]) -> NDArray[np.uint8]:
    """Mirror each hand about the middle of its box: it stays where it is, and becomes one of the other side."""
    result = picture.copy()
    for hand in found:
        rows, columns = around(picture, hand)
        result[rows, columns] = picture[rows, columns][:, ::-1]
    return result


def covered(picture: NDArray[np.uint8], found: list[Hand]) -> NDArray[np.uint8]:
    """Paint over each hand in the mean colour of what is around it."""
    result = picture.copy()
    for hand in found:
        rows, columns = around(picture, hand)
        result[rows, columns] = picture[rows, columns].mean(axis=(0, 1)).astype(np.uint8)
    return result


CHANGES: dict[str, Change] = {
    "nothing": lambda picture, _: picture,
    "lighter, blurred": lambda picture, _: cv2.convertScaleAbs(cv2.GaussianBlur(picture, (0, 0), 1.0), None, 0.85, 30),
    "moved by 0.05": moved(0.05),
    "moved by 0.3": moved(0.3),
    "mirrored in its place": mirrored,
    "covered": covered,
}


if __name__ == "__main__":
    main()
