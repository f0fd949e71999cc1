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

from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from povwatch.engines.transfer.settings import Settings

EMBEDDINGS_KEPT = 4
"""Cached embeddings of prompts, 100 MB each: most clips share their negative prompt, and many their prompt."""

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
        _compile(self.transformer.transformer_blocks, settings)
        self.use(settings.controls[0])

    def use(self, key: str) -> None:
        """Load a control in place of the one before, which is freed first.

        Raises:
            EngineFailure: the weights are not such a control's.
        """
        if key == self.key:
            return
        self.key, self.controlnet = "", None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.controlnet = self._load("controlnet", CosmosControlNetModel, self._files.controls[key])
        _compile(self.controlnet.control_blocks, self.settings)
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


def _compile(blocks: Any, settings: Settings) -> None:  # noqa: ANN401 - torch.nn.ModuleList
    if settings.compile:
        for block in blocks:
            block.compile()
