"""Warnings about valid specs that are probably not meant. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.config.settings import VIDEO_SUFFIXES
from povwatch.core.layout import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from povwatch.spec.model import Spec

COARSE = ("480", "480p", "256")
"""Resolutions that lose quality (cosmos-transfer2.5#144)."""

DISTILLED_STEPS = 4
"""The steps that the distilled model is made for."""

COMPUTING = ("preset_edge_threshold", "preset_blur_strength", "control_prompt")
"""The fields that say how a control is computed from the clip."""

FEW_STEPS = 10
MANY_STEPS = 100

SUM_MAX = 1.2 + 1e-9
"""NVIDIA's recipe for other light has 1.2 (cosmos-cookbook, recipes/inference/transfer2_5/inference-real-augmentation).

The rest allows for rounding.
"""


def lint(spec: Spec) -> list[str]:
    """Warnings of one or two sentences; each names its field."""
    return [*_controls(spec), *_quality(spec), *_without_effect(spec), *_guided(spec), *_shape(spec), *_drawn(spec)]


def _controls(spec: Spec) -> Iterator[str]:
    weights = {key: control.control_weight for key, control in spec.controls.items()}
    total = sum(weights.values())
    masked = any(control.mask_path or control.mask_prompt for control in spec.controls.values())
    masked = masked or spec.kept_as not in {None, "guided_generation_mask"}
    if total > SUM_MAX and not masked:  # with a mask upstream scales all weights down to 1 (resize_control_weight)
        yield (
            f"The control weights add up to {total:.3g}. They are not scaled down: "
            "above 1 the output keeps so close to the clip that the prompt hardly counts."
        )
    if total == 0:
        yield "Every control_weight is 0: the output has nothing to do with the clip."
    for key, control in spec.controls.items():
        for field in COMPUTING:
            if control.control_path is not None and _set(control, field):
                yield f"{key}.{field} has no effect, because {key}.control_path gives the control ready-made."
    if spec.seg is not None and spec.seg.control_path is None and spec.seg.control_prompt is None:
        yield (
            "seg.control_prompt is not set: segments are looked for by the first 128 words of the prompt. "
            'Name the things instead: "hands cup".'
        )
    for field, path in spec.referenced_paths().items():
        name = path.lower()
        if name.endswith(VIDEO_SUFFIXES) and not any(part.startswith(".") for part in path.split("/")):
            yield f"{field} names a video that is taken for a clip too: put it into .controls/, which is not watched."


def _quality(spec: Spec) -> Iterator[str]:
    if spec.resolution in COARSE:
        yield f'resolution "{spec.resolution}" loses quality: the model is trained at "720".'
    if spec.num_steps < FEW_STEPS and spec.num_steps != DISTILLED_STEPS:
        yield f"num_steps {spec.num_steps} gives a coarse picture; the full models are made for 35."
    if spec.num_steps == DISTILLED_STEPS:
        yield "num_steps 4 is for the distilled model; any other gives a coarse picture."
    if spec.num_steps > MANY_STEPS:
        yield f"num_steps {spec.num_steps} takes {spec.num_steps / 35:.0f} times as long as 35, for little."
    if spec.guidance == 0:
        yield "guidance 0 leaves the prompt hardly any say; 3 is the default."


def _without_effect(spec: Spec) -> Iterator[str]:
    if spec.sigma_max is not None:
        yield "sigma_max has no effect upstream."
    if spec.image_context_path is not None and spec.context_frame_index is not None:
        yield "image_context_path has no effect, because context_frame_index is set and wins."
    if len(spec.controls) > 1:
        for field in ("image_context_path", "context_frame_index"):
            if getattr(spec, field) is not None:
                yield f"{field} has no effect with several controls: the model for several ignores it."
    if (
        spec.max_frames is not None
        and spec.context_frame_index is not None
        and spec.context_frame_index >= spec.max_frames
    ):
        yield "context_frame_index is beyond max_frames: the style comes from a part of the clip that is not made."


def _guided(spec: Spec) -> Iterator[str]:
    labels = spec.guided_generation_foreground_labels
    own = spec.povwatch
    if own.keep is None:
        for field in ("dilate", "keep_as"):
            if _set(own, field):
                yield f"povwatch.{field} has no effect without povwatch.keep."
    if spec.guided_generation_mask is None:
        made = spec.kept_as == "guided_generation_mask"
        for field in ("guided_generation_step_threshold", "guided_generation_foreground_labels"):
            if _set(spec, field) and not (made and field == "guided_generation_step_threshold"):
                yield f"{field} has no effect without guided_generation_mask."
    elif labels is not None and spec.guided_generation_mask.endswith(".mp4"):
        yield "guided_generation_foreground_labels has no effect on an .mp4 mask, only on an .npz one."


def _shape(spec: Spec) -> Iterator[str]:
    if spec.max_frames is not None:
        yield f"max_frames {spec.max_frames}: a longer clip's output ends there, and labels for later frames have none."
    for field in ("show_input", "show_control_condition"):
        if getattr(spec, field):
            yield f"{field} makes the output wider than the clip: labels made for the clip do not fit it."
    if not spec.keep_input_resolution:
        yield "keep_input_resolution false gives the model's size: labels made for the clip do not fit the output."
    if spec.num_video_frames_per_chunk == 1 and spec.max_frames != 1:
        yield "num_video_frames_per_chunk 1 makes a single image; say max_frames 1 too if that is what you want."


def _drawn(spec: Spec) -> Iterator[str]:
    said = spec.drawn()
    for name, words in spec.povwatch.drawn.items():
        if name not in said:
            yield (
                f"povwatch.drawn says {shown(name.encode())}: {shown(words.encode())}, and no prompt says so any more: "
                "the manifest leaves it out. Change both together."
            )


def _set(model: BaseModel, field: str) -> bool:
    """Whether a field differs from its default; stored specs have every field written out."""
    info = type(model).model_fields.get(field)
    return info is not None and getattr(model, field) != info.default
