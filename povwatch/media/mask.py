"""Makes a mask of a video that a hook has drawn: white where its picture is not background, and around that.

The background is the commonest colour of the whole video. A pixel is not background if its red, green or blue is
further than TOLERANCE from that colour. Frame k of the mask belongs to frame k of the clip.

The mask has the working copy's size and rate. It is scaled first and widened then: white is every pixel that is at
most `dilate` pixels of the clip away from one that is not background. So the kernel is a disc. It is drawn by exact
Euclidean distances (cv2.distanceTransform), which take the same time for every radius.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av.error
import cv2
import numpy as np
from av.video.frame import VideoFrame

from povwatch.container.report import VIDEO_KINDS
from povwatch.container.signature import HEAD, classify
from povwatch.core.errors import JobFailed, NotAVideo, SourceChanged
from povwatch.files.fs import read_at_most
from povwatch.media import encode, times
from povwatch.media.h264 import BT709
from povwatch.media.info import Masked, Prepared
from povwatch.media.plain import plain
from povwatch.media.probe import digest
from povwatch.media.source import opened, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from povwatch.media.source import Source

TOLERANCE = 24
"""Steps of 255 that an encoded background may differ from its colour."""

BIN = 16
"""Steps of 255 that are counted as one colour, to find the commonest."""

BINS = 256 // BIN

SAMPLED = 4
"""Every so many rows and columns are counted."""

BLACK, WHITE, GREY = 16, 235, 128
"""Luma of a mask in limited range, and chroma of all greys."""

LIMITED = 1
"""AVColorRange of limited range."""

HALF = 127.5

AGAIN = "Have the hook write it anew, with a frame for each of the clip's."


def mask(
    path: str,
    root: str,
    out_path: str,
    *,
    name: str,
    prepared: dict[str, Any],
    dilate: int,
    report: Callable[[float], None] = lambda _: None,
) -> Masked:
    """Make the mask of the video at `path` as a video at `out_path`.

    Args:
        path: the video, relative to `root`, with no symlink on the way.
        root: outputs/.
        name: the field and the file, for messages.
        prepared: the clip's Prepared as JSON.
        dilate: pixels of the clip.

    Raises:
        JobFailed: the file is missing, is no video, has another number of frames, or shows nothing but background.
    """
    cv2.setNumThreads(1)  # each thread takes address space, which is limited
    about = Prepared.from_json(prepared)
    try:
        kind = _kind(path, root, name)
        with opened(path, kind, root=root) as source:
            sha256 = digest(source.fd)
            colour = _background(source, name, about.frames, lambda fraction: report(fraction / 2))
        masks = _Masks(colour, about, dilate)
        with opened(path, kind, root=root) as source:
            _write(source, masks, out_path, about, lambda fraction: report(0.5 + fraction / 2))
            if digest(source.fd) != sha256:
                raise JobFailed(f"{name} changed while it was read.", "Have the hook end only when it is written.")
    except SourceChanged:
        todo = 'Have a hook with `when = "before"` write it, put it there, or take the line out of the JSON.'
        raise JobFailed(f"{name} is not there.", todo) from None
    except NotAVideo as error:
        raise JobFailed(f"{name} cannot be used: {error.what}", error.todo or AGAIN) from error
    except av.error.FFmpegError as error:
        raise JobFailed(f"{name} cannot be read to its end ({error.strerror}).", AGAIN) from error
    if not masks.drawn:
        what = f"{name} shows nothing but its background, in each of its {masks.frames} frames: nothing would be kept."
        raise JobFailed(what, "Look at the file: was anything drawn? Or take the line out of the JSON.")
    return Masked(
        path=out_path,
        sha256=sha256,
        frames=masks.frames,
        width=masks.size[0],
        height=masks.size[1],
        background=_rgb(colour),
        drawn=masks.drawn,
        covered=round(masks.covered, 4),
    )


def _kind(path: str, root: str, name: str) -> str:
    with plain(path, root) as fd:
        kind, words = classify(read_at_most(fd, HEAD))
    if kind not in VIDEO_KINDS:
        raise JobFailed(f"{name} is {words or 'no video'}.", "Have the hook write a video in MP4, Matroska or AVI.")
    return str(kind)


def _background(source: Source, name: str, wanted: int, report: Callable[[float], None]) -> NDArray[np.float64]:
    """The commonest colour, after a check of the frames."""
    counts = np.zeros(BINS**3)
    sums = np.zeros((3, BINS**3))
    frames = 0
    for frames, frame in enumerate(source.frames(), 1):
        if frames == 1 and turn_of(frame):
            what = f"{name} has rotation or mirror metadata, and what is to be kept has to be upright."
            raise JobFailed(what, "Have the hook write it upright.")
        colours = frame.to_ndarray(format="rgb24")[::SAMPLED, ::SAMPLED].reshape(-1, 3)
        bins = (colours // BIN).astype(np.int64) @ np.array([BINS * BINS, BINS, 1])
        counts += np.bincount(bins, minlength=BINS**3)
        for part in range(3):
            sums[part] += np.bincount(bins, weights=colours[:, part], minlength=BINS**3)
        report(frames / max(wanted, frames))
    if source.damaged or source.tally.concealed:
        raise JobFailed(f"{name} is damaged: not every frame of it decodes.", AGAIN)
    if frames != wanted:
        raise JobFailed(f"{name} has {frames} frames; the clip has {wanted}.", AGAIN)
    commonest = int(counts.argmax())
    return np.asarray(sums[:, commonest] / counts[commonest])


class _Masks:
    """Makes the mask of each frame, and counts."""

    def __init__(self, colour: NDArray[np.float64], about: Prepared, dilate: int) -> None:
        self._colour = colour.astype(np.float32)
        left, top, right, bottom = about.pad
        self._clip = (about.width - left - right, about.height - top - bottom)
        self._pad = ((top, bottom), (left, right))
        self._dilate = dilate
        self.size = (0, 0)
        """Width and height of the video."""
        self.frames = 0
        self.drawn = 0
        """Frames that show more than background."""
        self._covered = 0.0

    @property
    def covered(self) -> float:
        """The white share of all frames."""
        return self._covered / max(1, self.frames)

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The mask of the next frame, in the working copy's size."""
        rgb = frame.to_ndarray(format="rgb24")
        found = (np.abs(rgb - self._colour).max(axis=2) > TOLERANCE).astype(np.uint8)
        self.size = (found.shape[1], found.shape[0])
        if self.size != self._clip:
            scaling = cv2.INTER_AREA if self.size[0] > self._clip[0] else cv2.INTER_LINEAR
            found = (cv2.resize(found * 255, self._clip, interpolation=scaling) > HALF).astype(np.uint8)
        self.frames += 1
        if found.any():  # without a zero, there are no distances
            self.drawn += 1
            found = cv2.distanceTransform(1 - found, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= self._dilate
        picture = np.pad(np.asarray(found, np.bool_), self._pad, mode="edge")
        self._covered += float(picture.mean())
        return _frame(picture)


def _write(source: Source, masks: _Masks, out_path: str, about: Prepared, report: Callable[[float], None]) -> None:
    grid = times.Even(Fraction(about.fps_num, about.fps_den))
    encoder: encode.Encoder | None = None
    with encode.mp4(out_path, grid.timescale) as container:
        for frame in map(masks, source.frames()):
            encoder = encoder or encode.Encoder(container, frame, grid, encode.WORKING)
            container.mux(encoder.add(frame))
            report(masks.frames / about.frames)
        if encoder is not None:
            container.mux(encoder.rest())


def _rgb(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (round(float(part)) for part in colour)
    return red, green, blue


def _frame(picture: NDArray[np.bool_]) -> VideoFrame:
    height, width = picture.shape
    planes = np.full((height * 3 // 2, width), GREY, np.uint8)
    planes[:height] = np.where(picture, WHITE, BLACK)
    frame = VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.color_range = LIMITED
    frame.colorspace, frame.color_primaries, frame.color_trc = BT709, BT709, BT709
    return frame
