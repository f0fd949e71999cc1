"""Keeps finished chunks for the job's next attempt.

A chunk's key is the hash of everything that decides it, including the chunks before it. If anything changed meanwhile
(the spec, the clip, the weights, a library), the key differs, and the chunk is generated anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from povwatch.engines import chunk_files

if TYPE_CHECKING:
    import torch

    from povwatch.engines.control import Frame

FORMAT = 2
"""Incremented whenever the computation of a chunk changes here, or what is kept of it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What is kept of a chunk."""

    latents: torch.Tensor
    """float32, shape (1, channels, time, height / 8, width / 8)."""
    generator: torch.Tensor
    """State of the random generator after the chunk, uint8."""


class Key:
    """Computes the keys of a job's chunks in turn."""

    def __init__(self, decisive: dict[str, Any]) -> None:
        """`decisive`: everything that decides the result, except frames, as JSON values."""
        text = json.dumps({"format": FORMAT, **decisive}, sort_keys=True)
        self._digest = hashlib.sha256(text.encode()).digest()

    def next(self, *frames: Frame) -> str:
        """The next chunk's key in hexadecimal; `frames` are those of its controls and masks, a byte a value."""
        hashed = hashlib.sha256(self._digest)
        for one in frames:
            hashed.update(repr(one.shape).encode())
            hashed.update(one.reshape(-1).data)
        self._digest = hashed.digest()
        return hashed.hexdigest()


class Store:
    """One job's finished chunks, a file each."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def load(self, index: int, key: str) -> Finished | None:
        """A finished chunk; None if there is none with this key."""
        try:
            with safe_open(self._path(index), framework="pt") as file:
                if (file.metadata() or {}).get("key") != key:
                    return None
                return Finished(file.get_tensor("latents"), file.get_tensor("generator"))
        except (OSError, SafetensorError):  # missing, or damaged by the disk: the chunk is generated again
            return None

    def keep(self, index: int, key: str, finished: Finished) -> None:
        """Keep a finished chunk. The file is whole or missing, even after a power cut.

        Raises:
            OSError: it cannot be written; ENOSPC if the disk is full.
        """
        tensors = {"latents": finished.latents.cpu().contiguous(), "generator": finished.generator}
        chunk_files.write(self._path(index), save(tensors, metadata={"key": key}))

    def _path(self, index: int) -> Path:
        return self._folder / f"chunk-{index:05d}.safetensors"
