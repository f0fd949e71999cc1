"""Holds the transformer, the control nets, and the step that they compute."""

from __future__ import annotations

import gc
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from accelerate import cpu_offload
from diffusers import CosmosControlNetModel, CosmosTransformer3DModel
from safetensors import SafetensorError
from transformers import Qwen2_5_VLForConditionalGeneration

from povwatch.core.cosmos import RESOLUTION
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import attention, fp8, memory, plan, weights
from povwatch.engines.transfer.compiling import Compiler
from povwatch.engines.transfer.pipeline_step import PipelineStep
from povwatch.engines.transfer.split import WHOLE, Whole
from povwatch.engines.transfer.step import Step, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from povwatch.core.speed import Speed
    from povwatch.engines.transfer.settings import Settings

USUAL_CLIP = (1280, 720)
"""Width and height of a usual clip, for which steps are compiled when the model is loaded."""

TOKENS = 512
"""Tokens of a prompt; the rest is cut off, as in the pipeline."""


class Networks:
    """What computes a step, on the device."""

    def __init__(
        self,
        settings: Settings,
        files: weights.Files,
        loading: Loading,
        vae: Any,  # noqa: ANN401 - AutoencoderKLWan; diffusers has no types
        *,
        part: Whole = WHOLE,
        make_step: Callable[..., Step] = Step,
    ) -> None:
        """Load the transformer; `ready` has to follow.

        Args:
            settings: of the engine.
            files: of the model.
            loading: loads the parts.
            vae: its scales are asked for; it may be without weights.
            part: of a step, which this process computes.
            make_step: makes the engine's own step; called like `Step`.

        Raises:
            EngineFailure: the weights are not this model's, or its heads cannot be divided among the ranks.
        """
        self.settings = settings
        self.device = loading.device
        self.dtype = loading.dtype
        self._files = files
        self._loading = loading
        self.part = part
        self._make_step = make_step
        # Pixels of a latent in time and in space: the pipeline's rule.
        self._scales: tuple[int, int] = (2 ** sum(vae.temperal_downsample), 2 ** len(vae.temperal_downsample))
        self._kept: OrderedDict[str, CosmosControlNetModel] = OrderedDict()
        """The control nets on the device by hint key, those that were used least recently first."""
        self.keys: list[str] = []
        """The hint keys in use."""
        self.transformer = loading.part("transformer", CosmosTransformer3DModel, files.base / "transformer")
        config = self.transformer.config
        ranks = part.ranks
        if config.num_attention_heads % ranks:
            raise EngineFailure(
                "invalid",
                f"engine.gpus_per_worker = {ranks}, and the model's {config.num_attention_heads} heads cannot be "
                "divided by that.",
                "Set it to a number that divides them.",
            )
        self.attention = attention.choose(
            "cudnn" if settings.exact == "pipeline" and settings.attention == "auto" else settings.attention,
            self.device,
            self.dtype,
            heads=config.num_attention_heads // ranks,
            width=config.attention_head_dim,
        )
        """The kernel for self-attention."""
        self._compiler = Compiler(settings.compile_cache) if settings.compiles else None
        self._trials: list[Callable[[], object]] = []
        """Calls of other functions that are compiled with the step."""
        self._notes: list[str] = []
        self.step: Step | PipelineStep = self._pipeline_step()
        """Computes denoising steps with the transformer and the control nets in use."""
        self._fp8: fp8.Kernels | None = None
        self._fast: Step | None = None

    def ready(self, report: Callable[[str, float | None], None]) -> None:
        """Load the first control, wait for the other ranks, and compile the steps of a usual clip.

        Raises:
            EngineFailure: see `use` and `Part.meet`.
        """
        self.use(self.settings.controls[:1])
        if self.part.ranks > 1:
            report("other GPUs", None)
        self.part.meet(self.device)
        self._compile(report)

    def use(self, keys: Sequence[str]) -> None:
        """Use these controls in this order, each loaded when it is first asked for.

        Others stay on the device while there is room; the net that was used least recently is freed first.

        Raises:
            EngineFailure: the weights are not such a control's, or several ranks cannot compute its steps.
        """
        if self.keys != list(keys):
            self.keys = []
            for step in self._steps():
                step.use([])
        for key in keys:
            if key in self._kept:
                self._kept.move_to_end(key)
        self._make_room(keys)
        if self.keys:
            return
        for key in keys:
            if key not in self._kept:
                self._kept[key] = self._loading.part("controlnet", CosmosControlNetModel, self._files.controls[key])
        if self.settings.exact != "pipeline":
            self._choose_step([self._kept[key] for key in keys])
        self.keys = list(keys)
        for step in self._steps():
            step.use(self.controlnets)

    @property
    def controlnets(self) -> list[CosmosControlNetModel]:
        """The control nets in use."""
        return [self._kept[key] for key in self.keys]

    @property
    def kept(self) -> list[str]:
        """The hint keys whose nets are on the device, those that were used least recently first."""
        return list(self._kept)

    def room(self) -> int | None:
        """Bytes of GPU memory that the engine can still take; None without a GPU."""
        if self.device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        taken, reserved = torch.cuda.memory_allocated(self.device), torch.cuda.memory_reserved(self.device)
        room: int = min(free + reserved, int(os.environ.get(memory.LIMIT, total))) - taken
        return room

    def _make_room(self, keys: Sequence[str]) -> None:
        """Free nets that a job does not use, if it and the nets that it still lacks would not fit beside them."""
        room = self.room()
        if room is None:
            return
        lacking = sum(self._size(key) for key in keys if key not in self._kept) + memory.working(len(keys)) - room
        unused = {key: self._size(key) for key in self._kept if key not in keys}
        for key in (freed := memory.freed(unused, lacking)):
            del self._kept[key]
        if freed:
            gc.collect()
            torch.cuda.empty_cache()

    def _size(self, key: str) -> int:
        return weights.total_size(weights.weights(self._files.controls[key]))

    def step_for(self, speed: Speed) -> Step | PipelineStep:
        """What computes steps at a speed. Its weights in FP8 are made at the first job that wants them."""
        kernels = self.kernels(speed)
        if self._fast is None and (kernels.attend or kernels.feed_forward):
            self._fast = self._own_step(
                kernels.attend or self.attention.attend,
                **({"feed_forward": kernels.feed_forward} if kernels.feed_forward else {}),
            )
            self._fast.use(self.controlnets)
        return self.step if speed == "exact" or self._fast is None else self._fast

    def kernels(self, speed: Speed) -> fp8.Kernels:
        """What is computed in FP8 at a speed."""
        if speed == "exact" or not self.own_step:
            return fp8.Kernels()
        if self._fp8 is None:
            config = self.transformer.config
            heads, width = config.num_attention_heads // self.part.ranks, config.attention_head_dim
            self._fp8 = fp8.choose(self.device, self.dtype, heads=heads, width=width)
        return self._fp8

    @property
    def own_step(self) -> bool:
        """Whether steps are computed by step.py, not by diffusers' modules."""
        return isinstance(self.step, Step)

    @property
    def compiled(self) -> bool:
        """Whether steps run compiled."""
        return self.own_step and self._compiler is not None and self._compiler.on

    @property
    def notes(self) -> list[str]:
        """Sentences about what was expected of this machine or this model and is not so."""
        in_fp8 = self._fp8.notes if self._fp8 else ()
        return [*self.attention.notes, *in_fp8, *self._notes, *(self._compiler.notes if self._compiler else [])]

    @property
    def limit(self) -> int:
        """Largest width or height in pixels for which the model has positions."""
        _, rows, columns = self.transformer.config.max_size
        return int(min(rows, columns)) * self._scales[1]

    def _steps(self) -> list[Step | PipelineStep]:
        return [self.step, *([self._fast] if self._fast is not None else [])]

    def _own_step(self, attend: Callable[..., torch.Tensor], **options: Any) -> Step:  # noqa: ANN401 - see Step
        if self._compiler is not None:
            options["prepared"] = self._compiler
        return self._make_step(self.transformer, attend, part=self.part, **options)

    def _pipeline_step(self) -> PipelineStep:
        return PipelineStep(self.transformer, self._scales[1])

    def _choose_step(self, nets: Sequence[CosmosControlNetModel]) -> None:
        """Take the engine's own step, unless it is not written for these networks.

        Raises:
            EngineFailure: it is not, and there are several ranks.
        """
        difference = next(filter(None, (unknown(self.transformer, net) for net in nets)), "")
        if difference and self.part.ranks > 1:
            raise EngineFailure(
                "invalid",
                f"The model has {difference}, which povwatch's own step does not know, and diffusers' modules are not "
                "divided among GPUs.",
                "Set engine.gpus_per_worker = 1.",
            )
        if difference:
            note = (
                f"The model has {difference}, which povwatch's own step does not know: diffusers' modules are used, "
                "which take two fifths longer."
            )
            if note not in self._notes:
                self._notes.append(note)
            self.step, self._fast = self._pipeline_step(), None
        elif not isinstance(self.step, Step):
            self.step = self._own_step(self.attention.attend)

    def _compile(self, report: Callable[[str, float | None], None]) -> None:
        """Compile the steps of a usual clip; those of another size are compiled when one comes."""
        step = self.step_for(self.settings.speed)
        if not self.compiled or self._compiler is None or not isinstance(step, Step):
            return
        width, height = plan.size(*USUAL_CLIP, RESOLUTION, self.settings.pixels, self.limit)
        time, space = self._scales
        shape = (1, 16, (self.settings.chunk_frames - 1) // time + 1, height // space, width // space)
        text = torch.zeros(
            1, TOKENS, self.transformer.config.crossattn_proj_in_channels, device=self.device, dtype=self.dtype
        )
        with torch.no_grad(), self.attention.scope():
            self._compiler.run([*step.trials(shape, text), *self._trials], report)


class Loading:
    """Loads parts of the model onto the device, and reports how far it is, by the size of their files."""

    def __init__(
        self, settings: Settings, folders: Iterable[Path], report: Callable[[str, float | None], None]
    ) -> None:
        """`folders` are those of all parts that are loaded at first."""
        self.device = torch.device(settings.device)
        self.dtype: torch.dtype = getattr(torch, settings.dtype)
        self._total = sum(weights.total_size(weights.weights(folder)) for folder in folders)
        self._report = report
        self._bytes = 0

    def part(self, name: str, kind: Any, folder: Path, *, waits: bool = False) -> Any:  # noqa: ANN401 - untyped
        """Load a part of a class of diffusers' or transformers'.

        Args:
            name: for people.
            kind: the class.
            folder: with its files.
            waits: whether its weights stay pages of the files in the host's memory. Then each layer's come to the
                device when it computes, and leave it again.

        Raises:
            EngineFailure: the weights are not such a part's.
        """
        self._report(name.replace("_", " "), min(self._bytes / self._total, 1.0))
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
        part.eval().requires_grad_(requires_grad=False)
        if waits:
            cpu_offload(part, execution_device=self.device)
        else:
            part.to(self.device)
        self._bytes += weights.total_size(weights.weights(folder))
        return part
