"""A double of cosmos_transfer2/config.py: the same fields, types, defaults and ways to fail.

The contract tests hold the fields and defaults against upstream's own file.
"""

import enum
import json
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

CONTROL_KEYS = ["edge", "vis", "depth", "seg"]  # line 477
DEFAULT_NEGATIVE_PROMPT = "The video captures a game playing, with bad crappy graphics and cartoonish frames. It represents a recording of old outdated games. The lighting looks very fake. The textures are very raw and basic. The geometries are very primitive. The images are very pixelated and of poor CG quality. There are many subtitles in the footage. Overall, the video is unrealistic at all."  # noqa: E501 - upstream's


class ModelVariant(str, enum.Enum):  # noqa: UP042 - as upstream, for Python 3.10
    DEPTH = "depth"
    EDGE = "edge"
    SEG = "seg"
    VIS = "vis"


@dataclass(frozen=True, kw_only=True)
class ModelKey:
    variant: ModelVariant = ModelVariant.EDGE
    distilled: bool = False

    @property
    def name(self):
        return f"{self.variant.value}/distilled" if self.distilled else self.variant.value


class Hub:
    """checkpoint_db.py, 170-210: a file of a repository on Hugging Face; `_path` once it was downloaded."""

    def __init__(self, control):
        self.repository = "nvidia/Cosmos-Transfer2.5-2B"
        self.revision = "b67b64abda3801a9aceddbff2bdb86126c06db74"
        self.filename = f"general/{control}/weights_ema_bf16.pt"
        self._path = None


class Checkpoint:
    def __init__(self, control):
        self.hf = Hub(control)


MODEL_CHECKPOINTS = {ModelKey(variant=variant): Checkpoint(variant.value) for variant in ModelVariant}
if os.environ.get("COSMOS_EXPERIMENTAL_CHECKPOINTS") == "1":  # lines 165-169
    MODEL_CHECKPOINTS[ModelKey(distilled=True)] = Checkpoint("edge")
MODEL_KEYS = {key.name: key for key in MODEL_CHECKPOINTS}


class SetupArguments(pydantic.BaseModel):
    """Lines 213-308."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    output_dir: Path
    model: str = "edge"
    checkpoint_path: str | None = None
    experiment: str | None = None
    config_file: str = ""
    context_parallel_size: pydantic.PositiveInt | None = None
    disable_guardrails: bool = False
    offload_guardrail_models: bool = False
    keep_going: bool = True
    profile: bool = False
    benchmark: bool = False
    compile_tokenizer: str = "none"
    enable_parallel_tokenizer: bool = False
    parallel_tokenizer_grid: tuple[int, int] = (-1, -1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_model(cls, data: Any) -> Any:
        if data.get("model") is None:  # lines 268-270: it has a default that is never used
            raise ValueError("model is required")
        MODEL_KEYS[data["model"]]  # line 271: an unknown one is a KeyError
        if data.get("context_parallel_size") is None:
            data["context_parallel_size"] = int(os.environ.get("WORLD_SIZE", "1"))
        return data

    @property
    def model_key(self):
        return MODEL_KEYS[self.model]


Resolved = Annotated[pydantic.FilePath, pydantic.AfterValidator(lambda path: path.expanduser().absolute())]
Threshold = Literal["very_low", "low", "medium", "high", "very_high"]


class ControlConfig(pydantic.BaseModel):
    """Lines 428-438: unknown keys pass in silence."""

    control_path: Resolved | None = None
    control_weight: Annotated[float, pydantic.Field(ge=0.0, le=1.0)] = 1.0
    mask_path: Resolved | None = None
    mask_prompt: str | None = None


class DepthConfig(ControlConfig):
    pass


class BlurConfig(ControlConfig):
    preset_blur_strength: Threshold = "medium"


class EdgeConfig(ControlConfig):
    preset_edge_threshold: Threshold = "medium"


class SegConfig(ControlConfig):
    control_prompt: str | None = None


class InferenceArguments(pydantic.BaseModel):
    """Lines 311-351 and 480-545."""

    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    prompt_path: Resolved | None = None
    prompt: str
    negative_prompt: str = DEFAULT_NEGATIVE_PROMPT
    seed: int = 2025
    guidance: Annotated[int, pydantic.Field(ge=0, le=7)] = 3
    video_path: Resolved
    max_frames: pydantic.PositiveInt | None = None
    context_frame_index: pydantic.PositiveInt | None = None
    image_context_path: Resolved | None = None
    num_conditional_frames: Literal[0, 1, 2] = 1
    resolution: str = "720"
    sigma_max: str | None = None
    num_video_frames_per_chunk: pydantic.PositiveInt = 93
    num_steps: pydantic.PositiveInt = 35
    show_control_condition: bool = False
    show_input: bool = False
    keep_input_resolution: bool = True
    edge: EdgeConfig | None = None
    depth: DepthConfig | None = None
    vis: BlurConfig | None = None
    seg: SegConfig | None = None
    guided_generation_mask: Resolved | None = None
    guided_generation_step_threshold: int = 25
    guided_generation_foreground_labels: list[int] | None = None

    @cached_property
    def hint_keys(self):
        return [key for key in CONTROL_KEYS if getattr(self, key) is not None]

    def model_post_init(self, _context):
        if not self.hint_keys:
            raise ValueError("No controls provided, please provide at least one control key (edge, blur, depth, seg)")
        if self.vis and self.image_context_path:
            raise ValueError("vis control and image_context_path are both used to transfer style.")

    @classmethod
    def from_files(cls, paths, overrides=None):
        """Lines 353-421: leaves the process in another folder, and ends it on a mistake."""
        del overrides
        found = []
        for path in paths:
            os.chdir(path.parent)
            try:
                found.append(cls.model_validate(json.loads(path.read_text())))
            except pydantic.ValidationError:
                sys.exit(1)
        return found, CONTROL_KEYS
