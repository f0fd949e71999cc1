"""Lets upstream's package run small, and without NVIDIA's libraries. None of upstream's files is changed or copied.

A .pth file of upstream's environment imports this module as each interpreter starts, since a worker's environment has
no PYTHONPATH. It watches for imports, and adjusts some modules once they are imported:

- NVIDIA's libraries that are built for CUDA alone, and wandb, whose import takes half a minute, are stood in for.
- Without a GPU, what upstream asks of "cuda" is done on the CPU: see cuda_as_cpu.py.
- `povwatch-sizes.json` in HF_HOME, from make_checkpoints.py, makes the networks small by upstream's own options.
  The video encoder's width and the smallest picture have no option, and are set here.
- It prints each call of the network, and after each job how many there were, how many hooks lay on `decode` one over
  the other, and whether cuDNN times its convolutions.
- A prompt with [oom], [oom in decode] or [oom at the end] runs out of memory there, as torch tells it. With [draws] the
  network adds a random number to its result. With [blocked video] the guardrail finds each of the video's pictures
  unsafe.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path

STAND_INS = Path(__file__).with_name("stand_ins")

SIZES = "povwatch-sizes.json"

TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB."

prompts = [""]
"""The prompt of the job that is done."""


def sizes():
    """What makes the networks small; empty for their real sizes."""
    home = os.environ.get("HF_HOME")
    with contextlib.suppress(OSError):
        return json.loads(Path(home or "", SIZES).read_text()) if home else {}
    return {}


def _after_torch(torch):
    if torch.version.cuda is None:  # where torchvision was built for another torch, its operators are missing
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # it is there
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.povwatch_library = library  # it unregisters what it defined once it is gone
    if not torch.cuda.is_available():
        importlib.import_module("cuda_as_cpu").install(torch)


def _after_transformers(utils):
    """Upstream asserts that flash_attn is there (reason1/networks/qwen2_5_vl.py, 68)."""
    utils.is_flash_attn_2_available = lambda: True
    utils.is_flash_attn_greater_or_equal_2_10 = lambda: True
    utils.is_flash_attn_greater_or_equal = lambda _: True


def _after_attention(module):
    """The kernels that upstream asks for are a GPU's."""
    if not module.torch.cuda.is_available():
        module.sdpa_kernel = lambda *_, **__: contextlib.nullcontext()


def _after_distributed(module):
    """Upstream asks NVML for the cores beside a GPU."""
    if not module.torch.cuda.is_available():
        module.pynvml = types.SimpleNamespace(nvmlInit=lambda: None, NVMLError=RuntimeError)
        module.Device = type("Device", (), {"__init__": lambda *_: None, "get_cpu_affinity": lambda _: []})


def _after_experiments(module):
    for experiment in module.EXPERIMENTS.values():
        experiment.command_args.extend(sizes().get("options", []))


def _after_vae(module):
    width = sizes().get("vae")
    if width:
        module._video_vae = functools.partial(module._video_vae, dim=width)


