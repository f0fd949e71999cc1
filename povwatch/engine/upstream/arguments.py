"""Our job as upstream's `InferenceArguments`, and what is refused before it costs GPU time. Pure.

`InferenceArguments.from_files` is never used: it changes the working directory and calls sys.exit on any mistake.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any

from povwatch.engine.port import EngineFailure
from povwatch.engine.upstream.ability import CONTROLS, DISTILLED_FRAMES_MAX, FRAMES_MAX, unheeded, unloaded

if TYPE_CHECKING:
    from povwatch.engine.upstream.settings import Settings

NAME = "generated"
"""The stem of every file that upstream writes for a job. It does not clean the name that it gets."""

NOT_PASSED_ON = frozenset({"$schema", "povwatch", "prompt_path", "sigma_max"})
"""What a spec may hold that upstream does not get. The text of prompt_path is the prompt already. sigma_max has no
effect, costs an encoding of every chunk, and fails on the distilled model (inference_pipeline.py, 575)."""

FULL_STEPS, DISTILLED_STEPS = 35, 4
"""Upstream's default number of steps, and the distilled model's."""

CHUNK, IMAGE = 93, 1
"""The two chunk sizes that upstream's tokenizer takes; others fail an assertion once the model runs."""

PATHS = ("video_path", "image_context_path", "guided_generation_mask")
CONTROL_PATHS = ("control_path", "mask_path")


def wanted_frames(job: dict[str, Any]) -> int:
    """How many frames the output is to have."""
    frames: int = job["frames"]
    return min(frames, job["spec"].get("max_frames") or frames)


def arguments(job: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What `InferenceArguments.model_validate` takes for a job.

    Raises:
        EngineFailure: The job asks for what this model cannot do; the message names the field.
    """
    spec = {key: value for key, value in job["spec"].items() if key not in NOT_PASSED_ON and value is not None}
    spec |= {"name": NAME, "video_path": job["video"]}
    _check_controls(spec, settings)
    _check_length(job, settings)
    _check_chunk(spec, wanted_frames(job))
    if settings.distilled and spec.get("guided_generation_mask"):
        raise EngineFailure(
            "invalid",
            "guided_generation_mask has no effect on the distilled model, which is loaded.",
            "Take it out, or load the full model: take engine.model out.",
        )
    if not str(spec.get("negative_prompt", "?")).strip():
        raise EngineFailure(
            "invalid",
            "negative_prompt is empty, and upstream would use the one of the job before.",
            "Say in it what the output shall not look like, or take the line out for upstream's own.",
        )
    if settings.distilled and spec.get("num_steps", FULL_STEPS) == FULL_STEPS:
        spec["num_steps"] = DISTILLED_STEPS
    spec.setdefault("num_steps", FULL_STEPS)
    for where, path in paths(spec).items():
        if not os.path.isabs(path):  # noqa: PTH117
            raise EngineFailure("error", f"{where} is {path!r}, not an absolute path.")
    return spec


def paths(spec: dict[str, Any]) -> dict[str, str]:
    """Every file that a spec names: field (`edge.control_path`) to path."""
    found = {field: spec[field] for field in PATHS if spec.get(field)}
    for key in CONTROLS:
        for field in CONTROL_PATHS:
            if path := (spec.get(key) or {}).get(field):
                found[f"{key}.{field}"] = path
    return found


def _check_controls(spec: dict[str, Any], settings: Settings) -> None:
    asked = [key for key in CONTROLS if key in spec]
    problem = unloaded(asked, settings.controls) or unheeded(spec, settings.controls)
    if problem is not None:
        raise EngineFailure("invalid", problem)


def _check_length(job: dict[str, Any], settings: Settings) -> None:
    frames = wanted_frames(job)
    if frames > FRAMES_MAX:
        raise EngineFailure(
            "invalid",
            f"{frames} frames are asked for, and the cosmos engine makes {FRAMES_MAX:,} at most: upstream holds a "
            "whole clip in memory and silently stops reading there.",
            f'Set "max_frames": {FRAMES_MAX}, cut the clip into parts, or use engine.kind = "diffusers", which '
            "has no such limit.",
        )
    if settings.distilled and frames > DISTILLED_FRAMES_MAX:
        raise EngineFailure(
            "invalid",
            f"{frames} frames are asked for, and the distilled model makes {DISTILLED_FRAMES_MAX} at most: it was not "
            "trained to go on from one chunk to the next.",
            f'Set "max_frames": {DISTILLED_FRAMES_MAX}, or load the full model: take engine.model out.',
        )


def _check_chunk(spec: dict[str, Any], frames: int) -> None:
    size = spec.get("num_video_frames_per_chunk", CHUNK)
    if size == CHUNK or (size == IMAGE and frames == 1):
        return
    why = "upstream would make the first frame only" if size == IMAGE else "upstream's tokenizer takes 93, or 1 for one"
    raise EngineFailure(
        "invalid",
        f"num_video_frames_per_chunk is {size} for {frames} frames; {why}.",
        "Set it to 93, or take the line out.",
    )
