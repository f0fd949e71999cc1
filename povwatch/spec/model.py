"""The fields of the JSON beside a clip. Pure.

The fields, types and defaults are those of upstream's `InferenceArguments` (cosmos_transfer2/config.py at 2ff49d0).
This model is stricter where upstream accepts a mistake that wastes GPU minutes or gives an unintended result.
Therefore upstream accepts whatever passes here.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from povwatch.core import cosmos, kept_file, quality
from povwatch.core.cosmos import CHUNK_FRAMES, CONTROLS, STEPS
from povwatch.core.scores import SCORES
from povwatch.core.speed import Speed

if TYPE_CHECKING:
    from povwatch.core.errors import Problem

DEFAULT_NEGATIVE_PROMPT = (
    "The video captures a game playing, with bad crappy graphics and cartoonish frames. "
    "It represents a recording of old outdated games. The lighting looks very fake. "
    "The textures are very raw and basic. The geometries are very primitive. "
    "The images are very pixelated and of poor CG quality. There are many subtitles in the footage. "
    "Overall, the video is unrealistic at all."
)
"""Upstream's own."""

Preset = Literal["very_low", "low", "medium", "high", "very_high"]

Resolution = Literal["1080", "1024", "720", "512", "480", "480p", "720p", "720robocasa", "256"]
"""The keys of upstream's VIDEO_RES_SIZE_INFO; others raise KeyError there once the model is loaded."""

CHUNKS = (CHUNK_FRAMES, 1)
"""Frames in a chunk: the model's own number, or a single image. Upstream asserts this late."""

GUIDED_MASKS = (".mp4", ".npz")
"""Suffixes of a guided generation mask. Upstream raises ValueError for others, after it has loaded the model."""

SIGMA_MAX = 200.0
"""Pure noise."""


def _rule(kind: str, message: str, todo: str, *, field: str = "") -> PydanticCustomError:
    """An error for a rule of ours. A rule across fields names one of them, relative to the validated object."""
    # Braces would be taken for placeholders: the texts travel in the context instead.
    return PydanticCustomError(kind, "{message}", {"message": message, "todo": todo, "field": field})


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise _rule("no_number", "true and false are no numbers here", "")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise _rule("blank", "is blank", "Write a text, or take the line out.")
    return value


def _negative(value: str) -> str:
    if not value.strip():
        # Upstream then silently uses the text of the job before.
        raise _rule("blank", "is blank", "Say what to avoid, or take the line out: there is a good default.")
    return value


def _chunk(value: int) -> int:
    if value not in CHUNKS:
        raise _rule("chunk", "is a chunk that the model was not trained on", "")
    return value


def _sigma(value: str) -> str:
    try:
        sigma = float(value)
    except ValueError:
        sigma = math.nan
    if not 0 <= sigma <= SIGMA_MAX:
        raise _rule("sigma", "is no number from 0 to 200 in quotes", 'Write "80", for example, or take the line out.')
    return value


def _inside(value: str) -> str:
    """Normalise a path and check that it stays in the JSON's folder."""
    todo = "Put the file into the JSON's folder, or a folder below it, and name it from there."
    if not value.strip():
        raise _rule("path", "names no file", "Name a file, or take the line out.")
    if "\0" in value:
        raise _rule("path", "has a null character in it", todo)
    if value.startswith("/"):
        raise _rule("path", "is an absolute path", todo)
    if value.startswith("~"):
        raise _rule("path", "begins with ~, which upstream takes for a home folder", todo)
    if ".." in value.split("/"):
        raise _rule("path", "leaves the JSON's folder by '..'", todo)
    return posixpath.normpath(value)


def _clip(value: str) -> str:
    name = _inside(value)
    if "/" in name:
        raise _rule("path", "is no bare file name", "")
    return name


def _kept(value: str) -> str:
    if why := kept_file.misplaced(value):
        raise _rule("kept_file", why, kept_file.TODO)
    return posixpath.normpath(value)


def _score(value: str) -> str:
    if value not in SCORES:
        raise _rule("score", f"is {value!r}, which is no score", f"There are {', '.join(SCORES)}.")
    return value


