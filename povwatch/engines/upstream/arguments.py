"""Our job as upstream's `InferenceArguments`, and what is refused before it costs GPU time. Pure.

`InferenceArguments.from_files` is never used: it changes the working directory and calls sys.exit on any mistake.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CONTROLS, STEPS
from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.ability import refusals, wanted

if TYPE_CHECKING:
    from povwatch.engines.upstream.settings import Settings

NAME = "generated"
"""The stem of every file that upstream writes for a job. It does not clean the name that it gets."""

NOT_PASSED_ON = frozenset({"$schema", "povwatch", "prompt_path", "sigma_max"})
"""What a spec may hold that upstream does not get. The text of prompt_path is the prompt already. sigma_max has no
effect, costs an encoding of every chunk, and fails on the distilled model (inference_pipeline.py, 575)."""

DISTILLED_STEPS = 4
"""Denoising steps of the distilled model."""

PATHS = ("video_path", "image_context_path", "guided_generation_mask")
CONTROL_PATHS = ("control_path", "mask_path")


def wanted_frames(job: dict[str, Any]) -> int:
    """How many frames the output is to have."""
    return wanted(job["spec"], job["frames"])


def arguments(job: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What `InferenceArguments.model_validate` takes for a job.

    Raises:
        EngineFailure: The job asks for what this model cannot do; the message names the field.
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
