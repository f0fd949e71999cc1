"""The diffusers engine on clips of several lengths: seconds a stage, memory, and how long the GPU has nothing to do.

    python benchmarks/bench_diffusers.py MODEL [--frames 93,200,30] [--steps 35] [--size 1280x704] [--set KEY=JSON ...]

MODEL is a folder, such as build_random_2b.py writes. `--set` changes a setting of the engine: `--set compile=true`,
`--set 'attention="native"'`. Everything goes through the engine's own load and generate, as in a worker.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import tiny_model
from support.clips import make_clip

from povwatch.engines.port import Context

FPS = 30
ON_GPU = ("prompt", "encode", "denoise", "decode", "control swap")
"""Stages in which the GPU works; in the others it waits."""

NEGATIVE = "The video captures a game playing, with bad crappy graphics and cartoonish frames."


def main(model: str, *, frames: list[int], steps: int, size: tuple[int, int], config: dict[str, Any]) -> None:
    """Load the engine, do a job for each length, and print the figures."""
    engine = tiny_model.DiffusersEngine()  # through it, torchvision is importable beside a torch of another build
    began = time.monotonic()
    settings = {"model": model, "guardrails": False, "offline": True, **config}
    capabilities = engine.load(settings, lambda stage, _: print(f"load  {time.monotonic() - began:6.1f} s  {stage}"))
    print(json.dumps({"loaded_s": round(time.monotonic() - began, 1), **capabilities}), flush=True)
    ended: float | None = None
    with tempfile.TemporaryDirectory() as folder:
        for number, count in enumerate(frames):
            work = Path(folder, str(number))
            work.mkdir()
            clip = make_clip(work / "clip.mp4", frames=count, size=size, fps=FPS)
            ended = job(engine, clip, count, size=size, steps=steps, before=ended)


def job(
    engine: tiny_model.DiffusersEngine,
    clip: Path,
    count: int,
    *,
    size: tuple[int, int],
    steps: int,
    before: float | None,
) -> float:
    """Do one job and print its figures; when its last chunk was decoded.

    Args:
        engine: loaded.
        clip: a video of `count` frames.
        count: frames.
        size: of the clip.
        steps: of denoising.
        before: when the job before had its last chunk decoded.
    """
    moments: dict[str, float] = {}

    def report(stage: str, chunk: int, chunks: int, step: int, _steps: int) -> None:
        now = time.monotonic()
        moments.setdefault(f"first {stage}", now)
        moments[f"last {stage}"] = now
        if stage == "denoise" and step in {0, 1, steps}:
            print(f"  chunk {chunk + 1} of {chunks}, step {step}: {now - began:.1f} s", flush=True)

    began = time.monotonic()
    context = Context(str(clip.parent), str(clip.parent / "chunks"), report=report)
    artifact = engine.generate(
        {
            "id": 1,
            "name": "bench",
            "video": str(clip),
            "frames": count,
            "width": size[0],
            "height": size[1],
            "fps_num": FPS,
            "fps_den": 1,
            "spec": {"prompt": "Hands fold a towel.", "negative_prompt": NEGATIVE, "num_steps": steps, "edge": {}},
        },
        context,
    )
    took = time.monotonic() - began
    seconds = artifact["seconds"]
    worked = sum(seconds.get(stage, 0.0) for stage in ON_GPU)
    figures = {
        "frames": count,
        "chunks": artifact["chunks"],
        "model_size": f"{artifact['model_width']}x{artifact['model_height']}",
        "seconds": round(took, 2),
        "stages": seconds,
        "seconds_a_step": round(seconds["denoise"] / artifact["chunks"] / steps, 3),
        "gpu_waited": round(took - worked, 2),
        "gpu_waited_between_jobs": None if before is None else round(moments["first encode"] - before, 2),
        "peak_memory_gb": round((artifact["peak_memory_bytes"] or 0) / 1e9, 2),
        "artifact_bytes": Path(artifact["path"]).stat().st_size,
    }
    print(json.dumps(figures), flush=True)
    return moments["last decode"]


def setting(text: str) -> tuple[str, Any]:
    """`key=JSON`."""
    key, _, value = text.partition("=")
    return key, json.loads(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--frames", default="93,200,30")
    parser.add_argument("--steps", type=int, default=35)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=JSON")
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    main(
        asked.model,
        frames=[int(count) for count in asked.frames.split(",")],
        steps=asked.steps,
        size=(width, height),
        config=dict(asked.set),
    )
