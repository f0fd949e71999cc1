"""The whole daemon, `--once`, on clips of several lengths: seconds a stage, memory, and how long the GPU is idle.

    python benchmarks/bench_daemon.py MODEL FOLDER [--frames 93,200,30] [--steps 35] [--size 1280x704]
                                      [--compiled CACHE] [--tiny]

MODEL is a folder, such as build_random_2b.py writes. FOLDER gets pov/ (inputs and outputs), daemon.log, figures.json
and figures.md. benchmarks/h200.sh does all of it. CACHE is a compiler's cache that an earlier run has left, such as
FOLDER/pov/.povwatch/compiled or that of low_memory.py: with it, the load is that of a restart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.clips import make_clip

TESTS = Path(__file__).parents[1] / "tests"

FPS = 30

ON_GPU = ("prompt", "encode", "denoise", "decode", "control swap")
"""Stages in which the GPU works; in the others it waits."""

EVERY = 0.1
"""Seconds between two looks at the GPU."""

NEGATIVE = "The video captures a game playing, with bad crappy graphics and cartoonish frames."

TINY = {"chunk_frames": 45}
"""Fewer chunks than the tests have, so that the long clip takes seconds."""


def main(asked: argparse.Namespace) -> int:
    """Run the daemon and write the figures down; its exit status."""
    folder = Path(asked.folder).resolve()
    pov = folder / "pov"
    shutil.rmtree(pov, ignore_errors=True)
    clips = prepare(pov, asked)
    if asked.compiled:
        shutil.copytree(asked.compiled, pov / ".povwatch" / "compiled")
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    if asked.tiny:
        environment |= {"TINY_MODEL": str(Path(asked.model).resolve()), "TINY_CONFIG": json.dumps(TINY)}
    began = time.monotonic()
    with (folder / "daemon.log").open("wb") as log, Sampler() as gpu:
        daemon = subprocess.run(
            [sys.executable, "-m", "povwatch", "--config", pov / "config.toml", "run", "--once", "--verbose"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            check=False,
        )
    took = time.monotonic() - began
    if daemon.returncode:
        print((folder / "daemon.log").read_text()[-5000:])
        return daemon.returncode
    figures = read(folder, clips, gpu) | {"wall_seconds": round(took, 1), "steps": asked.steps, "size": asked.size}
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "figures.md").write_text(as_markdown(figures))
    print((folder / "figures.md").read_text())
    return 0


def prepare(pov: Path, asked: argparse.Namespace) -> list[str]:
    """Write the configuration, the clips and their JSONs; the clips' names, in the order in which they run."""
    size = tuple(map(int, asked.size.split("x")))
    inputs = pov / "inputs"
    inputs.mkdir(parents=True)
    kind = f"{TESTS / 'support/tiny_model.py'}:TinyEngine" if asked.tiny else "diffusers"
    model = "" if asked.tiny else str(Path(asked.model).resolve())
    (pov / "config.toml").write_text(
        f"[arrival]\nsettle = '1s'\n[grace]\nperiod = '0s'\n"
        f"[engine]\nkind = {json.dumps(kind)}\nmodel = {json.dumps(model)}\nguardrails = false\nworkers = 1\n"
    )
    clips = []
    for number, frames in enumerate(map(int, asked.frames.split(","))):
        name = f"{chr(ord('a') + number)}_{frames}"
        spec = {"name": name, "video_path": f"{name}.mp4", "prompt": "Hands fold a towel.", "negative_prompt": NEGATIVE}
        spec |= {"seed": 0, "guidance": 3, "num_steps": asked.steps, "edge": {"control_weight": 1.0}}
        (inputs / f"{name}.json").write_text(json.dumps(spec))
        make_clip(inputs / f"{name}.mp4", frames=frames, size=(size[0], size[1]), fps=FPS)
        clips.append(name)
    return clips


