"""Reads the clip, its controls and masks, chunk by chunk, at the size that the model works at.

At most one chunk is in memory. Resizing and the computed controls are upstream's (see engines/control.py): the clip is
resized to the model's size first, and edges and blur are computed from that. The pipeline itself takes finished
controls. Masks are upstream's, too: `read_and_process_control_input` (inference/utils.py) and
`_read_guided_generation_mask` (inference/inference_pipeline.py). Frame k of each belongs to frame k of the clip.
"""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.lib import format as npy

from povwatch.core.errors import NotAVideo, SourceChanged
from povwatch.engines import control
from povwatch.engines.port import EngineFailure
from povwatch.engines.preview import SCALING, kind_of
from povwatch.engines.upstream.references import array_length
from povwatch.media.fit import ARRAY, Shape, differs, even
from povwatch.media.source import MAX_PIXELS, opened

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from povwatch.engines.control import Frame
    from povwatch.engines.control_files import ControlFile
    from povwatch.engines.transfer.leaving import Leaving
    from povwatch.engines.transfer.request import Control, Guided, Request

    Row = dict[str, Frame]
    """What there is of one frame, by name: hint keys, the masks' fields, CLIP and GUIDED."""


CLIP = "clip"

GUIDED = "guided_generation_mask"

FIT = "Give a control video with a frame for each of the clip's, in its size and rate."

MASK_FIT = "Give a mask with a frame for each of the clip's, in its rate."

HALF = 127.5
"""A control holds where its mask is brighter."""

WHITE = 255


@dataclass(frozen=True, slots=True)
class Piece:
    """The input of one chunk; arrays of shape (frames, height, width, 3), RGB, and masks without the last axis."""

    controls: dict[str, Frame]
    """By hint key."""
    masks: dict[str, Frame] = field(default_factory=dict)
    """By hint key, of those controls that have one: bool, where the control holds."""
    clip: Frame | None = None
    """The clip's frames, if they are to be shown or kept."""
    kept: Frame | None = None
    """How much of the clip is kept, 0 to 255, if any."""

    @property
    def arrays(self) -> list[Frame]:
        """Everything that decides what is generated."""
        kept = [] if self.kept is None or self.clip is None else [self.kept, self.clip]
        return [*self.controls.values(), *self.masks.values(), *kept]

    def shown(self, key: str, frames: slice) -> Frame:
        """A control's frames for people: black where its mask is, as upstream shows them."""
        whole, mask = self.controls[key][frames], self.masks.get(key)
        return whole if mask is None else whole * mask[frames, :, :, None]


def pieces(request: Request, leaving: Leaving | None = None) -> Generator[Piece]:
    """The input of each chunk, in order. Frames that two chunks share are decoded once.

    Args:
        leaving: gets each frame of the controls that are computed.

    Raises:
        EngineFailure: a video ends too soon, or cannot be read.
    """
    try:
        with ExitStack() as stack:
            frames = _rows(request, stack, leaving)
            shared: list[Row] = []
            for chunk in request.chunks:
                new = [next(frames) for _ in range(chunk.start + len(shared), chunk.end)]
                rows = shared + new
                piece = _piece(request, rows)
                shared = rows[len(rows) - request.carried :]
                del new, rows  # a suspended generator keeps its names, so a chunk's frames would be in memory twice
                yield piece
    except (NotAVideo, SourceChanged) as error:
        raise EngineFailure("invalid", error.what, error.todo) from error


def check_files(request: Request) -> list[str]:
    """Check that given control videos and masks fit the clip, before any GPU time.

    Their frames are counted without decoding them. A mask may have another size.

    Returns:
        Sentences for people: which masks are scaled.

    Raises:
        EngineFailure: one does not fit, or is no video.
    """
    notes = []
    for asked in request.controls:
        if asked.path is not None:
            _check(_control_name(asked), _shape(asked.path, _control_name(asked), FIT), request, FIT)
        if asked.mask is not None:
            name = _mask_name(asked)
            notes += _check_mask(name, _shape(asked.mask, name, MASK_FIT), request)
    if request.guided is not None:
        path, name = request.guided.path, _guided_name(request.guided)
        found = array_length(GUIDED, path) if request.guided.is_array else _shape(path, name, MASK_FIT)
        notes += _check_mask(name, found, request)
    return notes