def _guided(value: str) -> str:
    if not value.endswith(GUIDED_MASKS):
        raise _rule("guided_mask", "is neither .mp4 nor .npz", "Give the mask as a video (.mp4) or an array (.npz).")
    return value


NoBool = BeforeValidator(_no_bool)
"""Rejects true and false, which would pass as 1 and 0."""

Int = Annotated[int, NoBool]
"""A whole number; like upstream it accepts 3.0 and "3", but not 3.5."""

Positive = Annotated[int, Field(gt=0), NoBool]

Seed = Annotated[int, Field(ge=0, le=2**63 - 1), NoBool]
"""A seed for any engine's random generator. (Python's accepts -1 too, and treats it as 1.)"""

Guidance = Annotated[int, Field(ge=0, le=7), NoBool]

Priority = Annotated[int, Field(ge=-100, le=100), NoBool]

Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), NoBool]

Text = Annotated[str, AfterValidator(_said)]
"""A text that is not blank."""

NegativeText = Annotated[str, AfterValidator(_negative)]

ChunkSize = Annotated[Int, AfterValidator(_chunk), WithJsonSchema({"enum": list(CHUNKS), "type": "integer"})]

Sigma = Annotated[str, AfterValidator(_sigma)]

RelativePath = Annotated[str, AfterValidator(_inside)]
"""A file below the JSON's folder."""

ClipName = Annotated[str, AfterValidator(_clip)]
"""A file in the JSON's folder; a leading `./` is dropped."""

GuidedMask = Annotated[RelativePath, AfterValidator(_guided)]

ScoreName = Annotated[str, AfterValidator(_score), Field(json_schema_extra={"enum": list(SCORES)})]
"""A name in core/scores.py."""

KeptFile = Annotated[str, AfterValidator(_kept)]
"""A file in the clip's folder in outputs/, or a folder below it."""

Dilation = Annotated[int, Field(ge=0, le=kept_file.DILATE_MAX), NoBool]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True)


class Control(_Strict):
    """What every control takes. `{}` is the whole control with its defaults."""

    control_path: RelativePath | None = None
    """A control video of your own, as long as the clip. Without it the control is computed from the clip."""
    control_weight: Weight = 1.0
    """How closely the output keeps to the control, from 0 to 1. Weights are scaled only where a control has a mask."""
    mask_path: RelativePath | None = None
    """A black and white video: the control acts where it is white. Not together with mask_prompt."""
    mask_prompt: Text | None = None
    """What the control acts on ("hands cup"): a mask is made for it. Not together with mask_path."""

    @model_validator(mode="after")
    def _one_mask(self) -> Self:
        if self.mask_path is not None and self.mask_prompt is not None:
            raise _rule(
                "both_masks",
                "is set together with mask_path",
                "Keep one: mask_path if you have a mask, mask_prompt to have one made.",
                field="mask_prompt",
            )
        return self


class EdgeControl(Control):
    """Edges: shapes stay, colours and materials are free."""

    preset_edge_threshold: Preset = "medium"
    """How strong an edge must be to count: very_low finds many (and noise), very_high few."""


class VisControl(Control):
    """A blurred picture: colours and layout stay, detail is free. Upstream's documents call it blur."""

    preset_blur_strength: Preset = "medium"
    """How much is blurred away before the control is taken."""


class DepthControl(Control):
    """Depth: the layout in space stays."""


class SegControl(Control):
    """Segments: what is where stays."""

    control_prompt: Text | None = None
    """What to segment ("hands cup table"). Without it, the first 128 words of the prompt."""


class Own(_Strict):
    """What povwatch itself reads; upstream does not know it."""

    start: Literal["now", "hold"] | None = None
    """Say "now" and the time to edit is over at once; say "hold" and the clip waits until this line is gone."""
    priority: Priority = 0
    """Higher goes first, from -100 to 100."""
    speed: Speed | None = None
    """How much may be approximated: "exact", "fast" or "fastest". Without it, engine.speed of the configuration."""
    keep: KeptFile | None = None
    """A video that a hook leaves in the clip's folder in outputs/: where it shows more than its background, the clip is
    kept."""
    dilate: Dilation = kept_file.DILATE
    """How far around that the clip is kept too, in pixels of the clip, from 0 to 256."""
    keep_as: Literal["guided", cosmos.Control] = "guided"
    """Who gets the mask: "guided" for guided generation, or one of the JSON's controls, which then acts there alone."""
    best_of: Annotated[int, Field(ge=1, le=quality.BEST_OF_MAX), NoBool] | None = None
    """So many seeds are generated, from `seed` on, and the best result is published."""
    by: ScoreName | None = None
    """The score that says which is best, such as "edge_f1" (the default); docs/scores.md has them all."""
    drawn: dict[str, str] = Field(default_factory=dict)
    """What was drawn of the template's choices, by their names. It is in the prompt; change both together."""


