"""The whole daemon, `--once`, on clips of several lengths: seconds a stage, memory, and how long the GPU is idle.

    python benchmarks/bench_daemon.py MODEL FOLDER [--frames 93,200,30] [--steps 35] [--size 1280x704]
        [--exact rounding|pipeline] [--compiled CACHE] [--beside FIGURES] [--within SECONDS] [--gpu 0] [--tiny]

MODEL is a folder, such as build_random_2b.py writes. FOLDER gets pov/ (inputs and outputs), daemon.log, figures.json
and figures.md. benchmarks/h200.sh does all of it.
--frames 93x10 is ten clips of 93 frames. --steps is one number for all clips, or one for each: 35,2,2. Each clip has a
prompt of its own.
--exact pipeline is `engine.exact`: diffusers' modules with cuDNN's attention, not compiled, as they were before the
engine had a step of its own. With --beside, figures.json of that run, `times_diffusers` is how many times longer it
took for a clip of the same frames and steps, all seconds of the clip.
CACHE is a compiler's cache that an earlier run has left, such as FOLDER/pov/.povwatch/compiled or that of
low_memory.py: with it, the load is that of a restart.
--gpu is the index of the GPU that the daemon uses and that is watched, as NVML counts.
After --within seconds the daemon is stopped, and the figures are those of the clips that are done.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
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

STOPPING = 60
"""Seconds that the daemon has for stopping."""

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
        told = TINY | {"exact": asked.exact}
        environment |= {"TINY_MODEL": str(Path(asked.model).resolve()), "TINY_CONFIG": json.dumps(told)}
    began = time.monotonic()
    with (folder / "daemon.log").open("wb") as log, Sampler(asked.gpu) as gpu:
        command = [sys.executable, "-m", "povwatch", "--config", pov / "config.toml", "run", "--once", "--verbose"]
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        stopped = not ended(daemon, asked.within)
    took = time.monotonic() - began
    done = [name for name in clips if manifest_of(folder, name)]
    if not done or (daemon.returncode and not stopped):
        print((folder / "daemon.log").read_text()[-5000:])
        return daemon.returncode or 1
    figures = about(asked) | read(folder, done, gpu)
    figures |= {"wall_seconds": round(took, 1), "steps": asked.steps, "size": asked.size, "exact": asked.exact}
    figures["times_diffusers"] = times(figures, asked.beside, asked.exact)
    if stopped:
        figures["stopped"] = f"after {asked.within} s, with {len(done)} of {len(clips)} clips done"
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "figures.md").write_text(as_markdown(figures))
    print((folder / "figures.md").read_text())
    return 0


def ended(daemon: subprocess.Popen[bytes], within: float | None) -> bool:
    """Wait until the daemon has ended, and stop it after that many seconds; whether it ended by itself."""
    try:
        daemon.wait(within)
    except subprocess.TimeoutExpired:
        daemon.terminate()
        try:
            daemon.wait(STOPPING)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        return False
    return True


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
        f"devices = [{asked.gpu}]\n"
        f"exact = {json.dumps(asked.exact)}\n"
    )
    clips = []
    lengths = numbers(asked.frames)
    steps = numbers(asked.steps)
    for number, (frames, count) in enumerate(zip(lengths, steps * (len(lengths) // len(steps)), strict=True)):
        name = f"{chr(ord('a') + number)}_{frames}"
        prompt = f"Hands fold towel {number}."
        spec = {"name": name, "video_path": f"{name}.mp4", "prompt": prompt, "negative_prompt": NEGATIVE}
        spec |= {"seed": 0, "guidance": 3, "num_steps": count, "edge": {"control_weight": 1.0}}
        (inputs / f"{name}.json").write_text(json.dumps(spec))
        make_clip(inputs / f"{name}.mp4", frames=frames, size=(size[0], size[1]), fps=FPS)
        clips.append(name)
    return clips


def numbers(text: str) -> list[int]:
    """What a list of numbers means: 35,2x3 is 35, 2, 2, 2."""
    found: list[int] = []
    for part in text.split(","):
        number, _, count = part.partition("x")
        found += [int(number)] * int(count or 1)
    return found


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """How it was called, without folders, and when."""
    called = ["--frames", asked.frames, "--steps", asked.steps, "--size", asked.size, "--exact", asked.exact]
    called += ["--compiled", "CACHE"] if asked.compiled else []
    called += ["--beside", "FIGURES"] if asked.beside else []
    called += ["--gpu", str(asked.gpu)] if asked.gpu else []
    return {"command": f"benchmarks/h200.sh FOLDER {shlex.join(called)}", "date": time.strftime("%Y-%m-%d")}


def manifest_of(folder: Path, name: str) -> dict[str, Any]:
    """A clip's manifest; empty if it is not done."""
    files = list((folder / "pov/outputs" / name).glob("*_aug.json"))
    return dict(json.loads(files[0].read_text())) if files else {}


