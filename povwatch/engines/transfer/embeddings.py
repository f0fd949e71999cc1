"""Keeps embeddings of prompts on the disk, so that a prompt is embedded once, also across restarts.

A file's name is the hash of everything that decides the embedding, and the file has a hash of its contents. A damaged
one counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from povwatch.engines import chunk_files

FORMAT = 1
"""Incremented whenever the computation of an embedding changes here, or what is kept of it."""

KEPT = 2_000_000_000
"""Bytes of all files; one has 103 MB. Those that were used least recently are deleted."""

ROOM = 10_000_000_000
"""With fewer bytes free on the disk, nothing is kept: the journal may be on it."""

SUFFIX = ".safetensors"


class Embeddings:
    """The embeddings in a folder. Whatever is wrong with it costs time alone."""

    def __init__(self, folder: str, decisive: dict[str, Any], *, kept: int = KEPT, room: int = ROOM) -> None:
        """Nothing is read or written yet.

        Args:
            folder: made when needed; its parent exists.
            decisive: everything that decides an embedding, except the prompt, as JSON values.
            kept: see KEPT.
            room: see ROOM.
        """
        self._folder = Path(folder)
        self._decisive = json.dumps({"format": FORMAT, **decisive}, sort_keys=True)
        self._kept, self._room = kept, room
        self._thread = ThreadPoolExecutor(1, "embeddings")

    def load(self, prompt: str) -> torch.Tensor | None:
        """An embedding; None if it is not there."""
        path = self._path(prompt)
        try:
            with safe_open(path, framework="pt") as file:
                digest, found = (file.metadata() or {}).get("sha256"), file.get_tensor("embedding")
            if digest != _digest(found):
                return None
            os.utime(path)
        except (OSError, SafetensorError):
            return None
        return found  # type: ignore[no-any-return, unused-ignore]

    def keep(self, prompt: str, embedding: torch.Tensor) -> None:
        """Write an embedding in a thread, which the GPU does not wait for."""
        self._thread.submit(self._write, self._path(prompt), embedding.cpu().contiguous())

    def close(self) -> None:
        """Wait until everything is written."""
        self._thread.shutdown()

    def _write(self, path: Path, embedding: torch.Tensor) -> None:
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if shutil.disk_usage(self._folder).free < self._room:
                return
            chunk_files.write(path, save({"embedding": embedding}, metadata={"sha256": _digest(embedding)}))
            self._delete_oldest()

    def _delete_oldest(self) -> None:
        found = sorted(((one.stat(), one) for one in self._folder.iterdir()), key=lambda pair: -pair[0].st_mtime)
        total = 0
        for number, (stat, path) in enumerate(found):
            total += stat.st_size
            if number and total > self._kept:
                path.unlink()

    def _path(self, prompt: str) -> Path:
        text = json.dumps([self._decisive, prompt])
        return self._folder / (hashlib.sha256(text.encode()).hexdigest() + SUFFIX)


def _digest(embedding: torch.Tensor) -> str:
    return hashlib.sha256(embedding.view(torch.uint8).numpy().data).hexdigest()
