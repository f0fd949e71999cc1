"""A denoising step of the real 2B model (random weights) with one, two and four controls, in one run.

    python benchmarks/controls.py [--out FILE] [--repeats 3] [--frames 93] [--size 1280x704] [--dry]

The step is the engine's own, with the best attention that is here, not compiled unless --compiled is given; each number
of controls is measured with weights that are numbers, and with a mask on one of them (a weight for each token). 35
steps are a chunk. The further control nets are loaded one after the other, so that what each needs is seen:

    peak_memory_gb  of the transformer, the control nets and a step, by torch; not the text encoder and the VAE
    weights_gb      of the transformer and the control nets

Times are of a card that has become warm, and of one run. `--dry` takes a tiny model on the CPU, which shows that all of
this works.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import step as single
import torch

NUMBERS = (1, 2, 4)
"""How many controls are measured."""


def main(asked: argparse.Namespace) -> None:
    """Measure, print and keep the figures."""
    device = torch.device("cpu" if asked.dry else "cuda")
    dtype = torch.float32 if asked.dry else torch.bfloat16
    torch.backends.cuda.matmul.allow_tf32 = False
    with torch.no_grad(), tempfile.TemporaryDirectory() as cache:
        transformer, *nets = networks(device, dtype, tiny=asked.dry)
        from povwatch.engines.transfer import attention, compiling  # noqa: PLC0415 - after the libraries' paths
        from povwatch.engines.transfer.step import Step  # noqa: PLC0415

        heads, width = transformer.config.num_attention_heads, transformer.config.attention_head_dim
        kernel = attention.choose("auto", device, dtype, heads=heads, width=width)
        inputs = single.Inputs((transformer, nets[0]), asked.frames, asked.size, device, dtype)
        compiler = compiling.Compiler(cache) if asked.compiled else None
        step = Step(transformer, kernel.attend, **({"prepared": compiler} if compiler else {}))
        about = {"attention": kernel.name, "compiled": asked.compiled, "frames": asked.frames, "size": asked.size}
        rows: list[dict[str, Any]] = []
        with kernel.scope():
            if compiler is not None:
                compiler.run(step.trials(inputs.latents.shape, inputs.texts[0]), lambda *_: None)
            for number in NUMBERS:
                nets += [networks(device, dtype, tiny=asked.dry)[1] for _ in range(number - len(nets))]
                step.use(nets)
                for masked in (False, True):
                    rows.append(timed(inputs, step, [transformer, *nets], masked=masked, repeats=asked.repeats))
                    print(json.dumps(rows[-1]), flush=True)
                    if asked.out:
                        whole = {**about, "machine": single.machine(device), "rows": rows}
                        asked.out.write_text(json.dumps(whole, indent=2) + "\n")


def networks(device: torch.device, dtype: torch.dtype, *, tiny: bool) -> tuple[Any, ...]:
    """The transformer and a control net with random weights."""
    return single.networks(device, dtype, tiny=tiny)


def timed(inputs: single.Inputs, step: Any, nets: list[Any], *, masked: bool, repeats: int) -> dict[str, Any]:  # noqa: ANN401
    """Median seconds of a guided step with all these control nets."""
    device, (_, _, frames, height, width) = inputs.latents.device, inputs.latents.shape
    controls = len(nets) - 1
    weights: list[Any] = [1.0 / controls] * controls
    if masked:
        weights[-1] = torch.full((1, 1, frames, height // 2, width // 2), 1.0 / controls, device=device)
    contexts = [step.context(text) for text in inputs.texts]
    conditions = step.conditions([inputs.control] * controls, weights, inputs.mask)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    took = []
    with single.Watts(device) as watts:
        for _ in range(repeats + 1):  # the first one makes the card warm
            wait(device)
            began = time.monotonic()
            step.velocities(inputs.latents, inputs.moment, conditions, contexts)
            wait(device)
            took.append(time.monotonic() - began)
    seconds = sorted(took[1:])[repeats // 2]
    size = sum(weight.numel() * weight.element_size() for net in nets for weight in net.parameters())
    return {
        "controls": controls,
        "masked": masked,
        "seconds_a_step": round(seconds, 3),
        "seconds_of_35_steps": round(35 * seconds, 1),
        "spread": round((max(took[1:]) - min(took[1:])) / seconds, 4),
        "watts": watts.median(),
        "weights_gb": round(size / 1e9, 2),
        "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if device.type == "cuda" else None,
    }


def wait(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--compiled", action="store_true", help="compile the step first")
    parser.add_argument("--dry", action="store_true")
    main(parser.parse_args())
