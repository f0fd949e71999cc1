"""Upstream's tensors as bytes, and the state of the random numbers that it draws."""

from __future__ import annotations

import random
import sys
from typing import Any

from povwatch.engines.upstream.store import Latents

NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""safetensors' names of types to torch's."""

SEEDS = 2**32
"""NumPy takes seeds below this."""


def pack(tensor: Any) -> Latents:  # noqa: ANN401 - a torch.Tensor
    """A tensor's values and what they mean."""
    torch = sys.modules["torch"]
    host = tensor.detach().to("cpu").contiguous()
    name = str(host.dtype).rpartition(".")[2]
    dtype = next(ours for ours, theirs in NAMES.items() if theirs == name)
    data = host.reshape(-1).view(torch.uint8).numpy().tobytes()
    return Latents(dtype, tuple(host.shape), data, str(tensor.device).partition(":")[0])


def unpack(latents: Latents) -> Any:  # noqa: ANN401 - a torch.Tensor
    """The tensor again, on this process's device of the same kind."""
    torch = sys.modules["torch"]
    flat = torch.frombuffer(bytearray(latents.data), dtype=getattr(torch, NAMES[latents.dtype]))
    return flat.reshape(latents.shape).to(latents.device)


def seed_everything(seed: int) -> None:
    """Begin every source of random numbers anew.

    Upstream draws each chunk's frame rate from the global one (inference_pipeline.py, `torch.randint(16, 32, ...)`),
    so without this a job's result depends on the jobs before it, and on which chunks were made again.
    """
    random.seed(seed)
    for module, seeding in (("numpy", "random.seed"), ("torch", "manual_seed")):
        found: Any = sys.modules.get(module)
        for name in seeding.split("."):
            found = getattr(found, name, None)
        if found is not None:
            found(seed % SEEDS)