def _check_mask(name: str, found: Shape, request: Request) -> list[str]:
    small = found.width * found.height <= MAX_PIXELS
    _check(name, replace(found, width=request.width, height=request.height) if small else found, request, MASK_FIT)
    if (even(found.width), even(found.height)) == (even(request.width), even(request.height)):
        return []
    return [f"{name} is {found.width}x{found.height} and is scaled to the clip's {request.width}x{request.height}."]


def _check(name: str, found: Shape, request: Request, todo: str) -> None:
    clip = Shape(request.clip_frames, request.width, request.height, request.rate)
    difference = differs(found, clip, request.frames)
    if difference == "frames":
        raise EngineFailure("invalid", f"{name} has {found.frames} frames; the clip has {request.clip_frames}.", todo)
    if difference == "size":
        size, wanted = f"{even(found.width)}x{even(found.height)}", f"{request.width}x{request.height}"
        raise EngineFailure("invalid", f"{name} is {size}; the clip is {wanted}.", todo)
    if difference == "rate":
        pace, wanted = f"{float(found.rate):.3f}", f"{float(request.rate):.3f}"
        raise EngineFailure("invalid", f"{name} has {pace} frames a second; the clip has {wanted}.", todo)


def _shape(path: str, name: str, todo: str) -> Shape:
    try:
        with opened(path, kind_of(path, name, todo)) as given:
            moments = [given.moment(packet) for packet in given.packets() if packet.size]
            times = [moment for moment in moments if moment is not None]
            span = (max(times) - min(times)) * given.base if times else Fraction(0)
            # the working copy's rule: of an uneven video the container's average counts the last frame's time as well
            rate = (len(times) - 1) / span if span else next((one for one in given.rates if one), Fraction(0))
            return Shape(len(moments), given.stream.width, given.stream.height, rate)
    except (NotAVideo, SourceChanged) as error:
        raise EngineFailure("invalid", f"{name}: {error.what}", error.todo) from error


def _piece(request: Request, rows: list[Row]) -> Piece:
    def joined(name: str) -> Frame | None:
        return np.stack([row[name] for row in rows]) if name in rows[0] else None

    controls = {one.key: np.stack([row[one.key] for row in rows]) for one in request.controls}
    masks = {one.key: joined(_mask_field(one)) for one in request.controls if one.mask is not None}
    whole = {key: mask for key, mask in masks.items() if mask is not None}
    return Piece(controls, whole, joined(CLIP), joined(GUIDED))


def _rows(request: Request, stack: ExitStack, leaving: Leaving | None) -> Iterator[Row]:
    """What there is of each frame, in order."""
    makers = {one.key: control.maker(one.key, one.preset or "medium") for one in request.computed}
    if leaving is not None:
        stack.enter_context(leaving.writing(request))
    keeps_clip = request.show_input or request.guided is not None
    videos = _given(request, stack)
    if makers or keeps_clip:
        videos[CLIP] = _decoded(request.video, "The working copy", cv2.INTER_AREA, request, stack)
    for frames in zip(*videos.values(), strict=True):
        row = dict(zip(videos, frames, strict=True))
        row |= {key: make(row[CLIP]) for key, make in makers.items()}
        if leaving is not None:
            leaving.add(row)
        if not keeps_clip:
            row.pop(CLIP, None)
        yield row


