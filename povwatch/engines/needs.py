"""Lists the files that an engine needs: repositories, revisions, names. Pure.

cosmos: upstream's own list at the pinned commit (packages/cosmos-oss/cosmos_oss/checkpoints*.py, and the names that its
source loads from the hub). diffusers: povwatch.engines.transfer, povwatch.engines.annotate, and cosmos_guardrail 0.3.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.errors import ConfigError
from povwatch.engines.annotate import annotation
from povwatch.engines.transfer import settings, weights
from povwatch.engines.upstream import ability

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSFER = "nvidia/Cosmos-Transfer2.5-2B"
PREDICT = "nvidia/Cosmos-Predict2.5-2B"
REASON = "nvidia/Cosmos-Reason1-7B"

GATED = frozenset({TRANSFER, PREDICT, "nvidia/Cosmos-Guardrail1", "nvidia/Cosmos-1.0-Guardrail"})
"""Repositories whose licence has to be accepted on their page, for machines without a network. Else the hub decides."""

TRANSFORMERS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files that transformers' from_pretrained takes from a repository; the same weights as pickles are not fetched."""

SIZES = {"cosmos": (36_000_000_000, 5_400_000_000), "diffusers": (25_000_000_000, 950_000_000)}
"""Bytes with one control, and bytes for each further one. cosmos: 36 GB and 52 GB measured. diffusers: by the number of
parameters."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Need:
    """Some files of one repository."""

    repository: str
    revision: str
    """A commit, or a branch, whose newest commit is taken."""
    why: str
    """The files' purpose, for people."""
    files: tuple[str, ...] = ()
    """Names of files; each has to be there."""
    patterns: tuple[str, ...] = ()
    """Such as `*.json`. Without files and patterns, the need is the whole repository."""
    depth: bool = False
    """Whether it belongs in the separate cache of upstream's depth model."""
    computes: str = ""
    """The control that it computes, by its hint key, if the engine loads without it and other jobs do not need it."""

    @property
    def licence(self) -> str:
        """The page on which its licence is accepted; empty if there is none to accept."""
        return page(self.repository) if self.repository in GATED else ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the engine is to do."""

    controls: tuple[str, ...] = ("edge",)
    model: str = ""
    """The setting engine.model."""
    guardrails: bool = True
    mask_prompts: bool = False
    """Whether specs may describe a mask in words (`mask_prompt`) instead of giving a file."""


def needs(kind: str, wishes: Wishes) -> tuple[Need, ...]:
    """The files of an engine, each once. An engine that is not ours needs nothing.

    Raises:
        ConfigError: the engine cannot do what is wished.
    """
    match kind:
        case "cosmos":
            found = _cosmos(wishes)
        case "diffusers":
            found = _diffusers(wishes)
        case _:
            found = []
    return tuple(dict.fromkeys(found))


def approximate_size(kind: str, wishes: Wishes) -> int:
    """Approximate bytes of what the engine loads of them, for a machine that cannot ask the hub. Source: see SIZES."""
    one, more = SIZES.get(kind, (0, 0))
    return one + more * (len(wishes.controls) - 1)


def size_of_computing(kind: str, wishes: Wishes) -> int:
    """Approximate bytes of the files that compute controls apart from the engine."""
    computed = wishes.controls if kind in annotation.ENGINES else ()
    return sum(model.size for control in computed for model in annotation.MODELS.get(control, ()))


def page(repository: str) -> str:
    """The repository's page, where its licence is accepted."""
    return f"https://huggingface.co/{repository}"


def depth_cache(environment: Mapping[str, str], home: str) -> str:
    """Where upstream's depth model looks for its file (_src/transfer2/auxiliary/depth_anything/model_utils.py)."""
    if own := environment.get("COSMOS_CACHE_DIR"):
        folder = f"{own}/depth_models"
    elif hub := environment.get("HF_HOME"):
        folder = f"{hub}/cosmos_depth_models"
    else:
        folder = f"{home}/.cache/cosmos_transfer2/depth_models"
    return f"{folder}/video_depth_anything_vits"


CHECKPOINTS = {
    "edge": Need(
        TRANSFER,
        "b67b64abda3801a9aceddbff2bdb86126c06db74",
        "the model for edge",
        ("general/edge/61f5694b-0ad5-4ecd-8ad7-c8545627d125_ema_bf16.pt",),
    ),
    "vis": Need(
        TRANSFER,
        "eb5325b77d358944da58a690157dd2b8071bbf85",
        "the model for vis",
        ("general/blur/ba2f44f2-c726-4fe7-949f-597069d9b91c_ema_bf16.pt",),
    ),
    "depth": Need(
        TRANSFER,
        "dea7737ca29dd8d9086413c6dc5724b8250a0bb4",
        "the model for depth",
        ("general/depth/626e6618-bfcd-4d9a-a077-1409e2ce353f_ema_bf16.pt",),
    ),
    "seg": Need(
        TRANSFER,
        "23057a4167b89de89a4a397fdbf3887994d115eb",
        "the model for seg",
        ("general/seg/5136ef49-6d8d-42e8-8abf-7dac722a304a_ema_bf16.pt",),
    ),
}
"""checkpoints_transfer2.py, by the ids that cosmos_transfer2/config.py names."""

