"""A double of the little of torch that the cosmos engine and upstream's double touch, with a GPU that is none.

It lets the engine's tests run where torch is not installed. What is kept as files is also tested with torch itself.
"""

import os
from types import SimpleNamespace

import numpy as np

from . import cuda

__all__ = ["Tensor", "backends", "bfloat16", "cuda", "float32", "frombuffer", "manual_seed", "randint", "uint8"]
__version__ = "2.7.0+double"

backends = SimpleNamespace(cudnn=SimpleNamespace(benchmark=False))


class DType:
    def __init__(self, name, array):
        self.name = name
        self.array = array

    def __str__(self):
        return f"torch.{self.name}"


float32, uint8 = DType("float32", np.float32), DType("uint8", np.uint8)
bfloat16 = DType("bfloat16", np.uint16)
TYPES = {np.dtype(kind.array): kind for kind in (float32, uint8, bfloat16)}


class Tensor:
    def __init__(self, array, device="cpu"):
        self.array = array
        self.device = device

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return TYPES[self.array.dtype]

    def detach(self):
        return self

    def contiguous(self):
        return Tensor(np.ascontiguousarray(self.array), self.device)

    def to(self, device):
        return Tensor(self.array, "cuda:0" if device == "cuda" else device)

    def cpu(self):
        return self.to("cpu")

    def float(self):
        return Tensor(self.array.astype(np.float32), self.device)

    def __getitem__(self, place):
        return Tensor(self.array[place], self.device)

    def reshape(self, *shape):
        return Tensor(self.array.reshape(*shape), self.device)

    def view(self, dtype):
        return Tensor(self.array.view(dtype.array), self.device)

    def numpy(self):
        if self.device != "cpu":  # as torch does
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        return self.array


def frombuffer(buffer, *, dtype):
    return Tensor(np.frombuffer(buffer, dtype.array))


_state = np.random.default_rng(os.getpid())  # like torch's own: another one in every process, unless it is seeded


def manual_seed(seed):
    global _state  # noqa: PLW0603 - torch's generator is global
    _state = np.random.default_rng(seed)


def randint(low, high, size):
    return _state.integers(low, high, size)
