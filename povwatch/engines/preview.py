"""The preview engine: shows the control video, on any CPU. It shows what Cosmos would follow, not what it makes.

Of several controls, the one with the largest weight is shown (upstream's order breaks ties). A control that only a
model of Cosmos can compute is shown, as a note, only if there is no other.
Frames are streamed: only a few are in memory.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from povwatch import __version__
from povwatch.container.signature import HEAD, video_kind
from povwatch.core.cosmos import COMPUTED, CONTROLS, PRESETS
from povwatch.core.errors import NotAVideo, SourceChanged
from povwatch.engines import control
from povwatch.engines.port import EngineFailure
from povwatch.engines.video_writer import VideoWriter
from povwatch.media.source import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from povwatch.engines.control import Frame
    from povwatch.engines.port import Context

QUALITY = {"crf": "14", "preset": "veryfast", "bf": "0"}
"""Encoder options that keep edges, which are one pixel wide, visible."""

SCALING = {
    "edge": cv2.INTER_LINEAR,
    "vis": cv2.INTER_AREA,
    "depth": cv2.INTER_LINEAR,
    "seg": cv2.INTER_NEAREST,
}
"""How upstream scales a given control video. Source: inference/utils.py, read_and_process_control_input."""


class PreviewEngine:
    """The preview engine; see the module."""

    def load(self, _config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Report the capabilities; nothing is loaded."""
        report("ready", 1.0)
        return {
            "name": "preview",
            "version": __version__,
            "controls": list(CONTROLS),
            "max_frames": None,
            "real": False,
            "opencv": cv2.__version__,
        }

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Write the control video of the job's clip.

        Raises:
            EngineFailure: the spec asks for no control, or a control video does not fit.
            EngineCancelled: the job is no longer wanted.
        """
        began = time.monotonic()
        shown, others = choose(job["spec"])
        count = min(job["frames"], job["spec"].get("max_frames") or job["frames"])
        out = str(Path(context.workdir) / "preview.mp4")
        try:
            with ExitStack() as stack:
                pictures = _pictures(shown, job, count, stack)
                done = _write(out, pictures, job, count, context)
        except (NotAVideo, SourceChanged) as error:
            raise EngineFailure("invalid", error.what, error.todo) from error
        if done != count:
            raise _short(shown, done, count)
        return {
            "path": out,
            "frames": done,
            "width": job["width"],
            "height": job["height"],
            "control": shown.key,
            "preset": shown.preset,
            "given": shown.path,
            "computed": shown.path is None and shown.key in COMPUTED,
            "others": others,
            "seconds": {"control": round(time.monotonic() - began, 3)},
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """The control that is shown."""

    key: str
    weight: float
    preset: str | None
    path: str | None
    """A given control video; None if the control is computed."""

    @property
    def visible(self) -> bool:
        """Whether a control, and not just a note, can be shown."""
        return self.path is not None or self.key in COMPUTED


def choose(spec: dict[str, Any]) -> tuple[Shown, list[str]]:
    """The control to show, and the hint keys of the others.

    Raises:
        EngineFailure: the spec asks for no control.
    """
    asked = [
        Shown(
            key=key,
            weight=_weight(spec[key]),
            preset=(spec[key].get(PRESETS[key]) or "medium") if key in PRESETS else None,
            path=spec[key].get("control_path"),
        )
        for key in CONTROLS
        if spec.get(key) is not None
    ]
    if not asked:
        raise EngineFailure("invalid", "The spec asks for no control.", f"Add at least one of {', '.join(CONTROLS)}.")
    best = max(asked, key=lambda one: (one.visible, one.weight))  # the first of equal ones: upstream's order
    return best, [one.key for one in asked if one is not best]


def _weight(asked: dict[str, Any]) -> float:
    weight = asked.get("control_weight")
    return 1.0 if weight is None else float(weight)


def _pictures(shown: Shown, job: dict[str, Any], count: int, stack: ExitStack) -> Iterator[Frame]:
    """The control's frames, RGB, in the working copy's size."""
    size = (job["width"], job["height"])
    if shown.path is not None:
        given = stack.enter_context(
            opened(
                shown.path,
                kind_of(shown.path, f"The control {Path(shown.path).name!r}", "Give a video of the clip's length."),
            )
        )
        for _, frame in zip(range(count), given.frames(), strict=False):
            rgb = frame.to_ndarray(format="rgb24")
            yield rgb if rgb.shape[1::-1] == size else cv2.resize(rgb, size, interpolation=SCALING[shown.key])
    elif shown.key not in COMPUTED:
        card = control.note(shown.key, size)
        for _ in range(count):
            yield card
    else:
        make = control.maker(shown.key, shown.preset or "medium")
        clip = stack.enter_context(opened(job["video"], "mp4"))
        for _, frame in zip(range(count), clip.frames(), strict=False):
            yield make(frame.to_ndarray(format="rgb24"))


def _write(out: str, pictures: Iterator[Frame], job: dict[str, Any], count: int, context: Context) -> int:
    """Encode the frames at the working copy's rate; return their number."""
    every = max(1, count // 100)
    with VideoWriter(out, Fraction(job["fps_num"], job["fps_den"]), (job["width"], job["height"]), QUALITY) as writer:
        for picture in pictures:
            context.raise_if_cancelled()
            writer.add(picture)
            if writer.frames % every == 0 or writer.frames == count:
                context.progress("control", chunk=0, chunks=1, step=writer.frames, steps=count)
    return writer.frames


def kind_of(path: str, name: str, todo: str) -> str:
    """The container of a video, by its signature. `name` and `todo` are for people.

    Raises:
        EngineFailure: the signature is unknown.
    """
    with Path(path).open("rb") as file:
        kind = video_kind(file.read(HEAD))
    if kind is None:
        raise EngineFailure("invalid", f"{name} is no MP4, Matroska or AVI video.", todo)
    return str(kind)


def _short(shown: Shown, done: int, count: int) -> EngineFailure:
    # Weaker than media/fit.misfit on purpose: a preview shows a control of another size or rate as well as it can.
    if shown.path is not None:
        return EngineFailure(
            "invalid",
            f"The control video for {shown.key}, {Path(shown.path).name!r}, has {done} frames; the clip needs {count}.",
            "Give one with a frame for each of the clip's.",
        )
    return EngineFailure("error", f"The working copy has {done} frames instead of {count}.")
