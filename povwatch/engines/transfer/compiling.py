"""Compiles functions of the denoising step, and goes on without where that fails."""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._inductor import config as inductor
from torch._inductor.async_compile import shutdown_compile_workers

if TYPE_CHECKING:
    from collections.abc import Callable

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""The variables that say where torch's compiler and Triton keep what they made."""

DONE = "compiled"
"""File in the cache of a version once all functions were compiled."""

COLD, WARM = 20.0, 6.0
"""Seconds that compiling takes, about, without and with a cache."""

VARIANTS = 32
"""Variants that the compiler makes of a function before it gives up: with and without a residual, in FP8 or not, for
each shape until it takes any. torch's own limit is 8."""

TODO = "It needs a C compiler and Python's header files: apt install gcc python3-dev"


class Compiler:
    """Compiles functions. Gives up at the first failure: all functions then run as they are."""

    def __init__(self, folder: str | None, without: str = "steps take about an eighth longer") -> None:
        """Prepare the cache.

        Args:
            folder: gets a folder for this version of torch, and loses those of others; None for torch's own place, or
                that of the Compiler before.
            without: what it costs if compiling fails, for people.
        """
        self._without = without
        self.notes: list[str] = []
        """Sentences for the log."""
        self.on = True
        self._done: Path | None = None
        torch._dynamo.config.recompile_limit = VARIANTS  # noqa: SLF001 - torch's documented setting
        if folder is not None:
            self._prepare(Path(folder))

    def __call__(self, function: Callable[..., torch.Tensor], *, any_size: bool = False) -> Callable[..., torch.Tensor]:
        """The function, compiled at its first call and for every new shape; with `any_size`, for all shapes at once."""
        compiled: Callable[..., torch.Tensor] = (
            torch.compile(function, dynamic=True) if any_size else torch.compile(function)
        )

        def call(*args: Any) -> torch.Tensor:  # noqa: ANN401 - the function's
            if not self.on:
                return function(*args)
            try:
                return compiled(*args)
            except Exception as problem:  # noqa: BLE001 - of two compilers, of what they start, and of the GPU
                result = function(*args)  # if this fails too, the compiler is not at fault
                self._give_up(problem)
                return result

        return call

    def run(self, parts: list[Callable[[], object]], report: Callable[[str, float | None], None]) -> None:
        """Have functions compiled now.

        Args:
            parts: calls of functions.
            report: see port.Engine.load.
        """
        began = time.monotonic()
        warm = self._done is not None and self._done.exists()
        expected = WARM if warm else COLD
        # With a cache nothing is left for the compiler's own processes, and waiting for their end would take seconds.
        with inductor.patch(compile_threads=1) if warm else nullcontext():
            for number, part in enumerate(parts):
                left = max(1.0, expected * (1 - number / len(parts)))
                report(f"compiling, about {left:.0f} s left", number / len(parts))
                part()
                if not self.on:
                    return
                expected = max(expected, (time.monotonic() - began) * len(parts) / (number + 1))
        shutdown_compile_workers()  # up to 32 processes, which the next compiling starts again
        if self._done is not None:
            self._done.touch()

    def _give_up(self, problem: Exception) -> None:
        self.on = False
        torch._dynamo.reset()  # noqa: SLF001 - torch's documented way to free what was compiled
        cause = getattr(problem, "inner_exception", problem)  # torch wraps what its compiler raised
        line = next(iter(str(cause).strip().splitlines()), type(cause).__name__).rstrip(".")
        self.notes.append(f"Compiling failed, and {self._without} without: {line}. {TODO}")

    def _prepare(self, folder: Path) -> None:
        """Make the cache's folder for this version. What is in it is run: nobody else may write there."""
        own = folder / f"torch-{torch.__version__}"
        try:
            for place in (folder, own):
                place.mkdir(mode=0o700, exist_ok=True)
                found = place.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                    self.notes.append(f"The compiler's cache {place} is not used: somebody else may write to it.")
                    return
            for other in folder.iterdir():
                if other != own:
                    shutil.rmtree(other, ignore_errors=True)
                    self.notes.append(f"The compiler's cache of {other.name} was deleted, and is made anew.")
        except OSError as error:
            self.notes.append(f"The compiler's cache {folder} cannot be used: {error.strerror}.")
            return
        self._done = own / DONE
        for variable in CACHES:
            os.environ[variable] = str(own / variable.partition("_")[0].lower())
