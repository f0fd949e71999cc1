"""The VAE: seconds, memory and error of encoding and decoding a chunk in several ways, in one run on one GPU.

    python benchmarks/vae.py [--out FILE] [--frames 93] [--size 1280x704] [--only WAY ...] [--dry]

Random weights in the real configuration, bfloat16. Each way is tried twice; the second time counts.
The error is relative, on a small clip, to diffusers' VAE in float32; `same` says whether the frames of the large clip
are those of the first way to the bit. `--dry` tries everything with tiny widths on the CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import torch
from support import tiny_model  # noqa: F401 - first: it makes torchvision importable beside another torch

from povwatch.engines.transfer import vae as ours  # isort: skip
from povwatch.engines.transfer.compiling import Compiler  # isort: skip
from diffusers import AutoencoderKLWan  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = (17, 320, 176)
"""Frames, width and height of the clip for the error."""

SMALLEST = (5, 32, 16)
"""The same for `--dry`."""

SHIPPED = "as shipped"


def parts(vae: Any, latents: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - AutoencoderKLWan
    """Decode as the engine does, part by part."""
    return torch.cat([part.cpu() for part in ours.decoded(vae, latents)], dim=2)


def whole(vae: Any, latents: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - see above
    """Decode as the pipeline does."""
    found: torch.Tensor = vae.decode(latents, return_dict=False)[0]
    return found


def fused(vae: Any) -> None:  # noqa: ANN401 - see above
    """Compile the norms."""
    ours.compile_norms(vae, Compiler(None))


def compiled(vae: Any) -> None:  # noqa: ANN401 - see above
    """Compile the decoder whole."""
    vae.decoder.forward = torch.compile(vae.decoder.forward)


def trial(vae: Any) -> None:  # noqa: ANN401, ARG001 - see above
    """Let cuDNN try its algorithms, which may choose others in another process."""
    torch.backends.cudnn.benchmark = True


WAYS: dict[str, tuple[tuple[Callable[[Any], object], ...], Callable[[Any, torch.Tensor], torch.Tensor]]] = {
    SHIPPED: ((), whole),
    "in parts": ((), parts),
    "in parts, channels last": ((ours.channels_last,), parts),
    "in parts, channels last, norms compiled": ((ours.channels_last, fused), parts),
    "in parts, channels last, cuDNN's trial": ((ours.channels_last, trial), parts),
    "in tiles": ((lambda vae: vae.enable_tiling(),), whole),
    "in parts, decoder compiled": ((compiled,), parts),
}
"""What is done to the VAE, and how it decodes. The last one compiles for minutes."""

USUAL = tuple(WAYS)[:-1]


def main(asked: argparse.Namespace) -> None:
    """Measure each way, and write the figures down."""
    device = torch.device("cpu" if asked.dry else "cuda")
    dtype = torch.float32 if asked.dry else torch.bfloat16
    width, height = map(int, asked.size.split("x"))
    rows: list[dict[str, Any]] = []
    first: torch.Tensor | None = None
    size = SMALLEST if asked.dry else SMALL
    exact: dict[str, torch.Tensor] = {}
    for name in asked.only or USUAL:
        row: dict[str, Any] = {"way": name}
        torch.backends.cudnn.benchmark = False
        try:
            vae = made(device, dtype, tiny=asked.dry)
            if not exact:
                exact = small(vae.float(), whole, size)
                vae.to(dtype)
            changes, decode = WAYS[name]
            for change in changes:
                change(vae)
            found = small(vae, decode, size)
            row |= {f"error_{what}": float(f"{error(found[what], exact[what]):.2e}") for what in found}
            frames = chunk(row, vae, decode, clip(asked.frames, width, height, device, dtype)).cpu()
            first = frames if first is None else first
            row["same"] = bool(torch.equal(frames, first))
            row["times_diffusers"] = round(spent(rows[0] if rows else row) / spent(row), 3)
        except Exception as problem:  # noqa: BLE001 - the other ways are measured in any case
            row["problem"] = str(problem)[:500]
        vae = frames = None
        rows.append(row)
        print(json.dumps(row), flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if asked.out:
            about = {"gpu": torch.cuda.get_device_name() if device.type == "cuda" else None, "torch": torch.__version__}
            asked.out.write_text(json.dumps({**about, "frames": asked.frames, "size": asked.size, "rows": rows}) + "\n")


def chunk(
    row: dict[str, Any],
    vae: Any,  # noqa: ANN401 - AutoencoderKLWan
    decode: Callable[[Any, torch.Tensor], torch.Tensor],
    video: torch.Tensor,
) -> torch.Tensor:
    """Encode and decode a chunk; `row` gets the figures."""
    latents = timed(row, "encode", lambda: vae.encode(video).latent_dist.mean, video.device)
    return timed(row, "decode", lambda: decode(vae, latents), video.device)


def made(device: torch.device, dtype: torch.dtype, *, tiny: bool) -> Any:  # noqa: ANN401 - AutoencoderKLWan
    """A VAE with random weights, the same each time."""
    torch.manual_seed(0)
    small_one = {"base_dim": 3, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    vae = AutoencoderKLWan(**small_one) if tiny else AutoencoderKLWan()
    return vae.to(device, dtype).eval().requires_grad_(requires_grad=False)


def clip(frames: int, width: int, height: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Random frames from -1 to 1."""
    generator = torch.Generator(device).manual_seed(1)
    return torch.rand(1, 3, frames, height, width, generator=generator, device=device).to(dtype) * 2 - 1


def small(
    vae: Any,  # noqa: ANN401 - AutoencoderKLWan
    decode: Callable[[Any, torch.Tensor], torch.Tensor],
    size: tuple[int, int, int],
) -> dict[str, torch.Tensor]:
    """The latents of a small clip and the frames of other latents, in float32 on the CPU."""
    frames, width, height = size
    video = clip(frames, width, height, vae.device, vae.dtype)
    shape = (1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
    latents = torch.randn(shape, generator=torch.Generator(vae.device).manual_seed(2), device=vae.device).to(vae.dtype)
    return {"encode": vae.encode(video).latent_dist.mean.float().cpu(), "decode": decode(vae, latents).float().cpu()}


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative error."""
    return float((found - expected).norm() / expected.norm())


def timed(row: dict[str, Any], what: str, do: Callable[[], torch.Tensor], device: torch.device) -> torch.Tensor:
    """Do it twice; keep the seconds of both and the memory of the second."""
    for key in (f"first_{what}_s", f"{what}_s"):
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        began = time.monotonic()
        found = do()
        if device.type == "cuda":
            torch.cuda.synchronize()
            row[f"{what}_peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        row[key] = round(time.monotonic() - began, 3)
    return found


def spent(row: dict[str, Any]) -> float:
    """Seconds of a chunk."""
    return float(row["encode_s"] + row["decode_s"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--only", nargs="+", choices=WAYS)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--dry", action="store_true")
    with torch.no_grad():
        main(parser.parse_args())
