"""Converts upstream's tensors to bytes, seeds the random numbers that it draws, and settles its convolutions."""

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
    """A tensor's bytes, type, shape and device."""
    torch = sys.modules["torch"]
    host = tensor.detach().to("cpu").contiguous()
    name = str(host.dtype).rpartition(".")[2]
    dtype = next(ours for ours, theirs in NAMES.items() if theirs == name)
    data = host.reshape(-1).view(torch.uint8).numpy().tobytes()
    return Latents(dtype, tuple(host.shape), data, str(tensor.device).partition(":")[0])


def unpack(latents: Latents) -> Any:  # noqa: ANN401 - a torch.Tensor
    """The tensor, on this process's device of the same kind."""
    torch = sys.modules["torch"]
    flat = torch.frombuffer(bytearray(latents.data), dtype=getattr(torch, NAMES[latents.dtype]))
    return flat.reshape(latents.shape).to(latents.device)


def seed_everything(seed: int) -> None:
    """Seed every source of random numbers.

    Upstream draws each chunk's frame rate from the global one (inference_pipeline.py, `torch.randint(16, 32, ...)`). So
    without this, a job's result would depend on earlier jobs, and on which chunks were generated again.
    """
    random.seed(seed)
    for module, seeding in (("numpy", "random.seed"), ("torch", "manual_seed")):
        found: Any = sys.modules.get(module)
        for name in seeding.split("."):
            found = getattr(found, name, None)
        if found is not None:
            found(seed % SEEDS)


def choose_alike() -> None:
    """Have cuDNN choose its convolutions by its rules, which give the same choice in every process.

    As it loads, upstream has cuDNN time them and take the fastest (predict2/utils/model_loader.py, 107, and the same in
    interactive). They round in other ways, and each worker may find another one the fastest. Then the same job gives
    other latents after a restart, and a clip that was resumed is not the one of a whole run.
    """
    torch: Any = sys.modules["torch"]
    torch.backends.cudnn.benchmark = False
