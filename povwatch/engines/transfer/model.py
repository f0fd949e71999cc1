"""Holds the loaded parts of Cosmos-Transfer2.5 while the worker lives."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKLWan, Cosmos2_5_TransferPipeline, UniPCMultistepScheduler
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from povwatch.engines.transfer import memory, weights
from povwatch.engines.transfer.compiling import Compiler
from povwatch.engines.transfer.embeddings import Embeddings
from povwatch.engines.transfer.networks import TOKENS, Loading, Networks
from povwatch.engines.transfer.split import WHOLE, Whole
from povwatch.engines.transfer.step import Step
from povwatch.engines.transfer.vae import channels_last, compile_norms, trials

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.speed import Speed
    from povwatch.engines.transfer.settings import Settings

EMBEDDINGS_KEPT = 4
"""Cached embeddings of prompts, 100 MB each: most clips share their negative prompt, and many their prompt."""


class Model(Networks):
    """Everything that is on the device."""

    def __init__(
        self,
        settings: Settings,
        files: weights.Files,
        report: Callable[[str, float | None], None],
        *,
        part: Whole = WHOLE,
        make_step: Callable[..., Step] = Step,
    ) -> None:
        """Load the parts.

        Args:
            settings: of the engine.
            files: of the model.
            report: see port.Engine.load.
            part: see `Networks`, also for the next one.
            make_step: see there.

        Raises:
            EngineFailure: see `Networks`, also its `ready`.
        """
        base = files.base
        folders = [*(base / name for name in weights.COMPONENTS), files.controls[settings.controls[0]]]
        loading = Loading(settings, folders, report)
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.kept_embeddings: Embeddings | None = None
        """Those on the disk."""
        self.memory, note = memory.choose(settings.memory, _room(loading.device))
        """Whether the whole model is on the device."""
        text_encoder = loading.part(
            "text_encoder", Qwen2_5_VLForConditionalGeneration, base / "text_encoder", waits=self.memory == "low"
        )
        self.vae = loading.part("vae", AutoencoderKLWan, base / "vae")
        super().__init__(settings, files, loading, self.vae, part=part, make_step=make_step)
        self._faster_vae = self.device.type == "cuda" and settings.exact != "pipeline"
        self._vae_compiler: Compiler | None = None
        """One of its own: where it fails, the steps stay compiled."""
        if self._faster_vae:
            channels_last(self.vae)
            if settings.compiles:
                self._vae_compiler = Compiler(None, "encoding and decoding take two fifths longer")
                compile_norms(self.vae, self._vae_compiler)
                self._trials += trials(self.vae)
        self._notes += [note] if note else []
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
        self.ready(report)

    def embed(self, text: str) -> torch.Tensor:
        """The text encoder's output for a prompt, shape (1, TOKENS, layers times width); cached for the next job."""
        if text not in self._embeddings:
            while len(self._embeddings) >= EMBEDDINGS_KEPT:
                self._embeddings.popitem(last=False)
            found = self.kept_embeddings.load(text) if self.kept_embeddings else None
            self._embeddings[text] = self._embed(text) if found is None else found.to(self.device)
        self._embeddings.move_to_end(text)
        return self._embeddings[text]

    @property
    def notes(self) -> list[str]:
        """See Networks; also about the VAE."""
        return [*super().notes, *(self._vae_compiler.notes if self._vae_compiler else [])]

    def trim(self) -> None:
        """Give back what no tensor uses, where memory is low: the next stage's tensors have other sizes."""
        if self.memory == "low" and self.device.type == "cuda":
            torch.cuda.empty_cache()

    def keep_embeddings(self, folder: str, hashes: dict[str, dict[str, str | int]]) -> None:
        """Keep embeddings of prompts in a folder from now on; `hashes` are from `weights.digests`."""
        base = self._files.base
        texts = [*sorted((base / "tokenizer").iterdir()), base / "text_encoder" / "config.json"]
        decisive = {
            "weights": {name: entry for name, entry in hashes.items() if name.startswith("text_encoder/")},
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in texts if path.is_file()},
            "libraries": self.versions(),
            "device": self.device_name(),
            "dtype": self.settings.dtype,
        }
        self.kept_embeddings = Embeddings(folder, decisive)

    def _embed(self, text: str) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = self.pipeline.encode_prompt(
                prompt=text, do_classifier_free_guidance=False, max_sequence_length=TOKENS, device=self.device
            )[0]
        if self.kept_embeddings:
            self.kept_embeddings.keep(text, found)
        return found

    def decisive(self, speed: Speed) -> dict[str, Any]:
        """Everything that decides the result, besides the weights, the device and the request."""
        kernels = self.kernels(speed)
        in_fp8 = {"fp8": [kernels.attention, kernels.feed_forward is not None]}
        return {
            **({} if speed == "exact" else in_fp8),
            "libraries": self.versions(),
            "dtype": self.settings.dtype,
            "vae": [self._faster_vae, self._vae_compiler is not None and self._vae_compiler.on],
            "step": type(self.step).__name__,
            "attention": self.attention.name,
            "compiled": self.compiled,
            "gpus": self.part.ranks,
        }

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


def _room(device: torch.device) -> int | None:
    """Bytes of GPU memory that the engine can have, those included that it has; None without a GPU."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    room: int = free + torch.cuda.memory_reserved(device)
    if limit := int(os.environ.get(memory.LIMIT, "0")):
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device.index)
        return min(room, limit)
    return room


class _ElsewhereChecked:
    """Takes the place of the pipeline's checker: guardrail.py checks around our own loop."""
