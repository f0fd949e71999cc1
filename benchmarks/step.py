"""One denoising step of the real 2B model (random weights) in each way that the diffusers engine has, in one run.

    python benchmarks/step.py [--out FILE] [--only NAME ...] [--repeats 3] [--frames 93] [--size 1280x704] [--dry]

A step is the control net and the transformer for both branches of guidance; 35 of them are a chunk. Each way starts in
a process of its own, with an empty compiler's cache; the last one is started again with the cache that it has left.

    diffusers       diffusers' modules, attention by cuDNN: as they are shipped, and as povwatch had them
    step            the engine's own step, cuDNN
    step-compiled   the same, compiled
    step-auto       the same with the best attention that is here: FlashAttention-3, if it is installed
    step-auto-again  in another process, with the compiler's cache
    step-fp8-attention     as step-auto, with attention in FP8
    step-fp8-feed-forward  as step-auto, with the feed-forward in FP8
    step-fp8        both: a computed step of the speeds `fast` and `fastest`
    step-fp8-prompt  the same for the prompt alone: a step of `fastest` that reuses what guidance adds; its error is of
                    the velocity with the prompt

Errors are relative, of the guided velocity at 17 frames, against diffusers' modules in float32. Times are of a card
that has become warm: cards of one kind differ by a few percent, so compare within a run. `--dry` takes a tiny model on
the CPU, which shows that all of this works.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

if TYPE_CHECKING:
    from torch import Tensor

    from povwatch.engines.transfer.attention import Attention

GUIDANCE = 3.0

STEPS = 35

SMALL_FRAMES = 17
"""Frames at which errors are measured: in float32 more would take long."""


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    own: bool = True
    """Whether with the engine's own step."""
    compiled: bool = False
    attention: str = "cudnn"
    """As engine.attention."""
    fp8: tuple[str, ...] = ()
    """What is computed in FP8."""
    prompts: int = 2
    """How many prompts' velocities are computed."""


WAYS = {
    "diffusers": Way(own=False),
    "step": Way(),
    "step-compiled": Way(compiled=True),
    "step-auto": Way(compiled=True, attention="auto"),
    "step-auto-again": Way(compiled=True, attention="auto"),
    "step-fp8-attention": Way(compiled=True, attention="auto", fp8=("attention",)),
    "step-fp8-feed-forward": Way(compiled=True, attention="auto", fp8=("feed-forward",)),
    "step-fp8": Way(compiled=True, attention="auto", fp8=("attention", "feed-forward")),
    "step-fp8-prompt": Way(compiled=True, attention="auto", fp8=("attention", "feed-forward"), prompts=1),
}


def main(asked: argparse.Namespace) -> None:
    """Run each way in a process of its own, and print and keep what they say."""
    with tempfile.TemporaryDirectory() as folder:
        rows, machine = [], {}
        for name in asked.only or WAYS:
            cache = Path(folder, name.removesuffix("-again"))
            command = [sys.executable, __file__, "--one", name, "--cache", str(cache)]
            command += ["--reference", str(Path(folder, "reference.pt")), "--size", asked.size]
            command += ["--repeats", str(asked.repeats), "--frames", str(asked.frames)]
            command += ["--dry"] if asked.dry else []
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
            said = [line for line in done.stdout.decode().splitlines() if line.startswith("{")]
            row = json.loads(said[-1]) if said else {"failed": f"exit status {done.returncode}"}
            machine = row.pop("machine", machine)
            base = next((one.get("seconds_a_step") for one in rows if one["way"] == "diffusers"), None)
            if "seconds_a_step" in row:
                row["times_diffusers"] = round((base or row["seconds_a_step"]) / row["seconds_a_step"], 3)
            rows.append({"way": name, **row})
            print(json.dumps(rows[-1]), flush=True)
            whole = {"machine": machine, "frames": asked.frames, "size": asked.size, "steps": STEPS, "rows": rows}
            if asked.out:
                asked.out.write_text(json.dumps(whole, indent=2) + "\n")


