"""Says which controls of a spec a model computes, with which models and settings. Pure.

Source of the rules: upstream's `read_and_process_control_input` (cosmos_transfer2/_src/transfer2/inference/utils.py),
`seg_control_prompt` (cosmos_transfer2/config.py), and sam2_model.py and video_depth_model.py in
cosmos_transfer2/_src/transfer2/auxiliary/. The models of segments are upstream's own, in transformers' classes.
The model of depth is another one of the same family: upstream has Video-Depth-Anything-Small, which transformers does
not have. Depth Anything V2 Small is what that was made from, and its licence is as free; those of the larger ones are
not for commercial use. It looks at each frame alone, so its depth flickers more.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import COMPUTED, CONTROLS
from povwatch.media.info import JsonObject

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINES = frozenset({"diffusers"})
"""Kinds of engines that do not compute these controls themselves."""

METHOD = 1
"""Counts the changes of how a control is computed: another number, another control."""

PROMPT_WORDS = 128
"""Words of the prompt that name the segments where `control_prompt` does not. Source: `seg_control_prompt`."""

OBJECTS_MAX = 100
"""The most segments of a clip: those that were found most surely. Source: `convert_masks_to_frames`, sam2_utils.py."""

THRESHOLDS = ((0.15, 0.25), (0.1, 0.1))
"""Least score of a box, and of a word for it; the second pair is tried if the first finds nothing.

Source: `get_boxes_from_text`.
"""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the hub."""

    repository: str
    revision: str
    """A commit."""
    licence: str
    size: int
    """Bytes to fetch, about."""
    files: tuple[str, ...] = ("config.json", "model.safetensors", "preprocessor_config.json")
    """Files that have to be there; it has more of them."""


DEPTH_ANYTHING = Model(
    "depth-anything/Depth-Anything-V2-Small-hf",
    "5426e4f0f36572d16453bbda7a8389317b1bef99",
    "Apache-2.0",
    100_000_000,
)
GROUNDING_DINO = Model(
    "IDEA-Research/grounding-dino-base",
    "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
    "Apache-2.0",
    935_000_000,
)
SAM2 = Model(
    "facebook/sam2-hiera-large",
    "e6a8e8809b8f1bfa2238b6d080f3d05cc76bd251",
    "Apache-2.0",
    900_000_000,
    ("config.json", "model.safetensors"),
)

MODELS = {"depth": (DEPTH_ANYTHING,), "seg": (GROUNDING_DINO, SAM2)}
"""Hint key to the models that compute it."""

SETTINGS: dict[str, dict[str, Any]] = {"depth": {}, "seg": {"thresholds": THRESHOLDS, "objects": OBJECTS_MAX}}
"""Hint key to what else decides the result."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One control that a model computes from a clip."""

    kind: str
    """Its hint key, one of MODELS."""
    prompt: str = ""
    """The things that become segments, in words; empty for depth."""

    @property
    def field(self) -> str:
        """The spec's field that would name a control video."""
        return f"{self.kind}.control_path"


@dataclass(frozen=True, slots=True)
class Annotated(JsonObject):
    """A computed control video."""

    path: str
    sha256: str
    frames: int
    width: int
    """As the working copy, in pixels."""
    height: int
    kind: str
    prompt: str
    models: dict[str, str]
    """Repository to the commit."""
    device: str
    """The GPU's name, or "cpu"."""
    seconds: float
    objects: int | None = None
    """Segments; None for depth."""
    notes: tuple[str, ...] = ()
    """Sentences for the log."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(self.notes))  # JSON gives a list


def to_compute(spec: Mapping[str, Any]) -> tuple[Annotation, ...]:
    """The controls of a spec that a model computes: those of MODELS without a control video, in upstream's order.

    Args:
        spec: upstream's fields, with the prompt itself and not a file of it.
    """
    return tuple(
        Annotation(key, _prompt(spec) if key == "seg" else "")
        for key in CONTROLS
        if key not in COMPUTED and spec.get(key) is not None and spec[key].get("control_path") is None
    )


def control_key(annotation: Annotation) -> str:
    """A digest, in hexadecimal, of everything but the clip that decides the control.

    The device and the libraries' versions are left out: they change the rounding alone.
    """
    decisive = {
        "method": METHOD,
        **asdict(annotation),
        "models": [(model.repository, model.revision) for model in MODELS[annotation.kind]],
        **SETTINGS[annotation.kind],
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _prompt(spec: Mapping[str, Any]) -> str:
    asked = spec["seg"].get("control_prompt")
    return str(asked) if asked is not None else " ".join((spec.get("prompt") or "").split()[:PROMPT_WORDS])
