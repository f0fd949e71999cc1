"""The diffusers engine with all of its memory and with little of it, on one GPU in one run: memory, and seconds a step.

    python benchmarks/low_memory.py MODEL FOLDER [--out FILE] [--limit 24] [--clips 3] [--steps 3] [--frames 93]
                                    [--size 1280x704] [--only full|low] [--dry]

MODEL is a folder, such as build_random_2b.py writes. FOLDER gets the clips, the compiler's cache and what is generated.
`full` has the whole model on the GPU. `low` is told `memory = "auto"` on a GPU of which torch may take `--limit`
GB (POVWATCH_GPU_MEMORY, in bytes, says so to the engine; torch.cuda.set_per_process_memory_fraction holds it to that).
Each starts in a process of its own. `low` does `--clips` clips in a row, each with a prompt of its own, and `full` the
first of them.
`same` says whether both made the same latents, to the bit. `--dry` takes the tests' tiny model, on the CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(Path(__file__).parents[1]), str(TESTS)]

FPS = 30

NEGATIVE = "The video captures a game playing, with bad crappy graphics and cartoonish frames."

GB = 1e9


def main(asked: argparse.Namespace) -> None:
    """Run both, and write the figures down."""
    rows: list[dict[str, Any]] = []
    for mode in [asked.only] if asked.only else ["full", "low"]:
        environment = dict(os.environ)
        if mode == "low":
            environment["POVWATCH_GPU_MEMORY"] = str(int(asked.limit * GB))
        told = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", mode],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows.append(json.loads(told.stdout.splitlines()[-1]))
        if len(rows) > 1:
            full, low = rows
            rows[1]["same"] = full["latents"] == low["latents"][: len(full["latents"])]
            rows[1]["times_full"] = round(low["seconds_a_step"] / full["seconds_a_step"], 4)
        print(json.dumps(rows[-1]), flush=True)
        if asked.out:
            about = {key: vars(asked)[key] for key in ("limit", "clips", "steps", "frames", "size")}
            asked.out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")


def one(mode: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Load the engine and do the clips in this process."""
    from support import tiny_model  # noqa: PLC0415 - the parent needs neither this nor torch
    from support.clips import make_clip  # noqa: PLC0415

    engine = tiny_model.DiffusersEngine()  # through it, torchvision is importable beside a torch of another build
    folder = Path(asked.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    width, height = map(int, asked.size.split("x"))
    config = {"model": str(Path(asked.model).resolve()), "guardrails": False, "offline": True}
    config |= {"memory": "auto", "compile_cache": str(folder / "compiled")}
    config |= tiny_model.CONFIG | {"memory": mode} if asked.dry else {}
    began = time.monotonic()
    capabilities = engine.load(config, lambda *_: None)
    row: dict[str, Any] = {"asked": mode, "memory": capabilities["memory"], "notes": capabilities["notes"]}
    row |= {key: capabilities[key] for key in ("device", "attention", "compiled")}
    row["load_s"] = round(time.monotonic() - began, 1)
    clip = make_clip(folder / "clip.mp4", frames=asked.frames, size=(width, height), fps=FPS)
    clips, latents = [], []
    for number in range(asked.clips if mode == "low" else 1):
        work = folder / f"{mode}-{number}"
        artifact, took = job(engine, work, clip, number, asked)
        chunk = (work / "chunks" / "chunk-00000.safetensors").read_bytes()
        latents.append(hashlib.sha256(chunk).hexdigest())
        seconds = artifact["seconds"]
        clips.append({"seconds": took, **seconds, "peak_gb": _gb(artifact["peak_memory_bytes"])})
        print(f"{mode}: clip {number + 1}: {json.dumps(clips[-1])}", file=sys.stderr, flush=True)
    each = [clip["denoise"] / asked.steps / artifact["chunks"] for clip in clips]
    return {**row, "seconds_a_step": round(sorted(each)[len(each) // 2], 3), **memory(asked), "clips": clips} | {
        "latents": latents
    }


def job(
    engine: Any,  # noqa: ANN401 - DiffusersEngine
    work: Path,
    clip: Path,
    number: int,
    asked: argparse.Namespace,
) -> tuple[dict[str, Any], float]:
    """Do a clip; the artifact, and the seconds that it took."""
    from povwatch.engines.port import Context  # noqa: PLC0415

    shutil.rmtree(work, ignore_errors=True)  # kept chunks would not be generated again
    work.mkdir()
    spec = {"prompt": f"Hands fold towel {number}.", "negative_prompt": NEGATIVE, "num_steps": asked.steps, "edge": {}}
    width, height = map(int, asked.size.split("x"))
    shape = {"frames": asked.frames, "width": width, "height": height, "fps_num": FPS, "fps_den": 1}
    began = time.monotonic()
    artifact = engine.generate(
        {"id": number, "name": "bench", "video": str(clip), **shape, "spec": spec},
        Context(str(work), str(work / "chunks")),
    )
    return artifact, round(time.monotonic() - began, 2)


def memory(asked: argparse.Namespace) -> dict[str, Any]:
    """The GPU memory that torch held at most since the process began, and all that is in use now."""
    if asked.dry:
        return {}
    import torch  # noqa: PLC0415

    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats()
    return {
        "reserved_peak_gb": _gb(stats["reserved_bytes.all.peak"]),
        "in_use_gb": _gb(total - free),
        "allocator_retries": stats["num_alloc_retries"],
    }


def _gb(size: int | None) -> float | None:
    return None if size is None else round(size / GB, 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--limit", type=float, default=24.0, help="GB that torch may take in low")
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--only", choices=("full", "low"))
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--one", choices=("full", "low"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.one:
        print(json.dumps(one(options.one, options)), flush=True)
    else:
        main(options)
