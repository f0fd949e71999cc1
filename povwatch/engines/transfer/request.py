"""Reads a job's request, and finds what this engine cannot do of a spec, before any GPU time. Pure.

The spec check uses the same rules, so that the JSON can still be edited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import COMPUTED, CONTROLS, PRESETS, RESOLUTION, STEPS
from povwatch.core.errors import Problem
from povwatch.core.sentences import joined
from povwatch.engines import control_files
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import plan, skipping

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from povwatch.core.speed import Speed
    from povwatch.engines.control_files import ControlFile
    from povwatch.engines.transfer.settings import Settings


METHOD = 1
"""Counts the changes of how edge and vis are computed: another number, another control file."""

GUIDED_STEPS = 25
"""Upstream's default of `guided_generation_step_threshold`."""

ANOTHER = 'engine.kind = "cosmos" can do it.'

SPEED = "povwatch.speed"
"""The field of a JSON that asks for a speed."""

NOT_HERE = {
    "image_context_path": "style image",
    "context_frame_index": "style frame",
}
"""Fields of the spec that the pipeline has no input for."""


Lacking = Callable[[str], tuple[str, str]]
"""Gives what is missing to compute a control, and what to do: see annotate.presence.lacking."""


def refusals(
    spec: Mapping[str, Any],
    controls: Collection[str],
    *,
    frames: int | None = None,
    lacking: Lacking | None = None,
) -> Iterator[Problem]:
    """Everything in a spec that this engine cannot do.

    Args:
        spec: upstream's fields.
        controls: the hint keys that are loaded.
        frames: of the clip; None if unknown.
        lacking: what a control that is not given is computed with before the engine gets the job. None for the job as
            the engine gets it: then the control has to be there.
    """
    asked = asked_controls(spec)
    if not asked:
        yield Problem("no control is asked for", f"Add one of {', '.join(controls)}.")
    for key in asked:
        yield from _of_control(key, spec[key], controls, lacking)
    for name, words in NOT_HERE.items():
        if spec.get(name) is not None:
            yield Problem(f"is set, and the diffusers engine takes no {words}", f"Take it out; {ANOTHER}", name)
    if frames is not None and spec.get("num_video_frames_per_chunk") == 1:
        wanted = min(frames, spec.get("max_frames") or frames)
        if wanted > 1:
            message = f"is 1, and {wanted:,} frames are to be generated"
            todo = 'Take it out for a video; for a single image write "max_frames": 1.'
            yield Problem(message, todo, "num_video_frames_per_chunk")


def unheeded(spec: Mapping[str, Any], speed: Speed | None) -> Iterator[str]:
    """Sentences about fields of a spec that the engine ignores; `speed` is the JSON's own."""
    if speed in skipping.RULES and spec.get("num_steps", STEPS) < skipping.FEWEST:
        yield f'{SPEED} "{speed}" leaves no step out: num_steps {spec["num_steps"]} is less than {skipping.FEWEST}.'
    if spec.get("guidance") == 1:  # the pipeline's rule: only guidance above 1 counts
        yield "guidance 1 is as good as 0 on the diffusers engine; cosmos takes it for 1."


def asked_controls(spec: Mapping[str, Any]) -> list[str]:
    """The hint keys that a spec sets."""
    return [key for key in CONTROLS if spec.get(key) is not None]


def _of_control(
    key: str, asked: Mapping[str, Any], controls: Collection[str], lacking: Lacking | None
) -> Iterator[Problem]:
    if key not in controls:
        message = f"is asked for, and engine.controls has {', '.join(controls)} only"
        yield Problem(
            message, f"Ask for {' or '.join(controls)}, or add {key} to engine.controls and restart povwatch.", key
        )
    if asked.get("control_path") is None and key not in COMPUTED:
        why, mend = lacking(key) if lacking else (f"the diffusers engine does not compute {key}", "")
        if why:
            instead = f"{'Or give' if mend else 'Give'} a control video of the clip's length and size; {ANOTHER}"
            todo = joined(mend, instead)
            yield Problem(f"is missing, and {why}", todo, f"{key}.control_path")
    if asked.get("mask_prompt") is not None:
        message = "is set, and the diffusers engine makes no masks"
        yield Problem(message, f"Give a mask as mask_path instead; {ANOTHER}", f"{key}.mask_prompt")


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a job."""

    key: str
    weight: float
    preset: str | None
    """Strength of a computed control; None for a given one."""
    path: str | None
    """A given control video."""
    mask: str | None = None
    """A video that is white where the control holds; None for everywhere."""
    file: ControlFile | None = None
    """The control as another job has computed it; None if it is to be computed, or given."""

    def setting(self, size: tuple[int, int]) -> dict[str, Any]:
        """Everything that decides a computed control's frames of this size, beside the clip's."""
        return {"engine": "diffusers", "method": METHOD, "key": self.key, "preset": self.preset, "size": list(size)}


@dataclass(frozen=True, slots=True)
class Guided:
    """What a job keeps of the clip: upstream's guided generation."""

    path: str
    """A mask of it, as a video or an array."""
    threshold: int
    """The last step in which it is kept, counted from 0."""
    labels: tuple[int, ...] | None
    """The values of an array that count; None for all above 0."""

    @property
    def is_array(self) -> bool:
        """Whether the mask is an array, not a video."""
        return self.path.endswith(".npz")


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that a job asks for."""

    video: str
    """Path of the working copy."""
    clip_frames: int
    """Frames in the working copy."""
    frames: int
    """Frames to generate, from the clip's first on."""
    width: int
    """Width of the working copy, in pixels."""
    height: int
    rate: Fraction
    """Frames a second."""
    prompt: str
    negative_prompt: str
    seed: int
    guidance: float
    steps: int
    carried: int
    """Frames of a chunk that the next one continues."""
    chunk_frames: int
    controls: tuple[Control, ...]
    """In upstream's order, in which their residuals are added."""
    size: tuple[int, int]
    """Width and height that the model works at."""
    keep_size: bool
    """Whether the artifact has the working copy's size instead of the model's."""
    show_control: bool
    show_input: bool
    keep_control: bool
    """Whether the controls are also written as videos."""
    guided: Guided | None = None
    speed: Speed = "exact"
    """How much may be approximated."""
    leaves_files: bool = False
    """Whether computed controls are left for further jobs on the clip."""

    @property
    def chunks(self) -> list[plan.Chunk]:
        """The clip's chunks."""
        return plan.chunks(self.frames, self.chunk_frames, self.carried)

    @property
    def computed(self) -> list[Control]:
        """The controls that this job computes."""
        return [one for one in self.controls if one.path is None and one.file is None]

    @property
    def has_guidance(self) -> bool:
        """Whether there is guidance. The pipeline's rule: 0 and 1 mean none."""
        return self.guidance > 1.0

    @property
    def plan(self) -> list[skipping.Compute]:
        """What is computed of each step."""
        return skipping.schedule(self.speed, self.steps, guided=self.has_guidance)

    @property
    def panels(self) -> int:
        """Pictures side by side in a frame of the artifact."""
        return 1 + self.show_control * len(self.controls) + self.show_input

    def decisive(self) -> dict[str, Any]:
        """Everything in the spec that decides what is generated, as JSON values; not the frames' contents."""
        plan = [one.value for one in self.plan]
        return {
            **({} if self.speed == "exact" else {"steps computed": plan}),
            "frames": self.frames,
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "seed": self.seed,
            "guidance": self.guidance,
            "steps": self.steps,
            "carried": self.carried,
            "chunk_frames": self.chunk_frames,
            "controls": [[control.key, control.weight] for control in self.controls],
            **({"guided": self.guided.threshold} if self.guided else {}),
            "size": list(self.size),
        }


