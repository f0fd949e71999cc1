"""The mask of a video that a hook has drawn: what is not background, widened, frame by frame."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from support.clips import make_clip

from povwatch.core.errors import JobFailed
from povwatch.media.info import Prepared
from povwatch.media.mask import mask

FRAMES = 6
WIDTH, HEIGHT = 96, 64
NAME = "povwatch.keep (outputs/a/hands.mp4)"


def drawn(number, background=(0, 0, 0), size=(WIDTH, HEIGHT)):
    """A hand: a square of a sixth of the height, which moves to the right."""
    width, height = size
    picture = np.full((height, width, 3), background, np.uint8)
    left, side = width * (10 + 8 * number) // WIDTH, height // 6
    picture[height // 3 : height // 3 + side, left : left + side] = (230, 90, 60)
    return picture


def write(path, pictures, rate=25):
    """A video as hooks write it: lossy, with B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "23"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def prepared(frames=FRAMES, width=WIDTH, height=HEIGHT, pad=(0, 0, 0, 0)):
    return Prepared(
        path="working.mp4",
        frames=frames,
        width=width,
        height=height,
        pad=pad,
        fps_num=30000,
        fps_den=1001,
        copied=False,
        times="working.mp4.times",
        time_base="1/25",
        rate="25/1",
        constant=False,
    ).to_json()


def make(folder, *, dilate=0, **clip):
    return mask(
        "a/hands.mp4", str(folder), str(folder / "kept.mp4"), name=NAME, prepared=prepared(**clip), dilate=dilate
    )


def white(folder):
    """The mask of each frame, and when it is shown."""
    with av.open(str(folder / "kept.mp4")) as container:
        frames = list(container.decode(video=0))
    pictures = [frame.to_ndarray(format="rgb24")[:, :, 0] for frame in frames]
    assert all(((picture < 30) | (picture > 225)).mean() > 0.99 for picture in pictures)  # black or white
    return [picture > 127 for picture in pictures], [frame.pts * frame.time_base for frame in frames]


def disc(area, radius):
    """An area, widened by a disc, pixel by pixel."""
    y, x = np.nonzero(area)
    height, width = area.shape
    down, across = np.mgrid[:height, :width]
    return ((down[..., None] - y) ** 2 + (across[..., None] - x) ** 2).min(axis=2) <= radius**2


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    return tmp_path


@pytest.mark.parametrize("background", [(0, 0, 0), (128, 128, 128), (255, 255, 255), (0, 177, 64)])
def test_frame_k_is_what_frame_k_shows(folder, background):
    """Whatever the background's colour, frame k is white where frame k shows the hand, at the working copy's rate."""
    pictures = [drawn(number, background) for number in range(FRAMES)]
    write(folder / "a/hands.mp4", pictures)
    made = make(folder)
    masks, shown = white(folder)
    for number, (found, picture) in enumerate(zip(masks, pictures, strict=True)):
        hand = (picture == (230, 90, 60)).all(axis=2)
        assert (found != hand).sum() <= 12, number  # but for a few pixels at the edges, as videos are lossy
    assert shown == [number * Fraction(1001, 30000) for number in range(FRAMES)]
    assert (made.frames, made.drawn, made.width, made.height) == (FRAMES, FRAMES, WIDTH, HEIGHT)
    assert np.abs(np.subtract(made.background, background)).max() <= 3
    assert made.covered == pytest.approx(np.mean(masks), abs=0.005)


@pytest.mark.parametrize("dilate", [1, 5, 12])
def test_widened_by_a_disc(folder, dilate):
    """White is what is at most `dilate` pixels away from what is drawn."""
    write(folder / "a/hands.mp4", [drawn(number) for number in range(FRAMES)])
    make(folder)
    plain = white(folder)[0]
    make(folder, dilate=dilate)
    for narrow, wide in zip(plain, white(folder)[0], strict=True):
        assert (wide != disc(narrow, dilate)).sum() <= 12


@pytest.mark.parametrize("size", [(48, 32), (192, 128)])
def test_scaled_and_then_widened(folder, size):
    """A video of another size is scaled to the clip, and widened there; an odd clip's padding goes on with its edge."""
    write(folder / "a/hands.mp4", [drawn(number, size=size) for number in range(FRAMES)])
    made = make(folder, dilate=4, width=WIDTH + 2, height=HEIGHT + 2, pad=(0, 0, 1, 1))
    assert (made.width, made.height) == size
    for number, found in enumerate(white(folder)[0]):
        assert found.shape == (HEIGHT + 2, WIDTH + 2)
        hand = (drawn(number, size=(WIDTH + 1, HEIGHT + 1)) == (230, 90, 60)).all(axis=2)
        grown = disc(hand, 4)
        assert (found[: HEIGHT + 1, : WIDTH + 1] != grown).sum() <= 0.25 * grown.sum(), number
        assert (found[:, -1] == found[:, -2]).all()


def test_frames_without_a_hand(folder):
    """A frame that shows nothing is black; the others count."""
    nothing = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    write(folder / "a/hands.mp4", [nothing, drawn(1), nothing, drawn(3), nothing, nothing])
    assert make(folder, dilate=3).drawn == 2
    assert [bool(found.any()) for found in white(folder)[0]] == [False, True, False, True, False, False]


def empty(path):
    write(path, [np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * FRAMES)


def linked(path):
    write(path.with_name("other.mp4"), [drawn(number) for number in range(FRAMES)])
    path.symlink_to("other.mp4")


def cut_short(path):
    write(path, [drawn(number) for number in range(FRAMES)])
    path.write_bytes(path.read_bytes()[:-300])


WRONG = {
    "missing": (lambda _: None, "is not there. Have a hook"),
    "a text": (lambda path: path.write_text("no hands"), "is a text file. Have the hook"),
    "nothing": (lambda path: path.touch(), "is no video"),
    "a folder": (lambda path: path.mkdir(), "is no regular file"),
    "a link": (linked, "is a symbolic link"),
    "too short": (lambda path: write(path, [drawn(0)] * 5), "has 5 frames; the clip has 6. Have the hook"),
    "too long": (lambda path: write(path, [drawn(0)] * 7), "has 7 frames; the clip has 6"),
    "all background": (empty, "shows nothing but its background, in each of its 6 frames"),
    "turned": (lambda path: make_clip(path, frames=FRAMES, rotation=90), "has rotation or mirror metadata"),
    "cut short": (cut_short, ""),
}


@pytest.mark.parametrize(("put", "words"), WRONG.values(), ids=WRONG)
def test_refused_in_words(folder, put, words):
    """What cannot be a mask is refused, with the field, the file, what was found and what to do."""
    put(folder / "a/hands.mp4")
    with pytest.raises(JobFailed) as caught:
        make(folder)
    assert str(caught.value).startswith(f"{NAME} ")
    assert words in str(caught.value)
    assert caught.value.todo
