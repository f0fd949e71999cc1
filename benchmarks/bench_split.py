"""A clip on several GPUs together, through the whole daemon, and another one of whose ranks one is killed.

    python benchmarks/bench_split.py MODEL FOLDER [--gpus 2] [--frames 93] [--steps 5] [--size 1280x704]
        [--long 120] [--killed-steps 2] [--speeds fast,fastest] [--after FILE]

MODEL is a folder, such as build_random_2b.py writes. FOLDER gets pov/ (inputs, outputs, daemon.log) and figures.json.
The first clip, of `--frames`, is measured. Of the second, of `--long` frames and two chunks, the last rank is killed
when the first chunk is kept. Then a clip like the first one is measured at each of `--speeds`, after one of two steps
for which the speed's step is compiled. With `--after` the clips come once that file is there; the model is loaded
meanwhile. benchmarks/split.sh does all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bench_daemon import FPS, NEGATIVE, TESTS, TINY, Sampler, moment
from bench_two_gpus import lines_of
from support.clips import make_clip

if TYPE_CHECKING:
    from collections.abc import Callable

POLL = 0.1
"""Seconds between two looks."""

FEW = 2
"""Steps of a clip that is there so that a speed's step is compiled."""


def main(asked: argparse.Namespace) -> int:
    """Run it, and write the figures down as they come; the exit status."""
    folder = Path(asked.folder).resolve()
    pov = folder / "pov"
    shutil.rmtree(pov, ignore_errors=True)
    (pov / "inputs").mkdir(parents=True)
    (pov / "config.toml").write_text(configuration(asked))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    if asked.tiny:
        tiny = TINY | {"gpus_per_worker": asked.gpus, "meeting": str(pov / "ranks")}
        environment |= {"TINY_MODEL": str(Path(asked.model).resolve()), "TINY_CONFIG": json.dumps(tiny)}
    told = ("gpus", "frames", "steps", "size", "long", "killed_steps")
    figures: dict[str, Any] = {key: getattr(asked, key) for key in told}
    with ExitStack() as stack:
        log = stack.enter_context((pov / "daemon.log").open("wb"))
        samplers = [] if asked.tiny else [stack.enter_context(Sampler(index)) for index in range(asked.gpus)]
        command = [sys.executable, "-m", "povwatch", "--config", pov / "config.toml", "run", "--verbose"]
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        stack.callback(daemon.kill)
        bench = Bench(pov, daemon, asked)
        figures["load"] = bench.wait("engine-ready", 1)["took"]
        leader = bench.of("worker-started")[-1]["pid"]
        figures["nccl"] = [nccl(pid) for pid in (leader, *children(leader))]
        figures["attention"] = (bench.of("engine-computes") or [{}])[0].get("attention")
        if asked.after:
            bench.until(Path(asked.after).exists, asked.after)
        ask_for(pov, "first", asked.frames, asked.steps, asked)
        done = bench.wait("done", 1)
        figures["clip"] = clip_figures(pov, "first", samplers, done)
        write(folder, figures)
        ask_for(pov, "killed", asked.long, asked.killed_steps, asked)
        bench.until(lambda: any((pov / "outputs").rglob("chunk-00000.safetensors")), "the second chunk")
        began = time.monotonic()
        os.kill(children(leader)[-1], signal.SIGKILL)
        figures["killed"] = {"told": bench.wait("worker-lost", 1).get("message")}
        figures["killed"]["told_after_s"] = round(time.monotonic() - began, 2)
        bench.wait("engine-ready", 2)
        figures["killed"]["ready_after_s"] = round(time.monotonic() - began, 1)
        done = bench.wait("done", 2)
        figures["killed"] |= clip_figures(pov, "killed", samplers, done)
        write(folder, figures)
        for speed in asked.speeds.split(",") if asked.speeds else ():
            for name, steps in ((f"{speed}-compiled", FEW), (speed, asked.steps)):
                ended = len(bench.of("done"))
                ask_for(pov, name, asked.frames, steps, asked, povwatch={"speed": speed})
                done = bench.wait("done", ended + 1)
            figures.setdefault("speeds", {})[speed] = clip_figures(pov, speed, samplers, done)
            write(folder, figures)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
    print(json.dumps(figures, indent=2))
    return 0