def read(folder: Path, clips: list[str], gpu: Sampler) -> dict[str, Any]:
    """The figures, from the daemon's own log and manifests, and from what was seen of the GPU."""
    lines = [json.loads(line) for line in (folder / "daemon.log").read_text().splitlines() if line.startswith("{")]
    ends = {line["clip"]: moment(line) for line in lines if line["event"] == "generated"}
    loads = [line["took"] for line in lines if line["event"] == "engine-ready"]
    manifests = {}
    for name in clips:
        (file,) = (folder / "pov/outputs" / name).glob("*_aug.json")
        manifests[name] = json.loads(file.read_text())
    order = sorted(clips, key=lambda name: ends[f"{name}.mp4"])
    spans = [(ends[f"{name}.mp4"] - manifests[name]["seconds"]["generate"], ends[f"{name}.mp4"]) for name in order]
    jobs = []
    for place, name in enumerate(order):
        manifest, (start, end) = manifests[name], spans[place]
        stages = manifest["seconds_of_generate"]
        chunks = manifest["chunks"]
        jobs.append(
            {
                "frames": manifest["output"]["frames"],
                "chunks": chunks,
                "seconds": manifest["seconds"],
                "stages": stages,
                "seconds_a_step": round(stages["denoise"] / chunks / manifest["num_steps"], 3),
                "gpu_waited_within": round(end - start - sum(stages.get(stage, 0.0) for stage in ON_GPU), 2),
                "gpu_idle_before": None if place == 0 else round(start - spans[place - 1][1], 2),
                "peak_memory_gb": round((manifest["gpu"]["peak_memory"] or 0) / 1e9, 2),
                **gpu.between(start, end),
            }
        )
    last = manifests[order[-1]]
    return {
        "gpu": last["gpu"]["name"],
        "libraries": last["libraries"],
        "load": loads,
        "jobs": jobs,
        "whole": gpu.between(spans[0][0], spans[-1][1]),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table, a column a clip."""
    jobs = figures["jobs"]
    stages = list(dict.fromkeys(stage for job in jobs for stage in job["stages"]))
    rows: list[tuple[str, list[Any]]] = [
        ("chunks", [job["chunks"] for job in jobs]),
        *((f"{stage}, s", [job["seconds"].get(stage) for job in jobs]) for stage in jobs[0]["seconds"]),
        *((f"generate: {stage}, s", [job["stages"].get(stage) for job in jobs]) for stage in stages),
        ("seconds a step", [job["seconds_a_step"] for job in jobs]),
        ("GPU waits within the job, s", [job["gpu_waited_within"] for job in jobs]),
        ("GPU idle since the job before, s", [job["gpu_idle_before"] for job in jobs]),
        ("peak memory, GB", [job["peak_memory_gb"] for job in jobs]),
        ("power on average, W", [job.get("power_w") for job in jobs]),
    ]
    head = ["frames", *(str(job["frames"]) for job in jobs)]
    table = [
        head,
        ["---"] * len(head),
        *([name, *("" if v is None else str(v) for v in values)] for name, values in rows),
    ]
    libraries = ", ".join(f"{name} {version}" for name, version in figures["libraries"].items() if version)
    words = (
        f"{figures['gpu']}; {libraries}. {figures['size']}, {figures['steps']} steps; the engine loaded in "
        f"{', '.join(figures['load'])}; {figures['wall_seconds']} s in all.\n"
    )
    whole = figures["whole"]
    if "busy" in whole:
        words += f"From the first job's start to the last one's end the GPU was busy {whole['busy']:.1%} of the time.\n"
    return words + "\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in table) + "\n"


def moment(line: dict[str, Any]) -> float:
    """When a log line was written, in seconds since 1970."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


class Sampler:
    """Looks at a GPU while the block runs, the first one unless told; sees nothing where NVML does not."""

    def __init__(self, index: int = 0) -> None:
        self._index = index
        self._seen: list[tuple[float, int, int, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, start: float, end: float) -> dict[str, float]:
        """What was seen meanwhile; empty if nothing was.

        Args:
            start: seconds since 1970.
            end: likewise.
        """
        seen = [sample for sample in self._seen if start <= sample[0] <= end]
        if not seen:
            return {}
        return {
            "busy": round(sum(busy > 0 for _, busy, _, _ in seen) / len(seen), 4),
            "memory_used_gb": round(max(used for _, _, used, _ in seen) / 1e9, 2),
            "power_w": round(sum(power for *_, power in seen) / len(seen), 1),
        }

    def _look(self) -> None:
        import pynvml  # noqa: PLC0415 - in the thread that uses it

        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(self._index)
            while not self._over.wait(EVERY):
                busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                used = pynvml.nvmlDeviceGetMemoryInfo(handle).used
                power = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
                self._seen.append((time.time(), busy, used, power))
        except pynvml.NVMLError as error:
            print(f"NVML: {error}; the GPU is not watched.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--frames", default="93,200,30")
    parser.add_argument("--steps", type=int, default=35)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--compiled", metavar="CACHE", help="a compiler's cache to begin with")
    parser.add_argument("--tiny", action="store_true", help="MODEL is the tests' tiny one; on the CPU")
    sys.exit(main(parser.parse_args()))