def one(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure one way in this process."""
    import torch  # noqa: PLC0415 - slow, and the parent needs none

    device = torch.device("cpu" if asked.dry else "cuda")
    dtype = torch.float32 if asked.dry else torch.bfloat16
    torch.backends.cuda.matmul.allow_tf32 = False
    way = WAYS[name]
    with torch.no_grad():
        nets = networks(device, dtype, tiny=asked.dry)
        config = nets[0].config
        from povwatch.engines.transfer import attention, compiling, fp8  # noqa: PLC0415 - after the libraries' paths
        from povwatch.engines.transfer.pipeline_step import PipelineStep  # noqa: PLC0415
        from povwatch.engines.transfer.step import Step  # noqa: PLC0415

        heads, width = config.num_attention_heads, config.attention_head_dim
        kernel = attention.choose(way.attention, device, dtype, heads=heads, width=width)
        small = Inputs(nets, SMALL_FRAMES, asked.size, device, dtype)
        large = Inputs(nets, asked.frames, asked.size, device, dtype)
        if not Path(asked.reference).exists():
            torch.save(references(nets, small, kernel, dtype), asked.reference)
        exact, shipped = (one[way.prompts - 1] for one in torch.load(asked.reference))
        small.texts, large.texts = small.texts[: way.prompts], large.texts[: way.prompts]
        row: dict[str, Any] = {"attention": kernel.name}
        compiler = compiling.Compiler(asked.cache) if way.compiled else None
        step: Any = PipelineStep(nets[0], 8)
        notes = [*kernel.notes]
        if way.own:
            attend, options = kernel.attend, {"prepared": compiler} if compiler else {}
            if way.fp8:
                in_fp8 = fp8.choose(device, dtype, heads=heads, width=width)
                notes += in_fp8.notes
                if "attention" in way.fp8 and in_fp8.attend:
                    attend, row["attention"] = in_fp8.attend, in_fp8.attention
                if "feed-forward" in way.fp8 and in_fp8.feed_forward:
                    options["feed_forward"] = in_fp8.feed_forward
                row["feed_forward"] = "FP8" if "feed_forward" in options else str(dtype)
            step = Step(nets[0], attend, **options)
        step.use(nets[1:])
        with kernel.scope():
            if compiler is not None:
                began = time.monotonic()
                compiler.run(step.trials(large.latents.shape, large.texts[0]), lambda *_: None)
                row["compile_s"] = round(time.monotonic() - began, 1)
            row |= timed(large, step, device, asked.repeats)
            found = guided(small.velocities(step))
        row["error_to_float32"] = float(f"{error(found, exact):.2e}")
        row["error_to_diffusers"] = float(f"{error(found, shipped):.2e}")
        row["notes"] = [*notes, *(compiler.notes if compiler else [])]
        return {**row, "machine": machine(device)}


class Inputs:
    """Random input of a step, as the engine makes it for a later chunk."""

    def __init__(self, nets: tuple[Any, Any], frames: int, size: str, device: Any, dtype: Any) -> None:  # noqa: ANN401
        import torch  # noqa: PLC0415

        width, height = map(int, size.split("x"))
        shape = ((frames - 1) // 4 + 1, height // 8, width // 8)
        generator = torch.Generator(device).manual_seed(1)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device).to(dtype)

        self.latents, self.control = draw(1, 16, *shape), draw(1, 16, *shape)
        self.texts = [draw(1, 512, nets[0].config.crossattn_proj_in_channels) for _ in range(2)]
        self.mask = torch.zeros(1, 1, *shape, device=device, dtype=dtype)
        self.mask[:, :, :1] = 1
        self.moment = torch.full((1, 1, shape[0], 1, 1), 0.6, device=device)
        self.moment[:, :, :1] = 0.1

    def velocities(self, step: Any) -> list[Tensor]:  # noqa: ANN401 - Step or PipelineStep
        """One step from nothing."""
        contexts = [step.context(text) for text in self.texts]
        conditions = step.conditions([self.control], [1.0], self.mask)
        found: list[Tensor] = step.velocities(self.latents, self.moment, conditions, contexts)
        return found


def networks(device: Any, dtype: Any, *, tiny: bool) -> tuple[Any, Any]:  # noqa: ANN401
    """The transformer and the control net with random weights."""
    import torch  # noqa: PLC0415
    from support import tiny_model  # noqa: PLC0415 - first: it makes torchvision importable beside another torch

    real = importlib.import_module("build_random_2b")

    shared, main, control = real.SHARED, real.TRANSFORMER, real.CONTROLNET
    if tiny:
        shared = {**tiny_model.SHARED}
        main = {**main, "num_layers": 4, "controlnet_block_every_n": 1}
        control = {**control, "in_channels": 34, "model_channels": tiny_model.WIDTH}
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with device:
        nets = real.CosmosTransformer3DModel(**shared, **main), real.CosmosControlNetModel(**shared, **control)
    torch.set_default_dtype(torch.float32)
    for net in nets:
        net.eval().requires_grad_(requires_grad=False)
    return nets


def references(
    nets: tuple[Any, Any],
    inputs: Inputs,
    kernel: Attention,
    dtype: Any,  # noqa: ANN401
) -> tuple[list[Tensor], list[Tensor]]:
    """The velocity with the prompt and the guided one, of diffusers' modules in float32 and in `dtype`."""
    from povwatch.engines.transfer.pipeline_step import PipelineStep  # noqa: PLC0415

    step = PipelineStep(nets[0], 8)
    step.use(nets[1:])
    with kernel.scope():
        shipped = inputs.velocities(step)
        for net in nets:
            net.float()
        for name, value in vars(inputs).items():
            setattr(inputs, name, [one.float() for one in value] if isinstance(value, list) else value.float())
        exact = inputs.velocities(step)
    for net in nets:
        net.to(dtype)
    for name, value in vars(inputs).items():
        if name != "moment":
            setattr(inputs, name, [one.to(dtype) for one in value] if isinstance(value, list) else value.to(dtype))
    return [guided(exact[:1]), guided(exact)], [guided(shipped[:1]), guided(shipped)]


def guided(velocities: list[Tensor]) -> Tensor:
    """The velocity with guidance, if there are two."""
    with_prompt, *without = (one.float() for one in velocities)
    return with_prompt + GUIDANCE * (with_prompt - without[0]) if without else with_prompt


def error(found: Tensor, expected: Tensor) -> float:
    """Relative error."""
    return float((found - expected).norm() / expected.norm())


def timed(inputs: Inputs, step: Any, device: Any, repeats: int) -> dict[str, Any]:  # noqa: ANN401
    """Median seconds of a step, with power and memory meanwhile."""
    import torch  # noqa: PLC0415

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    contexts = [step.context(text) for text in inputs.texts]
    conditions = step.conditions([inputs.control], [1.0], inputs.mask)
    took = []
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with Watts(device) as watts:
        for _ in range(repeats + 1):  # the first one makes the card warm
            wait()
            began = time.monotonic()
            step.velocities(inputs.latents, inputs.moment, conditions, contexts)
            wait()
            took.append(time.monotonic() - began)
    seconds = statistics.median(took[1:])
    return {
        "seconds_a_step": round(seconds, 3),
        "first_step_s": round(took[0], 3),
        "seconds_of_35_steps": round(STEPS * seconds, 1),
        "spread": round((max(took[1:]) - min(took[1:])) / seconds, 4),
        "watts": watts.median(),
        "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if device.type == "cuda" else None,
    }


class Watts:
    """Reads the card's power ten times a second."""

    def __init__(self, device: Any) -> None:  # noqa: ANN401 - torch.device
        self._on = device.type == "cuda"
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        if self._on:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._on:
            self._thread.join()

    def median(self, since: float = 0.0) -> float | None:
        """Over the time that it was read; from a moment of time.monotonic() on."""
        seen = [power for moment, power in self._seen if moment >= since]
        return round(statistics.median(seen)) if seen else None

    def _read(self) -> None:
        from povwatch.gpu import nvml  # noqa: PLC0415 - on machines with a GPU alone

        while not self._over.wait(0.1):
            if (found := nvml.read_gpus().found) and found[0].power is not None:
                self._seen.append((time.monotonic(), found[0].power))


def machine(device: Any) -> dict[str, Any]:  # noqa: ANN401 - torch.device
    """What it was measured on."""
    import diffusers  # noqa: PLC0415
    import torch  # noqa: PLC0415

    cuda = device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "diffusers": diffusers.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--only", nargs="+", choices=WAYS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    parser.add_argument("--reference", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.one:
        print(json.dumps(one(options.one, options)), flush=True)
    else:
        main(options)
