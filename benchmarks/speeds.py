"""What each speed of the diffusers engine comes to: seconds of denoising, and the difference from exact at one seed.

    python benchmarks/speeds.py MODEL [--out FILE] [--long 93] [--short 17] [--only SPEED ...] [--steps 35]
                                [--size 1280x704] [--dry]

MODEL is a folder, such as build_random_2b.py writes. All of it is one process with the engine's own model, requests and
denoising, one chunk a job, with guidance.

At `--short` frames every speed does all steps, not compiled. The latents' relative error, and PSNR and SSIM of the
frames that the VAE makes of them, are against exact.
At `--long` frames `fast` and `fastest` do all steps, compiled. exact and diffusers' modules do two, of which the second
counts. Their seconds of all steps are that times the number of steps. `--only` leaves other speeds out here, and
`--short 0` leaves the short jobs out.

Random weights say nothing about pictures: how near a speed comes to exact with the real ones has to be measured anew.
`--dry` takes the tiny model on the CPU, which shows that all of this works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from step import Watts, machine
from support import tiny_model  # first: it makes torchvision importable beside a torch of another build

from povwatch.core.speed import SPEEDS
from povwatch.engines.transfer import request, weights
from povwatch.engines.transfer.denoise import Denoiser
from povwatch.engines.transfer.frames import Piece
from povwatch.engines.transfer.model import Model
from povwatch.engines.transfer.pipeline_step import PipelineStep
from povwatch.engines.transfer.settings import Settings

if TYPE_CHECKING:
    from povwatch.core.speed import Speed

FEW = 2
"""Steps where the last one stands for all."""

SEED = 2025

LINE = 2
"""Pixels across a line of the edge video."""

WINDOW, SPREAD = 11, 1.5
"""Pixels and standard deviation of SSIM's window: Wang et al. 2004, as are the constants below."""

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

LUMA = (0.299, 0.587, 0.114)


