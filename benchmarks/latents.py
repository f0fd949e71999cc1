"""How far the latents of two chunks differ, as the cosmos engine keeps them.

    python benchmarks/latents.py CHUNK CHUNK

It prints the norm of the difference as a part of the first one's norm; 0 for the same bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np


def read(chunk: Path) -> Any:  # noqa: ANN401 - an array
    """The values of a chunk as float64."""
    data = chunk.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    values = data[8 + length :]
    dtype = header["latents"]["dtype"]
    if dtype == "BF16":
        return (np.frombuffer(values, np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.frombuffer(values, {"F32": np.float32, "F16": np.float16, "F64": np.float64}[dtype]).astype(np.float64)


def difference(one: Path, other: Path) -> float:
    """The norm of the difference of two chunks' latents, as a part of the first one's norm."""
    first, second = read(one), read(other)
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))


if __name__ == "__main__":
    print(difference(Path(sys.argv[1]), Path(sys.argv[2])))