def times(figures: dict[str, Any], beside: Path | None, exact: str) -> float | None:
    """How many times longer the first clip of the same frames and steps took in the other run; None if there is none.

    1 is what diffusers' modules take.
    """
    if exact == "pipeline":
        return 1.0
    theirs = json.loads(beside.read_text())["jobs"] if beside else []
    for job in figures["jobs"]:
        for other in theirs:
            if (job["frames"], job["steps"]) == (other["frames"], other["steps"]):
                return round(sum(other["seconds"].values()) / sum(job["seconds"].values()), 3)
    return None


def read(folder: Path, clips: list[str], gpu: Sampler) -> dict[str, Any]:
    """The figures, from the daemon's own log and manifests, and from what was seen of the GPU."""
    lines = [json.loads(line) for line in (folder / "daemon.log").read_text().splitlines() if line.startswith("{")]
    ends = {line["clip"]: moment(line) for line in lines if line["event"] == "generated"}
    loads = [line["took"] for line in lines if line["event"] == "engine-ready"]
    computes = next((line for line in lines if line["event"] == "engine-computes"), {})
    manifests = {name: manifest_of(folder, name) for name in clips}
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
                "steps": manifest["num_steps"],
                "seconds": manifest["seconds"],
                "stages": stages,
                "seconds_a_step": round(stages["denoise"] / chunks / manifest["num_steps"], 3),
                "gpu_waited_within": round(end - start - sum(stages.get(stage, 0.0) for stage in ON_GPU), 2),
                "gpu_idle_before": None if place == 0 else round(start - spans[place - 1][1], 3),
                "peak_memory_gb": round((manifest["gpu"]["peak_memory"] or 0) / 1e9, 2),
                **gpu.between(start, end),
            }
        )
    last = manifests[order[-1]]
    idle = [job["gpu_idle_before"] for job in jobs[1:]]
    return {
        "gpu": last["gpu"]["name"],
        "libraries": last["libraries"],
        "attention": computes.get("attention"),
        "compiled": computes.get("compiled"),
        "load": loads,
        "jobs": jobs,
        "idle_between_jobs": {"mean_s": round(statistics.mean(idle), 3), "most_s": max(idle)} if idle else None,
        "whole": gpu.between(spans[0][0], spans[-1][1]),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table, a column a clip."""
    jobs = figures["jobs"]
    stages = list(dict.fromkeys(stage for job in jobs for stage in job["stages"]))
    rows: list[tuple[str, list[Any]]] = [
        ("chunks", [job["chunks"] for job in jobs]),
        ("steps", [job["steps"] for job in jobs]),
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
        f"{figures['gpu']}; {libraries}. {figures['size']}; attention: {figures['attention']}, "
        f"{figures['compiled']}; the engine loaded in {', '.join(figures['load'])}; {figures['wall_seconds']} s in all."
        "\n"
    )
    if figures["times_diffusers"]:
        words += f"Times diffusers' modules, all seconds of a clip: {figures['times_diffusers']}.\n"
    if idle := figures["idle_between_jobs"]:
        words += f"Between two jobs the GPU was idle for {idle['mean_s']} s on average, {idle['most_s']} s at most.\n"
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
    parser.add_argument("--steps", default="35")
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--exact", choices=("rounding", "pipeline"), default="rounding")
    parser.add_argument("--compiled", metavar="CACHE", help="a compiler's cache to begin with")
    parser.add_argument("--beside", metavar="FIGURES", type=Path, help="figures.json of a run with --exact pipeline")
    parser.add_argument("--within", metavar="SECONDS", type=float)
    parser.add_argument("--gpu", type=int, default=0, help="its index, as NVML counts")
    parser.add_argument("--tiny", action="store_true", help="MODEL is the tests' tiny one; on the CPU")
    sys.exit(main(parser.parse_args()))