def _given(request: Request, stack: ExitStack) -> dict[str, Iterator[Frame]]:
    """The frames of each file that the spec names."""
    found: dict[str, Iterator[Frame]] = {}
    for one in request.controls:
        if one.path is not None:
            found[one.key] = _decoded(one.path, _control_name(one), SCALING[one.key], request, stack)
        if one.file is not None:
            found[one.key] = _kept(one.file, request, stack)
        if one.mask is not None:
            scaled = _decoded(one.mask, _mask_name(one), cv2.INTER_LINEAR, request, stack)
            found[_mask_field(one)] = (frame[:, :, 0] > HALF for frame in scaled)
    if (guided := request.guided) is not None:
        if guided.is_array:
            found[GUIDED] = _array(guided, request, stack)
        else:
            scaled = _decoded(guided.path, _guided_name(guided), cv2.INTER_AREA, request, stack)
            found[GUIDED] = (frame[:, :, 0] for frame in scaled)
    return found


def _decoded(path: str, name: str, scaling: int, request: Request, stack: ExitStack) -> Iterator[Frame]:
    """The first frames of a video, as many as are generated, at the model's size."""
    source = stack.enter_context(opened(path, kind_of(path, name, FIT))).frames()
    for count in range(request.frames):
        frame = next(source, None)
        if frame is None:
            raise _short(path, name, count, request)
        rgb: Frame = frame.to_ndarray(format="rgb24")
        if rgb.shape[1::-1] != request.size:
            rgb = np.asarray(cv2.resize(rgb, request.size, interpolation=scaling), np.uint8)
        yield rgb


def _kept(file: ControlFile, request: Request, stack: ExitStack) -> Iterator[Frame]:
    """The frames of a control that another job has left.

    Raises:
        EngineFailure: it is not what that job has said. The daemon has the next attempt compute the control.
    """
    name = f"The control file of {file.key} that another look has left"
    try:
        frames = stack.enter_context(opened(file.path, "mp4")).frames()
        for count in range(request.frames):
            frame = next(frames, None)
            if frame is None:
                raise EngineFailure("error", f"{name} ends after {count} frames; {request.frames} are needed.")
            rgb: Frame = frame.to_ndarray(format="rgb24")
            if rgb.shape[1::-1] != request.size:
                size = f"{rgb.shape[1]}x{rgb.shape[0]}"
                raise EngineFailure("error", f"{name} is {size}, not {request.size[0]}x{request.size[1]}.")
            yield rgb
    except (NotAVideo, SourceChanged) as error:
        raise EngineFailure("error", f"{name} cannot be read: {error.what}") from error


def _array(guided: Guided, request: Request, stack: ExitStack) -> Iterator[Frame]:
    """The first frames of an array, as many as are generated: 255 for what is kept, scaled to the model's size."""
    name = _guided_name(guided)
    try:
        file = stack.enter_context(stack.enter_context(zipfile.ZipFile(guided.path)).open(ARRAY))
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        (_, *area), by_column, dtype = read(file)
        whole = np.load(guided.path, allow_pickle=False)[ARRAY.removesuffix(".npy")] if by_column else None
        for count in range(request.frames):
            data = b"" if whole is not None else file.read(dtype.itemsize * area[0] * area[1])
            labels = np.frombuffer(data, dtype).reshape(area) if whole is None else whole[count]
            is_kept = labels > 0 if guided.labels is None else (labels > 0) & np.isin(labels, guided.labels)
            bright = np.where(is_kept, np.float32(WHITE), np.float32(0))
            # upstream scales in float32 and cuts off what is behind the point
            yield cv2.resize(bright, request.size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    except (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise EngineFailure("invalid", f"{name} cannot be read: {error}.", MASK_FIT) from error


def _short(path: str, name: str, count: int, request: Request) -> EngineFailure:
    what = f"{name} ends after {count} frames; {request.frames} are needed."
    return EngineFailure("error", what) if path == request.video else EngineFailure("invalid", what, FIT)


def _mask_field(asked: Control) -> str:
    return f"{asked.key}.mask_path"


def _control_name(asked: Control) -> str:
    return f"{asked.key}.control_path ({Path(asked.path or '').name})"


def _mask_name(asked: Control) -> str:
    return f"{_mask_field(asked)} ({Path(asked.mask or '').name})"


def _guided_name(guided: Guided) -> str:
    return f"{GUIDED} ({Path(guided.path).name})"