class Spec(_Strict):
    """One clip's job: the JSON beside the clip."""

    schema_: str | None = Field(default=None, alias="$schema")
    """For your editor; not read."""
    name: str
    """A label. The output is named after the clip, whatever this says."""
    video_path: ClipName
    """The clip's own file name: a JSON that was copied from another clip is noticed."""
    prompt: Text | None = None
    """What the output shows: scene, light, materials, motion, camera. Either this or prompt_path."""
    prompt_path: RelativePath | None = None
    """A text file with the prompt in it. Either this or prompt."""
    negative_prompt: NegativeText = DEFAULT_NEGATIVE_PROMPT
    """What the output shall not look like."""
    seed: Seed = 2025
    """The same seed and the same JSON give the same output."""
    guidance: Guidance = 3
    """How closely the output keeps to the prompt, a whole number from 0 to 7."""
    max_frames: Positive | None = None
    """Only the first so many frames of the clip. Without it, all."""
    context_frame_index: Positive | None = None
    """The frame of the clip whose look is taken as the style, counted from 0; upstream does not take frame 0."""
    image_context_path: RelativePath | None = None
    """An image whose look is taken as the style. Not together with vis."""
    num_conditional_frames: Annotated[Literal[0, 1, 2], NoBool] = 1
    """How many frames of a chunk the next one goes on from: 0, 1 or 2."""
    resolution: Resolution = "720"
    """What the model works at, as a text: "720". Others give worse or slower results."""
    sigma_max: Sigma | None = None
    """A number from 0 to 200 in quotes. It has no effect upstream."""
    num_video_frames_per_chunk: ChunkSize = CHUNK_FRAMES
    """How many frames are made at once: 93, or 1 for a single image."""
    num_steps: Positive = STEPS
    """How many steps of denoising: more take longer. 35 is right for the full models, 4 for the distilled one."""
    show_control_condition: bool = False
    """Put the control videos beside the picture in the output, which gets wider."""
    show_input: bool = False
    """Put the clip beside the picture in the output, which gets wider."""
    keep_input_resolution: bool = True
    """Give the output the clip's own size; false leaves it at the model's."""
    edge: EdgeControl | None = None
    """Keep to the clip's edges."""
    depth: DepthControl | None = None
    """Keep to the clip's depth."""
    vis: VisControl | None = None
    """Keep to the blurred clip."""
    seg: SegControl | None = None
    """Keep to the clip's segments."""
    guided_generation_mask: GuidedMask | None = None
    """A mask (.mp4 or .npz) of what is to be kept as it is in the clip."""
    guided_generation_step_threshold: Int = 25
    """Up to which step guided_generation_mask acts."""
    guided_generation_foreground_labels: Annotated[tuple[Int, ...], Field(min_length=1)] | None = None
    """Which labels of an .npz mask count. Without it, all but 0."""
    povwatch: Own = Own()
    """When, in which order and how fast the clip runs, and what is kept of it. The speed and what is kept are a part of
    what is generated."""

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if self.prompt is None and self.prompt_path is None:
            raise _rule("no_prompt", "is missing", "Say in it what the output shall show.", field="prompt")
        if self.prompt is not None and self.prompt_path is not None:
            raise _rule(
                "both_prompts",
                "is set together with prompt, which silently wins upstream",
                "Keep one of the two.",
                field="prompt_path",
            )
        return self

    @model_validator(mode="after")
    def _a_control(self) -> Self:
        if not self.controls:
            raise _rule("no_control", "no control is set", f'Add at least one of {", ".join(CONTROLS)}: "edge": {{}}')
        if self.vis is not None and self.image_context_path is not None:
            raise _rule(
                "two_styles",
                "is set together with vis, and both set the style",
                "Keep one of the two.",
                field="image_context_path",
            )
        return self

    @model_validator(mode="after")
    def _one_mask_of_what_is_kept(self) -> Self:
        own = self.povwatch
        if own.keep is None:
            return self
        if own.keep_as == "guided":
            if self.guided_generation_mask is not None:
                raise _rule(
                    "two_masks",
                    "is set together with guided_generation_mask, and both say what is kept",
                    "Keep one of the two.",
                    field="povwatch.keep",
                )
            return self
        control = self.controls.get(own.keep_as)
        if control is None:
            raise _rule(
                "keep_as",
                "names a control that is not set",
                f'Set it, "{own.keep_as}": {{}}, or name one that is: {", ".join(self.controls)}.',
                field="povwatch.keep_as",
            )
        if control.mask_path is not None or control.mask_prompt is not None:
            raise _rule(
                "two_masks",
                f"names {own.keep_as}, which has a mask of its own",
                "Keep one of the two masks.",
                field="povwatch.keep_as",
            )
        return self

    @property
    def kept_as(self) -> str | None:
        """The field that gets the mask of `povwatch.keep`: guided_generation_mask, or vis.mask_path; None without."""
        own = self.povwatch
        if own.keep is None:
            return None
        return "guided_generation_mask" if own.keep_as == "guided" else f"{own.keep_as}.mask_path"

    @property
    def controls(self) -> dict[str, Control]:
        """The controls that are set, in upstream's order."""
        return {key: control for key in CONTROLS if (control := getattr(self, key)) is not None}

    def canonical(self) -> dict[str, Any]:
        """Everything that decides what is generated, as JSON values, with defaults filled in.

        `name` and `video_path` are left out: renaming a clip with its JSON does not make a new run.
        A speed is there only if the JSON says one, as the configuration does not decide whether a clip is done.
        """
        left_out = {"schema_", "povwatch", "name", "video_path"}
        found = self.model_dump(mode="json", exclude=left_out, exclude_none=True)
        own = self.povwatch
        if own.speed is not None:
            found["povwatch.speed"] = own.speed
        if own.keep is not None:
            found["povwatch.keep"] = [own.keep, own.dilate, own.keep_as]
        if own.best_of is not None:
            found["povwatch.best_of"] = [own.best_of, own.by]
        return found

    def digest(self) -> str:
        """SHA-256 in hexadecimal of the canonical values: formatting and order do not change it."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def upstream(self) -> dict[str, Any]:
        """Upstream's `InferenceArguments` as JSON values, with defaults filled in."""
        return self.model_dump(mode="json", exclude={"schema_", "povwatch"}, exclude_none=True)

    def asked(self) -> dict[str, Any]:
        """The same as an engine will be asked for it: with a mask where `povwatch.keep` has one made."""
        fields = self.upstream()
        if self.kept_as is not None:
            control, _, key = self.kept_as.rpartition(".")
            (fields[control] if control else fields)[key] = self.povwatch.keep
        return fields

    def in_its_words(self, problems: list[Problem]) -> list[Problem]:
        """Problems of `asked`, with the name of the field that the JSON has for a mask that is made."""
        return [replace(one, field="povwatch.keep") if one.field == self.kept_as else one for one in problems]

    def drawn(self) -> dict[str, str]:
        """What was drawn of the template's choices, as far as a text of the spec still says it."""
        texts = [self.prompt, self.negative_prompt, self.guided_generation_mask]
        texts += [value for control in self.controls.values() for value in control.model_dump(mode="json").values()]
        said = [text for text in texts if isinstance(text, str)]
        drawn = self.povwatch.drawn
        return {name: words for name, words in drawn.items() if any(words in text for text in said)}

    def referenced_paths(self) -> dict[str, str]:
        """The named files beside the clip: field (`edge.control_path`) to path, relative to the JSON's folder."""
        named: dict[str, str | None] = {
            "prompt_path": self.prompt_path,
            "image_context_path": self.image_context_path,
            "guided_generation_mask": self.guided_generation_mask,
        }
        for key, control in self.controls.items():
            named[f"{key}.control_path"] = control.control_path
            named[f"{key}.mask_path"] = control.mask_path
        return {field: path for field, path in named.items() if path is not None}
