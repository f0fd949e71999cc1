"""Keeps a job's finished chunks, each in a file that survives the worker. Standard library alone.

The files are safetensors: 8 bytes of length, a JSON header of that length, then the values. Nothing in them is
unpickled. Source of the format: https://github.com/huggingface/safetensors#format. This module reads and writes it
itself, because upstream's interpreter need not have the library.
A file that is cut short, damaged or of another job counts as missing, and its chunk is generated again.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from povwatch.engines import chunk_files

HEADER_MAX = 65536
"""Largest header in bytes; ours take some 400."""

TENSOR = "latents"


@dataclass(frozen=True)
class Latents:
    """One chunk's result, before it is decoded into pictures."""

    dtype: str
    """Type as safetensors spells it: F32, BF16 ..."""
    shape: tuple[int, ...]
    data: bytes
    device: str
    """Device on which upstream left it: `cuda` or `cpu`."""


class ChunkStore:
    """The finished chunks of one job."""

    def __init__(self, folder: str, key: str) -> None:
        """Open the store; the folder need not exist yet.

        Args:
            folder: outlives the attempt.
            key: a digest of everything that decides the result.
        """
        self._folder = Path(folder)
        self._key = key

    def get(self, chunk: int, seed: int) -> Latents | None:
        """A chunk's result, if it is whole and was made for this job and seed; else None."""
        try:
            with self._path(chunk).open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > HEADER_MAX:
                    return None
                header = json.loads(file.read(length))
                data = file.read()
            about, tensor = header["__metadata__"], header[TENSOR]
            expected = {**self._about(chunk, seed), "device": about["device"], "sha256": _digest(data)}
            if about != expected or tensor["data_offsets"] != [0, len(data)]:
                return None
            return Latents(tensor["dtype"], tuple(tensor["shape"]), data, about["device"])
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None

    def put(self, chunk: int, seed: int, latents: Latents) -> None:
        """Keep a chunk's result; it is on the disk when this returns.

        Raises:
            OSError: It cannot be written.
        """
        about = {**self._about(chunk, seed), "device": latents.device, "sha256": _digest(latents.data)}
        tensor = {"dtype": latents.dtype, "shape": list(latents.shape), "data_offsets": [0, len(latents.data)]}
        header = json.dumps({"__metadata__": about, TENSOR: tensor}).encode()
        header += b" " * (-len(header) % 8)  # the values begin at a multiple of 8
        chunk_files.write(self._path(chunk), struct.pack("<Q", len(header)) + header, latents.data)

    def _path(self, chunk: int) -> Path:
        return self._folder / f"cosmos-{chunk:04d}.safetensors"

    def _about(self, chunk: int, seed: int) -> dict[str, str]:
        """The metadata of a chunk; safetensors takes only strings."""
        return {"key": self._key, "chunk": str(chunk), "seed": str(seed)}


def key_of(**deciding: object) -> str:
    """A digest of values for JSON."""
    return _digest(json.dumps(deciding, sort_keys=True).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