class Bench:
    """Watches the daemon's log."""

    def __init__(self, pov: Path, daemon: subprocess.Popen[bytes], asked: argparse.Namespace) -> None:
        self._pov, self._daemon, self._patience = pov, daemon, asked.patience

    def of(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of an event so far."""
        return [line for line in lines_of(self._pov) if line["event"] == event]

    def wait(self, event: str, number: int) -> dict[str, Any]:
        """Wait until an event was logged so many times; its last line."""
        self.until(lambda: len(self.of(event)) >= number, f"{event} number {number}")
        return self.of(event)[number - 1]

    def until(self, over: Callable[[], bool], what: str) -> None:
        """Wait until it is so; the end of the daemon, a clip that fails and time that is over end it all."""
        deadline = time.monotonic() + self._patience
        while not over():
            if self.of("failed") or self._daemon.poll() is not None or time.monotonic() > deadline:
                print((self._pov / "daemon.log").read_text()[-8000:])
                raise SystemExit(f"{what} did not come.")
            time.sleep(POLL)


def ask_for(pov: Path, name: str, frames: int, steps: int, asked: argparse.Namespace, **more: Any) -> None:  # noqa: ANN401 - JSON
    """Drop a clip with its JSON, which has `more` fields too."""
    width, height = map(int, asked.size.split("x"))
    spec = {"name": name, "video_path": f"{name}.mp4", "prompt": "Hands fold a towel.", "negative_prompt": NEGATIVE}
    spec |= {"seed": 0, "guidance": 3, "num_steps": steps, "edge": {"control_weight": 1.0}} | more
    (pov / "inputs" / f"{name}.json").write_text(json.dumps(spec))
    made = make_clip(pov / f"{name}.mp4", frames=frames, size=(width, height), fps=FPS)
    made.rename(pov / "inputs" / f"{name}.mp4")


def clip_figures(pov: Path, name: str, samplers: list[Sampler], done: dict[str, Any]) -> dict[str, Any]:
    """The figures of a clip that has come out, from its manifest, and what was seen of the GPUs meanwhile."""
    manifest = json.loads((pov / "outputs" / name / f"{name}_aug.json").read_text())
    end = moment(done)
    start = end - sum(manifest["seconds"].values())
    steps = manifest["num_steps"] * (manifest["chunks"] - manifest["chunks_resumed"])
    return {
        "frames": manifest["output"]["frames"],
        "chunks": manifest["chunks"],
        "chunks_resumed": manifest["chunks_resumed"],
        "gpus": manifest["engine"].get("gpus"),
        "seconds": manifest["seconds"],
        "stages": manifest["seconds_of_generate"],
        "seconds_a_step": round(manifest["seconds_of_generate"]["denoise"] / steps, 3),
        "peak_memory_gb": round((manifest["gpu"]["peak_memory"] or 0) / 1e9, 2),
        "each_gpu": [sampler.between(start, end) for sampler in samplers],
    }


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def nccl(pid: int) -> dict[str, str]:
    """NCCL's variables in a process's environment, which have to reach each rank."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries) if name.startswith("NCCL_")}


def configuration(asked: argparse.Namespace) -> str:
    """The text of config.toml."""
    engine: dict[str, Any] = {"kind": f"{TESTS / 'support/tiny_model.py'}:TinyEngine"}
    if not asked.tiny:
        engine = {"kind": "diffusers", "model": str(Path(asked.model).resolve()), "gpus_per_worker": asked.gpus}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in engine.items())
    return f"[arrival]\nsettle = '1s'\nrescan = '1s'\n[grace]\nperiod = '0s'\n[engine]\n{lines}guardrails = false\n"


def write(folder: Path, figures: dict[str, Any]) -> None:
    """Keep the figures so far."""
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--long", type=int, default=120)
    parser.add_argument("--killed-steps", type=int, default=2, help="steps of the clip whose rank is killed")
    parser.add_argument("--speeds", default="", help="measure a clip at these speeds too")
    parser.add_argument("--after", default="", help="begin with the clips once this file is there")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for a load, and for a clip")
    parser.add_argument("--tiny", action="store_true", help="MODEL is the tests' tiny one; on the CPU")
    sys.exit(main(parser.parse_args()))
