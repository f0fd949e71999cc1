"""Converts a job to upstream's `InferenceArguments`, and refuses it before it costs GPU time. Pure.

`InferenceArguments.from_files` is not used: it changes the working directory and calls sys.exit on any mistake.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CONTROLS, STEPS
from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.ability import refusals, wanted
from povwatch.engines.upstream.leaving import taken

if TYPE_CHECKING:
    from povwatch.engines.upstream.settings import Settings

NAME = "generated"
"""Stem of all files that upstream writes for a job; upstream uses the name that it gets unchanged."""

NOT_PASSED_ON = frozenset({"$schema", "povwatch", "prompt_path", "sigma_max"})
"""Fields of a spec that upstream does not get. prompt_path's text is already the prompt. sigma_max has no effect, costs
an encoding of every chunk, and fails on the distilled model (inference_pipeline.py, 575)."""

DISTILLED_STEPS = 4
"""Denoising steps of the distilled model."""

PATHS = ("video_path", "image_context_path", "guided_generation_mask")
CONTROL_PATHS = ("control_path", "mask_path")


def wanted_frames(job: dict[str, Any]) -> int:
    """Number of frames of the output."""
    return wanted(job["spec"], job["frames"])


def arguments(job: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The input of `InferenceArguments.model_validate` for a job.

    Raises:
        EngineFailure: This model cannot do the job; the message names the field.
    """
    spec = {key: value for key, value in job["spec"].items() if key not in NOT_PASSED_ON and value is not None}
    spec |= {"name": NAME, "video_path": job["video"]}
    for problem in refusals(spec, settings.controls, frames=job["frames"], distilled=settings.distilled):
        raise EngineFailure("invalid", problem.sentence, problem.todo)
    if not str(spec.get("negative_prompt", "?")).strip():
        raise EngineFailure(
            "invalid",
            "negative_prompt is empty, and upstream would use the one of the job before.",
            "Say in it what the output shall not look like, or take the line out for upstream's own.",
        )
    if settings.distilled and spec.get("num_steps", STEPS) == STEPS:
        spec["num_steps"] = DISTILLED_STEPS
    spec.setdefault("num_steps", STEPS)
    for key, file in taken(job).items():
        spec[key] = {**spec[key], "control_path": file.path}
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