def _after_pictures(module):
    by = sizes().get("pictures_by", 1)
    module.VIDEO_RES_SIZE_INFO["256"] = {
        shape: tuple(max(16, side // by // 16 * 16) for side in size)
        for shape, size in module.VIDEO_RES_SIZE_INFO["256"].items()
    }


def _after_sam2(module):
    module.build_sam2_video_predictor = functools.partial(
        module.build_sam2_video_predictor, hydra_overrides_extra=sizes().get("sam2", [])
    )


def _after_filter(module):
    """The classifier's second class is one of those that are unsafe."""
    kind = module.VideoContentSafetyFilter
    begin = kind.__init__

    def judged(_, __, logits):
        return logits.roll(1, -1) if "[blocked video]" in prompts[0] else None

    @functools.wraps(begin)
    def begun(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.model.network.register_forward_hook(judged)

    kind.__init__ = begun


def _after_pipeline(module):
    distilled = sizes().get("distilled", [])
    load = module.load_model_interactive

    def loaded(*args, experiment_opts, **how):
        return load(*args, experiment_opts=[*experiment_opts, *distilled], **how)

    module.load_model_interactive = loaded
    _obey_prompts(module)
    _count(module)


def _obey_prompts(module):
    """Run out of memory where the prompt says; on a GPU it is the allocator that refuses. Or draw random numbers."""
    torch = module.torch

    def at(mark):
        if mark not in prompts[0]:
            return
        if torch.version.cuda is not None and torch.cuda.is_available():
            torch.empty(1 << 44, dtype=torch.uint8, device="cuda")
        raise torch.OutOfMemoryError(TEXT)

    def draw(_, __, output):
        return output + torch.rand(()).to(output.dtype) if "[draws]" in prompts[0] else None

    kind = module.ControlVideo2WorldInference
    begin, make, resize = kind.__init__, kind.generate_img2world, module.reshape_output_video_to_input_resolution

    @functools.wraps(begin)
    def begun(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.model.net.final_layer.register_forward_pre_hook(lambda *_: at("[oom]"))
        self.model.net.register_forward_hook(draw)
        self.model.tokenizer.model.model.decoder.register_forward_pre_hook(lambda *_: at("[oom in decode]"))

    @functools.wraps(make)
    def made(self, *args, **kwargs):
        prompts[0] = kwargs["prompt"]
        return make(self, *args, **kwargs)

    @functools.wraps(resize)
    def resized(*args, **kwargs):
        at("[oom at the end]")
        return resize(*args, **kwargs)

    kind.__init__, kind.generate_img2world = begun, made
    module.reshape_output_video_to_input_resolution = resized


def _count(module):
    kind = module.ControlVideo2WorldInference
    begin, make = kind.__init__, kind.generate_img2world
    calls = []

    def called(*_):
        calls.append(1)
        print("call of the network done", flush=True)  # noqa: T201 - tests read it, here and below

    @functools.wraps(begin)
    def begun(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        self.model.net.register_forward_hook(called)

    @functools.wraps(make)
    def made(self, *args, **kwargs):
        calls.clear()
        hook, depth = vars(self.model).get("decode"), 0
        while isinstance(hook, functools.partial):
            hook, depth = hook.args[0], depth + 1
        result = make(self, *args, **kwargs)
        print(f"convolutions are timed: {module.torch.backends.cudnn.benchmark}", flush=True)  # noqa: T201
        print(f"calls of the network: {len(calls)}; hooks on decode: {depth}", flush=True)  # noqa: T201
        return result

    kind.__init__, kind.generate_img2world = begun, made


UPSTREAM = "cosmos_transfer2._src."

FILTER = "imaginaire.auxiliary.guardrail.video_content_safety_filter.video_content_safety_filter"

AFTER = {
    "torch": _after_torch,
    "sam2.build_sam": _after_sam2,
    "transformers.utils.import_utils": _after_transformers,
    UPSTREAM + "imaginaire.utils.distributed": _after_distributed,
    UPSTREAM + FILTER: _after_filter,
    UPSTREAM + "predict2.networks.attention": _after_attention,
    UPSTREAM + "predict2.tokenizers.wan2pt1": _after_vae,
    UPSTREAM + "predict2.datasets.utils": _after_pictures,
    UPSTREAM + "transfer2.configs.vid2vid_transfer.experiment.experiment_list": _after_experiments,
    UPSTREAM + "transfer2.inference.inference_pipeline": _after_pipeline,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules where they are, and adjusts those in AFTER once they are executed."""

    def find_spec(self, name, path=None, target=None):
        del target
        if path is None and (STAND_INS / name).exists():
            return self._stand_in(name)
        if name not in AFTER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def executed(module):
            execute(module)
            AFTER[name](module)

        spec.loader.exec_module = executed
        return spec

    @staticmethod
    def _stand_in(name):
        real = importlib.machinery.PathFinder.find_spec(name)
        if real is not None and name != "wandb":
            return real
        megatron = sys.modules.get("megatron.core")
        if megatron is not None and getattr(megatron.__spec__, "_initializing", False):
            return None  # it does without the library, and would ask more of it than is stood in for
        if megatron is None:
            importlib.import_module("megatron.core")
        return importlib.machinery.PathFinder.find_spec(name, [str(STAND_INS)])


sys.meta_path.insert(0, _Finder())
