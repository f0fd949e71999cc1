"""Finds what this engine cannot do of a spec, before any GPU time. Pure.

The spec check uses the same rules, so that the JSON can still be edited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import COMPUTED, CONTROLS
from povwatch.core.errors import Problem
from povwatch.engines.port import EngineFailure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

ANOTHER = 'engine.kind = "cosmos" can do it.'

NOT_HERE = {
    "image_context_path": "style image",
    "context_frame_index": "style frame",
    "guided_generation_mask": "mask of what is kept",
}
"""Fields of the spec that the pipeline has no input for."""


def refusals(spec: Mapping[str, Any], controls: Collection[str], *, frames: int | None = None) -> Iterator[Problem]:
    """Everything in a spec that this engine cannot do.

    Args:
        spec: upstream's fields.
        controls: the hint keys that are loaded.
        frames: of the clip; None if unknown.
    """
    asked = asked_controls(spec)
    if not asked:
        yield Problem("no control is asked for", f"Add one of {', '.join(controls)}.")
    for key in asked[1:]:
        message = f"is asked for beside {asked[0]}, and the diffusers engine takes one control"
        yield Problem(message, f"Keep one of them; {ANOTHER}", key)
    for key in asked:
        yield from _of_control(key, spec[key], controls)
    for name, words in NOT_HERE.items():
        if spec.get(name) is not None:
            yield Problem(f"is set, and the diffusers engine takes no {words}", f"Take it out; {ANOTHER}", name)
    if frames is not None and spec.get("num_video_frames_per_chunk") == 1:
        wanted = min(frames, spec.get("max_frames") or frames)
        if wanted > 1:
            message = f"is 1, and {wanted:,} frames are to be generated"
            todo = 'Take it out for a video; for a single image write "max_frames": 1.'
            yield Problem(message, todo, "num_video_frames_per_chunk")


def unheeded(spec: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about fields of a spec that the engine ignores."""
    if spec.get("guidance") == 1:  # the pipeline's rule: only guidance above 1 counts
        yield "guidance 1 is as good as 0 on the diffusers engine; cosmos takes it for 1."


def refuse(spec: Mapping[str, Any], controls: Collection[str]) -> None:
    """Raise the first refusal.

    Raises:
        EngineFailure: the engine cannot do the spec.
    """
    for problem in refusals(spec, controls):
        raise EngineFailure("invalid", problem.sentence, problem.todo)


def asked_controls(spec: Mapping[str, Any]) -> list[str]:
    """The hint keys that a spec sets."""
    return [key for key in CONTROLS if spec.get(key) is not None]


def _of_control(key: str, asked: Mapping[str, Any], controls: Collection[str]) -> Iterator[Problem]:
    if key not in controls:
        message = f"is asked for, and engine.controls has {', '.join(controls)} only"
        yield Problem(
            message, f"Ask for {' or '.join(controls)}, or add {key} to engine.controls and restart povwatch.", key
        )
    if asked.get("control_path") is None and key not in COMPUTED:
        message = f"is missing, and the diffusers engine does not compute {key}"
        todo = f"Give a control video of the clip's length and size; {ANOTHER}"
        yield Problem(message, todo, f"{key}.control_path")
    for name in ("mask_path", "mask_prompt"):
        if asked.get(name) is not None:
            yield Problem("is set, and the diffusers engine takes no masks", f"Take it out; {ANOTHER}", f"{key}.{name}")
