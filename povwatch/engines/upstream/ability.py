"""Tells what a loaded model can do. Pure, standard library alone: the daemon asks while the JSON can be edited."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CHUNK_FRAMES, CONTROLS
from povwatch.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from povwatch.media.fit import Shape

FRAMES_MAX = 5000
"""Upstream's NUM_MAX_FRAMES (_src/transfer2/inference/utils.py): it silently stops reading there."""

DISTILLED_FRAMES_MAX = CHUNK_FRAMES
"""The distilled model was not trained to continue a chunk (cosmos_transfer2/inference.py)."""

DISTILLED = "/distilled"
"""Suffix of a distilled model's name."""

CHUNK, IMAGE = CHUNK_FRAMES, 1
"""The two chunk sizes that upstream's tokenizer takes; others fail an assertion during the run."""

ALL = f"set engine.controls = {json.dumps(CONTROLS)} and restart povwatch"

FULL_MODEL = "load the full model: take engine.model out and restart povwatch"

STYLES = ("image_context_path", "context_frame_index")
"""Fields that give the style by a picture."""


CHANNELS = 3

DECODED_COPIES = 2
"""imageio returns every frame, and numpy.stack copies them (_src/transfer2/inference/utils.py, 210 and 234)."""

GIB = 1024**3


def unloadable(controls: Collection[str]) -> str | None:
    """Why a set of controls cannot be loaded; None if it can.

    Upstream loads one control's weights for exactly one key, and all four otherwise. Controls that were not named get a
    weight of zero. So `edge, depth` would need the memory of four and take no `vis` in any job.
    """
    keys = list(controls)
    unknown = sorted(set(keys) - set(CONTROLS))
    if unknown:
        return f"engine.controls names {', '.join(unknown)}; known are {', '.join(CONTROLS)}."
    if len(keys) != len(set(keys)) or len(keys) not in (1, len(CONTROLS)):
        found = ", ".join(keys) or "nothing"
        return f"engine.controls names {found}. Name exactly one control, or all four: {', '.join(CONTROLS)}."
    return None


def refusals(
    spec: Mapping[str, Any], loaded: Collection[str], *, frames: int | None, distilled: bool = False
) -> Iterator[Problem]:
    """Everything in a spec that the model cannot do.

    Args:
        spec: upstream's fields.
        loaded: the hint keys that are loaded.
        frames: of the clip; None if unknown.
    """
    yield from _controls(spec, loaded)
    if frames is not None:
        yield from _length(spec, frames, distilled=distilled)
        yield from _chunk(spec, wanted(spec, frames))
        yield from _style(spec, frames)
    if distilled and spec.get("guided_generation_mask") is not None:
        todo = f"Take it out, or {FULL_MODEL}."
        yield Problem("has no effect on the distilled model, which is loaded", todo, "guided_generation_mask")


def unheeded(spec: Mapping[str, Any], loaded: Collection[str], *, distilled: bool = False) -> Iterator[str]:
    """Sentences about fields of a spec that the model ignores.

    The model of all four controls and the distilled one have no input for an image's style. The distilled one was
    trained with one guidance, and ignores any other.
    """
    which = "of all four controls" if len(loaded) > 1 else "distilled" if distilled else ""
    for field in STYLES:
        if which and spec.get(field) is not None:
            name = "distilled model" if which == "distilled" else f"model {which}"
            yield f"{field} has no effect on the {name}, which is loaded."
    if distilled and spec.get("guidance") not in (None, 3):
        yield "guidance has no effect on the distilled model, which is loaded."


def undecodable(clip: Shape, memory: int) -> Problem | None:
    """Why a clip cannot be decoded whole into memory, as upstream does; None if it can.

    `memory` is in bytes, within the limits of control groups.
    """
    decoded = clip.frames * clip.width * clip.height * CHANNELS * DECODED_COPIES
    if decoded <= memory:
        return None
    shape = f"{clip.frames:,} frames of {clip.width}x{clip.height}"
    return Problem(
        f"the clip's {shape} take {decoded / GIB:.1f} GiB once decoded, and {memory / GIB:.1f} GiB of memory can be "
        "had here; upstream decodes all of them, whatever max_frames says",
        'Cut the clip into parts, or use engine.kind = "diffusers", which decodes as it goes.',
    )


def wanted(spec: Mapping[str, Any], frames: int) -> int:
    """Number of frames of the output."""
    return min(frames, spec.get("max_frames") or frames)


def _controls(spec: Mapping[str, Any], loaded: Collection[str]) -> Iterator[Problem]:
    there = [key for key in CONTROLS if key in loaded]
    for key in CONTROLS:
        if spec.get(key) is not None and key not in there:
            yield Problem(
                f"is asked for, but the model that is loaded takes {', '.join(there) or 'no control'} only",
                f"Use {' or '.join(there) or 'another engine'} instead, or {ALL}.",
                key,
            )


def _length(spec: Mapping[str, Any], frames: int, *, distilled: bool) -> Iterator[Problem]:
    most = DISTILLED_FRAMES_MAX if distilled else FRAMES_MAX
    asked = wanted(spec, frames)
    if asked <= most:
        return
    if distilled:
        limit = f"the distilled model makes {most} at most: it was not trained to go on from one chunk to the next"
        todo = f"or {FULL_MODEL}"
    else:
        limit = (
            f"the cosmos engine makes {most:,} at most: upstream holds a whole clip in memory and silently stops "
            "reading there"
        )
        todo = 'cut the clip into parts, or use engine.kind = "diffusers", which has no such limit'
    given = spec.get("max_frames") is not None
    found = f"asks for {asked:,} frames" if given else f"is not set, and the clip has {asked:,} frames"
    yield Problem(f"{found}; {limit}", f'Write "max_frames": {most}, {todo}.', "max_frames")


def _style(spec: Mapping[str, Any], frames: int) -> Iterator[Problem]:
    """Check the clip's frame that gives the style. Upstream counts frames from 0, and reads the whole clip."""
    index = spec.get("context_frame_index")
    if index is not None and index >= frames:
        last = f"the last one is {frames - 1}" if frames > 1 else "there is but one"
        yield Problem(f"is {index}, and of the clip's frames {last}", "Name one of the clip's.", "context_frame_index")


def _chunk(spec: Mapping[str, Any], frames: int) -> Iterator[Problem]:
    size = spec.get("num_video_frames_per_chunk") or CHUNK
    if size == CHUNK or (size == IMAGE and frames == 1):
        return
    why = "upstream would make the first frame only" if size == IMAGE else "upstream's tokenizer takes 93, or 1 for one"
    yield Problem(
        f"is {size} for {frames} frames; {why}", "Set it to 93, or take the line out.", "num_video_frames_per_chunk"
    )
