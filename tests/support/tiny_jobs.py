"""Jobs for the tiny model, and the pipeline's own results for them.

The libraries of the diffusers engine take seconds to import; collecting the tests does not import them.
"""

import sys
from fractions import Fraction
from types import ModuleType

import av
import numpy as np
from PIL import Image
from support.clips import make_clip

from povwatch.engines import control
from povwatch.engines.port import Context

SIZE = (48, 32)
"""The size at which tiny_model.CONFIG works, in pixels; such a clip is not scaled."""

STEPS = 2


def clip_of(folder, frames, **options):
    """A clip of the tiny model's own size."""
    return make_clip(folder / f"clip{frames}.mp4", frames=frames, size=SIZE, options={"crf": "12"}, **options)


def job(clip, frames, *, size=SIZE, **spec):
    """A job as the daemon sends it; one control, edge, unless the spec has another."""
    if not {"edge", "vis", "depth", "seg"} & spec.keys():
        spec["edge"] = {"control_weight": 0.7}
    shared = {"prompt": "hands fold a towel", "negative_prompt": "blur", "seed": 3, "guidance": 3, "num_steps": STEPS}
    return {
        "id": 1,
        "name": "generated",
        "video": str(clip),
        "frames": frames,
        "width": size[0],
        "height": size[1],
        "fps_num": 30,
        "fps_den": 1,
        "spec": {**shared, "video_path": str(clip), **spec},
    }


def context(folder, **options):
    """A context with folders of its own."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return Context(str(work), str(folder / "chunks"), **options)


def decoded(path):
    """Every frame, shape (frames, height, width, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def luma(pictures):
    """The luma, which H.264 keeps at full size; the colours of random pictures do not survive 4:2:0."""
    return pictures @ np.array([0.2126, 0.7152, 0.0722])


def rate_of(path):
    with av.open(str(path)) as container:
        return Fraction(container.streams.video[0].average_rate)


def quick(clip, frames, **spec):
    """A job without guidance, which computes half as much."""
    return job(clip, frames, guidance=0, **spec)


def run(engine, asked, folder):
    """A job's artifact, and the latents of each of its chunks."""
    from safetensors.torch import load_file  # noqa: PLC0415 - see above

    folder.mkdir(exist_ok=True)
    artifact = engine.generate(asked, context(folder))
    return artifact, [load_file(file)["latents"] for file in sorted((folder / "chunks").iterdir())]


class Approves:
    """A checker that approves everything; the pipeline does not run without one."""

    def to(self, _device):
        pass

    def check_text_safety(self, _text):
        return True

    def check_video_safety(self, frames):
        return frames


def reference(folder, asked, *, chunk=9, dtype=None):
    """The result of diffusers' own pipeline, in float32 unless given: uint8, shape (frames, height, width, 3)."""
    import torch  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AutoencoderKLWan,
        Cosmos2_5_TransferPipeline,
        CosmosControlNetModel,
        CosmosTransformer3DModel,
        UniPCMultistepScheduler,
    )
    from support import tiny_model  # noqa: F401, PLC0415 - see above, and so below; it makes the others importable
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration  # noqa: PLC0415

    dtype = dtype or torch.float32
    spec = asked["spec"]
    key = "vis" if "vis" in spec else "edge"
    name = {"vis": "blur", "edge": "edge"}[key]
    make = control.maker(
        key, spec[key].get("preset_edge_threshold") or spec[key].get("preset_blur_strength") or "medium"
    )
    controls = [Image.fromarray(make(frame)) for frame in decoded(asked["video"])]

    def part(kind, path):
        return kind.from_pretrained(folder / path, torch_dtype=dtype)

    pipeline = Cosmos2_5_TransferPipeline(
        text_encoder=Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "text_encoder", dtype=dtype),
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        transformer=part(CosmosTransformer3DModel, "transformer"),
        vae=part(AutoencoderKLWan, "vae"),
        scheduler=UniPCMultistepScheduler.from_pretrained(folder / "scheduler"),
        controlnet=part(CosmosControlNetModel, f"controlnet/{name}"),
        safety_checker=Approves(),
    )
    pipeline.set_progress_bar_config(disable=True)
    video = pipeline(
        controls=controls,
        controls_conditioning_scale=spec[key].get("control_weight", 1.0),
        prompt=spec["prompt"],
        negative_prompt=spec["negative_prompt"],
        height=asked["height"],
        width=asked["width"],
        num_frames=min(spec.get("max_frames", asked["frames"]), asked["frames"]),
        num_frames_per_chunk=chunk,
        num_inference_steps=spec["num_steps"],
        guidance_scale=float(spec["guidance"]),
        generator=torch.Generator("cpu").manual_seed(spec["seed"]),
        num_ar_conditional_frames=spec.get("num_conditional_frames", 1),
        output_type="np",
    ).frames[0]
    return np.rint(video * 255).astype(np.uint8)


def install_guardrail(monkeypatch, checker):
    """Install a checker in place of cosmos_guardrail's; it is called like the real one."""
    module = ModuleType("cosmos_guardrail")
    module.CosmosSafetyChecker = lambda: checker
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", module)


def loaded(folder, **config):
    """A loaded engine, and its capabilities."""
    import torch  # noqa: PLC0415
    from support import tiny_model  # noqa: PLC0415

    torch.set_num_threads(1)
    engine = tiny_model.TinyEngine()
    return engine, engine.load({"model": str(folder), **config}, lambda *_: None)
