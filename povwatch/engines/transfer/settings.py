"""Reads the engine's settings. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from povwatch.core.cosmos import CHUNK_FRAMES, CONTROLS
from povwatch.core.speed import SPEEDS, Speed
from povwatch.engines.port import EngineFailure

CONTROL_NAMES = {**{key: key for key in CONTROLS}, "vis": "blur"}
"""Hint key to its name in the model's files."""

DTYPES = ("bfloat16", "float16", "float32")

ATTENTION = ("auto", "cudnn", "native")

EXACT = ("rounding", "pipeline")

MEMORY = ("auto", "full", "low")

MODEL = "nvidia/Cosmos-Transfer2.5-2B"


@dataclass(frozen=True, slots=True)
class Settings:
    """The engine's part of the configuration."""

    model: str = MODEL
    """A folder as `save_pretrained` writes it, or a repository of the hub."""
    controls: tuple[str, ...] = ("edge",)
    """The hint keys that jobs may ask for. One is loaded at a time, the first one at once."""
    dtype: str = "bfloat16"
    """Type of the weights in computations."""
    device: str = "cuda"
    """torch's name of the device. A CPU is never chosen silently: a job on it would take days."""
    guardrails: bool = True
    """Whether prompts and videos are checked. Without the check, the model's licence does not hold."""
    offline: bool = False
    """Whether the network is off limits: every file has to be here."""
    cache: str | None = None
    """Folder of the hub's files; None for huggingface_hub's own choice."""
    attention: str = "auto"
    """auto: the fastest kernel that computes correctly; cudnn: cuDNN if possible; native: torch chooses."""
    exact: str = "rounding"
    """rounding: the engine's own step, which differs from diffusers' modules by rounding; pipeline: those modules, the
    same numbers to the bit, and a third slower."""
    compile: str | bool = "auto"
    """Whether steps are compiled; auto: on a GPU, unless `exact` is pipeline."""
    compile_cache: str | None = None
    """Folder for what was compiled, which outlives the process; None for the compiler's own choice."""
    speed: Speed = "exact"
    """What is made ready at the load. A job says its own."""
    memory: str = "auto"
    """full: the whole model stays on the GPU; low: not the text encoder; auto: low where full does not fit."""
    prompt_cache: str | None = None
    """Folder for the embeddings of prompts, which outlives the process; None for memory alone."""
    gpus_per_worker: int = 1
    """GPUs that compute a step together."""
    meeting: str = ""
    """Path of a file, below a folder that nobody else may write in, through which their processes find each other."""
    chunk_frames: int = CHUNK_FRAMES
    """Frames in a chunk, 4 k + 1. Fewer need less memory, and differ from the model's training."""
    pixels: int | None = None
    """Pixels of a frame to work at, about, whatever a spec's `resolution` says; None follows the spec."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Settings:
        """Read the configuration.

        Raises:
            EngineFailure: a key is unknown, or its value is invalid.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(config.keys() - known):
            raise _wrong(unknown[0], config[unknown[0]], f"is no key; there are {', '.join(sorted(known))}")
        values = dict(config)
        if isinstance(values.get("controls"), (list, tuple)):
            values["controls"] = tuple(values["controls"])
        settings = cls(**values)
        for name, good, wanted in settings._rules():
            if not good:
                raise _wrong(name, getattr(settings, name), f"has to be {wanted}")
        return settings

    @property
    def compiles(self) -> bool:
        """Whether steps are to be compiled."""
        if self.compile == "auto":
            return self.device.startswith("cuda") and self.exact != "pipeline"
        return bool(self.compile)

    def _rules(self) -> list[tuple[str, bool, str]]:
        texts = [(name, _is_text(getattr(self, name)), "a text that is not empty") for name in ("model", "device")]
        flags = [(name, isinstance(getattr(self, name), bool), "true or false") for name in ("guardrails", "offline")]
        controls = isinstance(self.controls, tuple) and self.controls and set(self.controls) <= CONTROL_NAMES.keys()
        return [
            *texts,
            *flags,
            ("controls", bool(controls), f"a list of some of {', '.join(CONTROL_NAMES)}"),
            ("dtype", self.dtype in DTYPES, f"one of {', '.join(DTYPES)}"),
            ("attention", self.attention in ATTENTION, f"one of {', '.join(ATTENTION)}"),
            ("exact", self.exact in EXACT, f"one of {', '.join(EXACT)}"),
            ("speed", self.speed in SPEEDS, f"one of {', '.join(SPEEDS)}"),
            (
                "speed",
                self.speed == "exact" or self.exact != "pipeline",
                '"exact", because exact = "pipeline" is exact to the bit',
            ),
            ("compile", self.compile == "auto" or isinstance(self.compile, bool), '"auto", true or false'),
            (
                "compile",
                self.compile is not True or self.exact != "pipeline",
                'false or "auto", because exact = "pipeline" is exact to the bit, and compiling changes rounding',
            ),
            ("gpus_per_worker", _is_count(self.gpus_per_worker), "a number of GPUs"),
            (
                "gpus_per_worker",
                self.gpus_per_worker == 1 or self.exact != "pipeline",
                '1, because exact = "pipeline" uses diffusers\' modules, which are not divided among GPUs',
            ),
            ("meeting", self.gpus_per_worker == 1 or _is_text(self.meeting), "a file, for several GPUs"),
            ("compile_cache", self.compile_cache is None or _is_text(self.compile_cache), "a folder"),
            ("memory", self.memory in MEMORY, f"one of {', '.join(MEMORY)}"),
            ("prompt_cache", self.prompt_cache is None or _is_text(self.prompt_cache), "a folder"),
            ("cache", self.cache is None or _is_text(self.cache), "a folder"),
            (
                "chunk_frames",
                _is_count(self.chunk_frames) and self.chunk_frames % 4 == 1 and self.chunk_frames <= CHUNK_FRAMES,
                "1, 5, 9, ... 93",
            ),
            ("pixels", self.pixels is None or _is_count(self.pixels), "a number of pixels"),
        ]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _wrong(name: str, value: object, why: str) -> EngineFailure:
    return EngineFailure("invalid", f"engine.{name} = {value!r} {why}.", "Correct that setting.")
