"""One denoising step of the real 2B model (random weights) on one GPU and divided among several, in one run.

    python benchmarks/split_step.py [--out FILE] [--gpus 1,2] [--repeats 3] [--frames 93] [--size 1280x704] [--dry]

The step is the engine's own, compiled, with the best attention that is here: see step.py, whose `step-auto` it is. Each
number of GPUs gets processes of its own, one a GPU. Said of each number:

    seconds_a_step      median; times_one is the quotient with the first number's
    exchange_ms         the exchanges of one self-attention without the attention, 62 or 64 of which are in a step
    error_to_one        relative error of the guided velocity against the first number's, at all frames
    peak_memory_gb      in rank 0

`--dry` takes a tiny model and processes on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import step as single

if TYPE_CHECKING:
    from torch import Tensor

TRIES = 10
"""Exchanges that are timed."""


def main(asked: argparse.Namespace) -> int:
    """Run each number of GPUs, and print and keep what rank 0 says."""
    with tempfile.TemporaryDirectory() as folder:
        rows: list[dict[str, Any]] = []
        for gpus in map(int, asked.gpus.split(",")):
            row = together(gpus, Path(folder), asked)
            machine = row.pop("machine", None)
            first = rows[0] if rows else row
            if "seconds_a_step" in row and "seconds_a_step" in first:
                row["times_one"] = round(first["seconds_a_step"] / row["seconds_a_step"], 3)
            rows.append({"gpus": gpus, **row})
            print(json.dumps(rows[-1]), flush=True)
            if asked.out:
                whole = {"machine": machine, "frames": asked.frames, "size": asked.size, "rows": rows}
                asked.out.write_text(json.dumps(whole, indent=2) + "\n")
    return int(any("failed" in row for row in rows))


def together(gpus: int, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Start a process for each GPU; what rank 0 says, or how one failed, which ends the others."""
    command = [sys.executable, __file__, "--folder", str(folder), "--size", asked.size, "--ranks", str(gpus)]
    command += ["--repeats", str(asked.repeats), "--frames", str(asked.frames), *(["--dry"] if asked.dry else [])]
    environment = {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo", **os.environ}
    running = []
    for rank in range(gpus):
        output = subprocess.DEVNULL if rank else subprocess.PIPE
        running.append(subprocess.Popen([*command, "--rank", str(rank)], stdout=output, env=environment))
    try:
        while any(one.poll() is None for one in running):
            if any(one.poll() for one in running):
                break
            time.sleep(0.1)
    finally:
        for one in running:
            one.kill()
    said = [line for line in running[0].communicate()[0].decode().splitlines() if line.startswith("{")]
    return json.loads(said[-1]) if said else {"failed": [one.wait() for one in running]}


def one(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure in one rank."""
    import torch  # noqa: PLC0415 - slow, and the parent needs none

    device = torch.device("cpu" if asked.dry else f"cuda:{asked.rank}")
    dtype = torch.float32 if asked.dry else torch.bfloat16
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with torch.no_grad():
        nets = single.networks(device, dtype, tiny=asked.dry)
        from povwatch.engines.transfer import attention, compiling, split  # noqa: PLC0415 - after the libraries' paths
        from povwatch.engines.transfer.step import Step  # noqa: PLC0415

        config = nets[0].config
        heads, width = config.num_attention_heads // asked.ranks, config.attention_head_dim
        kernel = attention.choose("auto", device, dtype, heads=heads, width=width)
        inputs = single.Inputs(nets, asked.frames, asked.size, device, dtype)
        part = split.WHOLE
        if asked.ranks > 1:
            part = split.Part(asked.rank, asked.ranks, str(asked.folder / f"meeting-{asked.ranks}"))
            part.meet(device)
        compiler = None if asked.dry else compiling.Compiler(str(asked.folder / f"cache-{asked.ranks}"))
        step = Step(nets[0], kernel.attend, **({"prepared": compiler} if compiler else {}), part=part)
        step.use(nets[1:])
        row: dict[str, Any] = {"attention": kernel.name}
        with kernel.scope():
            if compiler is not None:
                began = time.monotonic()
                compiler.run(step.trials(inputs.latents.shape, inputs.texts[0]), lambda *_: None)
                row["compile_s"] = round(time.monotonic() - began, 1)
            row |= single.timed(inputs, step, device, asked.repeats)
            if isinstance(part, split.Part):
                row["exchange_ms"] = exchange(part, step, inputs, device)
            found = single.guided(inputs.velocities(step))
        if device.type == "cuda":
            torch.cuda.synchronize()  # else this rank ends before it has sent what rank 0 waits for
        if asked.rank == 0:
            reference = asked.folder / "one.pt"
            if not reference.exists():
                torch.save(found.cpu(), reference)
            row["error_to_one"] = float(f"{single.error(found.cpu(), torch.load(reference)):.2e}")
        row["notes"] = [*kernel.notes, *(compiler.notes if compiler else [])]
        return {**row, "machine": single.machine(device)}


def exchange(part: Any, step: Any, inputs: Any, device: Any) -> float:  # noqa: ANN401
    """Milliseconds that the exchanges of a self-attention take; the attention between them is left out."""
    import torch  # noqa: PLC0415

    def none(q: Tensor, _k: Tensor, _v: Tensor) -> Tensor:
        return q.contiguous()

    tokens = step.conditions([inputs.control], [1.0], inputs.mask).cos.size(0)
    config = step._transformer.config  # noqa: SLF001
    shape = (1, tokens, config.num_attention_heads, config.attention_head_dim)
    q, k, v = (torch.randn(shape, device=device, dtype=inputs.latents.dtype) for _ in range(3))
    took = []
    for _ in range(TRIES + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.monotonic()
        part.attended(q, k, v, none)
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.monotonic() - began)
    return round(1000 * sorted(took[1:])[TRIES // 2], 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--gpus", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.rank is None:
        sys.exit(main(options))
    print(json.dumps(one(options)), flush=True)
    os._exit(0)  # the other ranks may be gone, and NCCL would wait for them