class Bench:
    """The loaded model, and the figures so far."""

    def __init__(self, asked: argparse.Namespace, folder: str) -> None:
        self._asked = asked
        own = tiny_model.CONFIG if asked.dry else {"offline": True, "guardrails": False}
        config = {**own, "model": asked.model, "speed": "fast", "compile_cache": folder}
        self._settings = Settings.from_config(config | {"chunk_frames": asked.long})
        began = time.monotonic()
        self.model = Model(self._settings, weights.locate(self._settings), lambda *_: None)
        self.about = {
            "load_s": round(time.monotonic() - began, 1),
            "attention": self.model.attention.name,
            "attention_in_fp8": self.model.kernels("fast").attention or None,
            "feed_forward_in_fp8": self.model.kernels("fast").feed_forward is not None,
        }
        self.rows: list[dict[str, Any]] = []

    def run(self) -> None:
        """Everything, the short jobs first, since a later failure does not cost them."""
        if self._asked.short:
            self._short()
        self._long()

    def _short(self) -> None:
        """The difference of each speed from exact."""
        compiler = self.model._compiler  # noqa: SLF001 - another size would be compiled for, which is not in question
        if compiler is not None:
            compiler.on = False
        exact: tuple[torch.Tensor, torch.Tensor] | None = None
        for speed in SPEEDS:
            denoiser, latents, row = self._denoised(speed, self._asked.short, self._asked.steps)
            frames = pixels(denoiser, latents)
            exact = exact or (latents, frames)
            if speed != "exact":
                row |= difference((latents, frames), exact)
            self._keep(row | {"compiled": False})
        if compiler is not None:
            compiler.on = True

    def _long(self) -> None:
        """Seconds of each speed, and of diffusers' modules."""
        steps, theirs = self._asked.steps, PipelineStep(self.model.transformer, 8)
        theirs.use(self.model.controlnets)
        ours = self.model.step_for
        self.model.step_for = lambda _: theirs  # type: ignore[method-assign]
        _, _, row = self._denoised("exact", self._asked.long, FEW)
        self.model.step_for = ours  # type: ignore[method-assign]
        base = row["last_step_s"] * steps
        self._keep(self._of_all(row, base) | {"speed": "diffusers", "compiled": False})
        _, _, row = self._denoised("exact", self._asked.long, FEW)
        self._keep(self._of_all(row, base) | {"compiled": self.model.compiled})
        for speed in self._asked.only:
            _, _, row = self._denoised(speed, self._asked.long, steps)
            times = {"times_diffusers": round(base / row["denoise_s"], 3)}
            self._keep(row | times | {"compiled": self.model.compiled})

    def _of_all(self, row: dict[str, Any], base: float) -> dict[str, Any]:
        """A row with the figures of all steps, which follow from the last one."""
        seconds = row["last_step_s"] * self._asked.steps
        numbers = {"denoise_s": round(seconds, 1), "times_diffusers": round(base / seconds, 3)}
        return row | numbers | {"steps": self._asked.steps, "steps_computed": self._asked.steps, "steps_run": FEW}

    def _denoised(self, speed: Speed, frames: int, steps: int) -> tuple[Denoiser, torch.Tensor, dict[str, Any]]:
        """Denoise one chunk."""
        width, height = map(int, self._asked.size.split("x"))
        spec = {"prompt": "hands fold a towel", "negative_prompt": "blur", "seed": SEED, "guidance": 3, "edge": {}}
        job = {"video": "", "frames": frames, "width": width, "height": height, "fps_num": 30, "fps_den": 1}
        settings = dataclasses.replace(self._settings, chunk_frames=frames)
        wanted = request.read(job | {"speed": speed, "spec": spec | {"num_steps": steps}}, settings, self.model.limit)
        moments: list[float] = []

        def stepped(_step: int) -> None:
            self._wait()
            moments.append(time.monotonic())

        if self.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with torch.no_grad(), Watts(self.model.device) as watts:
            denoiser = Denoiser(self.model, wanted)
            generator = torch.Generator("cpu").manual_seed(SEED)
            encoded = denoiser.encode(Piece({"edge": drawn(frames, *wanted.size)}), None, generator)
            latents = denoiser.denoise(encoded, first=True, stepped=stepped)
        plan = [one.value for one in wanted.plan]
        row = {
            "speed": speed,
            "frames": frames,
            "steps": steps,
            "steps_computed": steps - plan.count("nothing"),
            "steps_with_prompt_alone": plan.count("prompt"),
            "denoise_s": round(moments[-1] - moments[0], 1),
            "last_step_s": round(moments[-1] - moments[-2], 3),
            "watts": watts.median(since=moments[0]),  # without encoding and compiling
            "peak_memory_gb": self._peak(),
        }
        return denoiser, latents, row

    def _keep(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        if self._asked.out:
            notes = {"notes": self.model.notes, "machine": machine(self.model.device)}
            whole = {**notes, **self.about, "size": self._asked.size, "weights": "random", "rows": self.rows}
            self._asked.out.write_text(json.dumps(whole, indent=2) + "\n")

    def _wait(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()

    def _peak(self) -> float | None:
        return round(torch.cuda.max_memory_allocated() / 1e9, 2) if self.model.device.type == "cuda" else None


def drawn(frames: int, width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An edge video: white lines that move over black, shape (frames, height, width, 3)."""
    rows, columns = np.mgrid[:height, :width]
    every = height // 4
    at = ((rows + 2 * columns + 3 * frame) % every for frame in range(frames))
    return np.stack([np.repeat(((one < LINE) * 255).astype(np.uint8)[..., None], 3, axis=2) for one in at])


def pixels(denoiser: Denoiser, latents: torch.Tensor) -> torch.Tensor:
    """The frames of a chunk, from 0 to 255, shape (frames, 3, height, width)."""
    parts: list[torch.Tensor] = []
    with torch.no_grad():
        denoiser.decode(latents, parts.append)
    return ((torch.cat(parts, dim=2)[0].float() * 0.5 + 0.5).clamp(0, 1) * 255).round().transpose(0, 1)


def difference(
    found: tuple[torch.Tensor, torch.Tensor], exact: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, float | None]:
    """Relative error of latents, and PSNR in dB and SSIM of frames."""
    error = ((found[0] - exact[0]).norm() / exact[0].norm()).item()
    squares = (found[1] - exact[1]).square().mean().item()
    return {
        "latents_error": float(f"{error:.3e}"),
        "psnr_db": round(10 * np.log10(255**2 / squares).item(), 2) if squares else None,
        "ssim": round(ssim(found[1], exact[1]), 4),
    }


def ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean SSIM of the luma, frame by frame; both have shape (frames, 3, height, width), 0 to 255."""
    offsets = torch.arange(WINDOW, device=a.device) - WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SPREAD**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]
    weights = torch.tensor(LUMA, device=a.device)[:, None, None]

    def mean(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, window)

    values = []
    for one, other in zip(a, b, strict=True):
        x, y = ((frame * weights).sum(0)[None, None] for frame in (one, other))
        mx, my = mean(x), mean(y)
        vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        values.append(((2 * mx * my + C1) * (2 * both + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))).mean())
    return float(torch.stack(values).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--long", type=int, default=93)
    parser.add_argument("--short", type=int, default=17)
    parser.add_argument("--only", nargs="+", choices=SPEEDS[1:], default=SPEEDS[1:])
    parser.add_argument("--steps", type=int, default=35)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--dry", action="store_true")
    torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as cache:
        Bench(parser.parse_args(), cache).run()