DISTILLED_CHECKPOINTS = (
    Need(
        TRANSFER,
        "bbaeedb2b57cc8b14a44653099e2551adb69dcc7",
        "the distilled model for edge",
        ("distilled/general/edge/41f07f13-f2e4-4e34-ba4c-86f595acbc20_ema_bf16.pt",),
    ),
    # Unused, but upstream fetches it when it imports its experiments (experiments_dmd2_ac_predict2p5.py, 171).
    Need(
        PREDICT,
        "main",
        "a teacher that upstream asks for when it loads the distilled model",
        ("robot/action-cond/38c6c645-7d41-4560-8eeb-6f4ddc0e6574_ema_bf16.pt",),
    ),
)

VAE = Need(PREDICT, "f176dc95b4a70f53ce01c4b302851595e7322b00", "the video encoder and decoder", ("tokenizer.pth",))
TEXT_ENCODER = Need(REASON, "3210bec0495fdc7a8d3dbb8d58da5711eab4b423", "the text encoder")
IMAGE_CONTEXT = Need(
    "google/siglip2-so400m-patch16-naflex", "main", "the encoder of image_context_path", (), TRANSFORMERS
)
DEPTH = Need(
    "depth-anything/Video-Depth-Anything-Small",
    "main",
    "depth on the fly",
    ("video_depth_anything_vits.pth",),
    depth=True,
)
SEGMENTS = (
    Need("facebook/sam2-hiera-large", "main", "segments on the fly", ("sam2_hiera_large.pt",)),
    Need("IDEA-Research/grounding-dino-base", "main", "finding what a prompt names", (), TRANSFORMERS),
)
PROMPT_GUARD = Need("Qwen/Qwen3Guard-Gen-0.6B", "main", "guardrail of prompts", (), TRANSFORMERS)
GUARDS = {
    "cosmos": Need("nvidia/Cosmos-Guardrail1", "d6d4bfa899a71454a700907664f3e88f503950cf", "guardrails"),
    "diffusers": Need(
        "nvidia/Cosmos-1.0-Guardrail",
        "main",
        "guardrails",
        ("face_blur_filter/Resnet50_Final.pth",),
        ("blocklist/*",),
    ),
}
"""The guardrail's word lists and the filters of frames, by the engine's kind."""


def _cosmos(wishes: Wishes) -> list[Need]:
    if problem := ability.unloadable(wishes.controls):
        raise ConfigError(problem, 'Correct engine.controls: ["edge"], say.')
    distilled = wishes.model.endswith(ability.DISTILLED)
    found = list(DISTILLED_CHECKPOINTS) if distilled else [CHECKPOINTS[key] for key in wishes.controls]
    found += [VAE, TEXT_ENCODER]
    if len(wishes.controls) == 1 and not distilled:  # the other models have no input for an image
        found.append(IMAGE_CONTEXT)
    if "depth" in wishes.controls:
        found.append(DEPTH)
    if "seg" in wishes.controls or wishes.mask_prompts:
        found += SEGMENTS
    if wishes.guardrails:
        found += [
            GUARDS["cosmos"],
            PROMPT_GUARD,
            Need("google/siglip-so400m-patch14-384", "main", "guardrail of videos", (), TRANSFORMERS),
        ]
    return found


def computing(control: str) -> tuple[Need, ...]:
    """The models that compute a control for the diffusers engine, in the order of annotation.MODELS."""
    return tuple(
        Need(
            model.repository,
            model.revision,
            f"computes {control}, {model.licence}",
            model.files,
            TRANSFORMERS,
            computes=control,
        )
        for model in annotation.MODELS.get(control, ())
    )


def _diffusers(wishes: Wishes) -> list[Need]:
    found = [need for control in wishes.controls for need in computing(control)]
    model = wishes.model or settings.MODEL
    if REPOSITORY.fullmatch(model):
        for part, revision in weights.revisions(wishes.controls).items():
            why = "the model" if part == "base" else f"the model for {part}"
            found.append(Need(model, revision, why, (), weights.PATTERNS))
    if wishes.guardrails:
        found += [GUARDS["diffusers"], PROMPT_GUARD]
    return found