def read(job: dict[str, Any], settings: Settings, limit: int | None = None) -> Request:
    """Read a job.

    Args:
        job: see port.Engine.generate.
        limit: largest width or height in pixels for which the model has positions.

    Raises:
        EngineFailure: this engine cannot do the job.
    """
    spec = job["spec"]
    for problem in refusals(spec, settings.controls, frames=job["frames"]):
        raise EngineFailure("invalid", problem.sentence, problem.todo)
    speed: Speed = job.get("speed", "exact")
    if speed != "exact" and settings.exact == "pipeline":
        problem = too_exact(speed)
        raise EngineFailure("invalid", problem.sentence, problem.todo)
    size = plan.size(job["width"], job["height"], spec.get("resolution", RESOLUTION), settings.pixels, limit)
    frames = min(spec.get("max_frames") or job["frames"], job["frames"])
    chunk_frames, carried = _chunk(spec, settings)
    return Request(
        video=job["video"],
        clip_frames=job["frames"],
        frames=frames,
        width=job["width"],
        height=job["height"],
        rate=Fraction(job["fps_num"], job["fps_den"]),
        prompt=spec["prompt"],
        negative_prompt=spec.get("negative_prompt") or "",
        seed=int(spec.get("seed", 2025)),
        guidance=float(spec.get("guidance", 3)),
        steps=int(spec.get("num_steps", STEPS)),
        carried=carried,
        chunk_frames=chunk_frames,
        controls=tuple(_control(key, job, size, frames) for key in asked_controls(spec)),
        size=size,
        keep_size=bool(spec.get("keep_input_resolution", True)),
        show_control=bool(spec.get("show_control_condition", False)),
        show_input=bool(spec.get("show_input", False)),
        keep_control=bool(job.get("keep_controls", False)),
        guided=_guided(spec),
        speed=speed,
        leaves_files=bool(job.get("leave_control_files", False)),
    )


def too_exact(speed: Speed) -> Problem:
    """Why an engine with `exact = "pipeline"` does not do a job at a speed."""
    message = f'is "{speed}", and engine.exact = "pipeline" wants the same numbers as the pipeline'
    return Problem(message, 'Take it out, or set engine.exact = "rounding" and restart povwatch.', SPEED)


def _control(key: str, job: dict[str, Any], size: tuple[int, int], frames: int) -> Control:
    asked = job["spec"][key]
    weight, path = asked.get("control_weight"), asked.get("control_path")
    preset = (asked.get(PRESETS[key]) or "medium") if path is None and key in PRESETS else None
    found = Control(key, 1.0 if weight is None else float(weight), preset, path, asked.get("mask_path"))
    if path is not None:
        return found
    return replace(found, file=control_files.fitting(job, found.setting(size), frames))


def _guided(spec: dict[str, Any]) -> Guided | None:
    path = spec.get("guided_generation_mask")
    if path is None:
        return None
    labels = spec.get("guided_generation_foreground_labels")
    threshold = int(spec.get("guided_generation_step_threshold", GUIDED_STEPS))
    return Guided(path, threshold, None if labels is None else tuple(labels))


def _chunk(spec: dict[str, Any], settings: Settings) -> tuple[int, int]:
    """Frames in a chunk, and how many of them are carried over to the next."""
    carried = int(spec.get("num_conditional_frames", 1))
    if spec.get("num_video_frames_per_chunk") == 1:
        return 1, 0
    if carried >= settings.chunk_frames:
        raise EngineFailure(
            "invalid",
            f"num_conditional_frames is {carried}, and a chunk has {settings.chunk_frames} frames.",
            "Set engine.chunk_frames to 93.",
        )
    return settings.chunk_frames, carried
