"""Holds the loaded parts of Cosmos-Transfer2.5 while the worker lives."""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKLWan,
    Cosmos2_5_TransferPipeline,
    CosmosControlNetModel,
    CosmosTransformer3DModel,
    UniPCMultistepScheduler,
)
from safetensors import SafetensorError
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from povwatch.core.cosmos import RESOLUTION
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import attention, plan, weights
from povwatch.engines.transfer.compiling import Compiler
from povwatch.engines.transfer.pipeline_step import PipelineStep
from povwatch.engines.transfer.step import Step, unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from povwatch.engines.transfer.settings import Settings

EMBEDDINGS_KEPT = 4
"""Cached embeddings of prompts, 100 MB each: most clips share their negative prompt, and many their prompt."""

USUAL_CLIP = (1280, 720)
"""Width and height of a usual clip, for which steps are compiled when the model is loaded."""

TOKENS = 512
"""Tokens of a prompt; the rest is cut off, as in the pipeline."""


class Model:
    """Everything that is on the device."""

    def __init__(self, settings: Settings, files: weights.Files, report: Callable[[str, float | None], None]) -> None:
        """Load the parts.

        Raises:
            EngineFailure: the weights are not this model's.
        """
        self.settings = settings
        self.device = torch.device(settings.device)
        self.dtype: torch.dtype = getattr(torch, settings.dtype)
        self._files = files
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._loading = _Loading(files, settings.controls[0], report)
        self.key = ""
        """The hint key of the control that is loaded."""
        self.controlnet: CosmosControlNetModel = None
        base = files.base
        text_encoder = self._load("text_encoder", Qwen2_5_VLForConditionalGeneration, base / "text_encoder")
        self.transformer = self._load("transformer", CosmosTransformer3DModel, base / "transformer")
        self.vae = self._load("vae", AutoencoderKLWan, base / "vae")
        self.scheduler = UniPCMultistepScheduler.from_pretrained(base / "scheduler", local_files_only=True)
        self.pipeline = Cosmos2_5_TransferPipeline(
            text_encoder=text_encoder,
            tokenizer=AutoTokenizer.from_pretrained(base / "tokenizer", local_files_only=True),
            transformer=self.transformer,
            vae=self.vae,
            scheduler=self.scheduler,
            controlnet=None,
            safety_checker=_ElsewhereChecked(),
        )
        config = self.transformer.config
        self.attention = attention.choose(
            "cudnn" if settings.exact == "pipeline" and settings.attention == "auto" else settings.attention,
            self.device,
            self.dtype,
            heads=config.num_attention_heads,
            width=config.attention_head_dim,
        )
        """The kernel for self-attention."""
        self._compiler = Compiler(settings.compile_cache) if settings.compiles else None
        self._notes: list[str] = []
        self.step: Step | PipelineStep = self._pipeline_step()
        """Computes denoising steps with the transformer and the control that is loaded."""
        self.use(settings.controls[0])
        self._compile(report)

    def use(self, key: str) -> None:
        """Load a control in place of the one before, which is freed first.

        Raises:
            EngineFailure: the weights are not such a control's.
        """
        if key == self.key:
            return
        self.key, self.controlnet = "", None
        self.step.use(None)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.controlnet = self._load("controlnet", CosmosControlNetModel, self._files.controls[key])
        if self.settings.exact != "pipeline":
            self._choose_step()
        self.step.use(self.controlnet)
        self.key = key

    def embed(self, text: str) -> torch.Tensor:
        """The text encoder's output for a prompt, shape (1, TOKENS, layers times width); cached for the next job."""
        if text not in self._embeddings:
            while len(self._embeddings) >= EMBEDDINGS_KEPT:
                self._embeddings.popitem(last=False)
            with torch.no_grad():
                self._embeddings[text], _ = self.pipeline.encode_prompt(
                    prompt=text, do_classifier_free_guidance=False, max_sequence_length=TOKENS, device=self.device
                )
        self._embeddings.move_to_end(text)
        return self._embeddings[text]

    @property
    def compiled(self) -> bool:
        """Whether steps run compiled."""
        return isinstance(self.step, Step) and self._compiler is not None and self._compiler.on

    @property
    def notes(self) -> list[str]:
        """Sentences about what was expected of this machine or this model and is not so."""
        return [*self.attention.notes, *self._notes, *(self._compiler.notes if self._compiler else [])]

    def decisive(self) -> dict[str, Any]:
        """Everything that decides the result, besides the weights, the device and the request."""
        return {
            "libraries": self.versions(),
            "dtype": self.settings.dtype,
            "step": type(self.step).__name__,
            "attention": self.attention.name,
            "compiled": self.compiled,
        }

    @property
    def limit(self) -> int:
        """Largest width or height in pixels for which the model has positions."""
        _, rows, columns = self.transformer.config.max_size
        return int(min(rows, columns)) * int(self.pipeline.vae_scale_factor_spatial)

    def versions(self) -> dict[str, str | None]:
        """Versions of the libraries that decide the result."""
        cuda = self.device.type == "cuda"
        return {
            "diffusers": diffusers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "cuda": torch.version.cuda if cuda else None,
            "cudnn": str(torch.backends.cudnn.version()) if cuda else None,
        }

    def device_name(self) -> str:
        """The GPU's name; `cpu` for a CPU."""
        return str(torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type)

    def _pipeline_step(self) -> PipelineStep:
        return PipelineStep(self.transformer, int(self.pipeline.vae_scale_factor_spatial))

    def _choose_step(self) -> None:
        """Take the engine's own step, unless it is not written for these networks."""
        if difference := unknown(self.transformer, self.controlnet):
            note = (
                f"The model has {difference}, which povwatch's own step does not know: diffusers' modules are used, "
                "which take two fifths longer."
            )
            if note not in self._notes:
                self._notes.append(note)
            self.step = self._pipeline_step()
        elif not isinstance(self.step, Step):
            compiled = (self._compiler,) if self._compiler is not None else ()
            self.step = Step(self.transformer, self.attention.attend, *compiled)

    def _compile(self, report: Callable[[str, float | None], None]) -> None:
        """Compile the steps of a usual clip; those of another size are compiled when one comes."""
        if not self.compiled or self._compiler is None or not isinstance(self.step, Step):
            return
        width, height = plan.size(*USUAL_CLIP, RESOLUTION, self.settings.pixels, self.limit)
        time, space = self.pipeline.vae_scale_factor_temporal, self.pipeline.vae_scale_factor_spatial
        shape = (1, 16, (self.settings.chunk_frames - 1) // time + 1, height // space, width // space)
        text = torch.zeros(
            1, TOKENS, self.transformer.config.crossattn_proj_in_channels, device=self.device, dtype=self.dtype
        )
        with torch.no_grad(), self.attention.scope():
            self._compiler.run(self.step.trials(shape, text), report)

    def _load(self, name: str, kind: Any, folder: Path) -> Any:  # noqa: ANN401 - classes of untyped libraries
        self._loading.begins(name, folder)
        dtype_key = "dtype" if kind is Qwen2_5_VLForConditionalGeneration else "torch_dtype"
        try:
            part, info = kind.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **{dtype_key: self.dtype},
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            what = str(error).strip().splitlines()[0]
            raise EngineFailure(
                "invalid", f"The weights in {folder} cannot be loaded: {what}", weights.prefetch()
            ) from error
        if lacking := sorted(info["missing_keys"]) or sorted(map(str, info["mismatched_keys"])):
            # the libraries only warn, and use random numbers instead
            raise EngineFailure(
                "invalid", f"The weights in {folder} lack {lacking[0]} ({len(lacking)} in all).", weights.prefetch()
            )
        part.to(self.device).eval().requires_grad_(requires_grad=False)
        self._loading.done()
        return part


class _Loading:
    def __init__(self, files: weights.Files, first: str, report: Callable[[str, float | None], None]) -> None:
        folders = [*(files.base / name for name in weights.COMPONENTS), files.controls[first]]
        self._total = sum(weights.total_size(weights.weights(folder)) for folder in folders)
        self._report = report
        self._bytes = self._next = 0

    def begins(self, name: str, folder: Path) -> None:
        self._next = weights.total_size(weights.weights(folder))
        self._report(name.replace("_", " "), min(self._bytes / self._total, 1.0))

    def done(self) -> None:
        self._bytes += self._next


class _ElsewhereChecked:
    """Takes the place of the pipeline's checker: guardrail.py checks around our own loop."""
