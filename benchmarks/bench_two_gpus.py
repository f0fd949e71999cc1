"""Clips an hour with one GPU and with two, and how long each GPU is idle: the whole daemon, equal clips.

    python benchmarks/bench_two_gpus.py MODEL FOLDER [--clips 4] [--frames 93] [--steps 3] [--size 1280x704] [--tiny]

MODEL is a folder, such as build_random_2b.py writes. FOLDER gets one/ and two/ (inputs, outputs, log), figures.json and
figures.md. The clips are put in when every worker is ready, so that what is measured is the work without the loads.
benchmarks/two_gpus.sh does all of it.
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
from bench_daemon import FPS, NEGATIVE, TESTS, TINY, Sampler
from support.clips import make_clip
from support.idle import attempts, gaps

if TYPE_CHECKING:
    from collections.abc import Callable

POLL = 0.2
"""Seconds between two looks at the log."""

TRIES = 3
"""Loads that may fail."""


def main(asked: argparse.Namespace) -> int:
    """Run it with one and with two, and write the figures down; the exit status."""
    folder = Path(asked.folder).resolve()
    made = folder / "clip.mp4"
    width, height = map(int, asked.size.split("x"))
    make_clip(made, frames=asked.frames, size=(width, height), fps=FPS)
    figures: dict[str, Any] = {"clips": asked.clips, "frames": asked.frames, "steps": asked.steps, "size": asked.size}
    for name, workers in (("one", 1), ("two", 2)):
        figures[name] = measure(folder / name, workers, made, asked)
        (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    figures["ratio"] = round(figures["two"]["clips_an_hour"] / figures["one"]["clips_an_hour"], 3)
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "figures.md").write_text(as_markdown(figures))
    print((folder / "figures.md").read_text())
    return 0


def measure(pov: Path, workers: int, made: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All clips on so many workers, each with a GPU of its own."""
    shutil.rmtree(pov, ignore_errors=True)
    inputs = pov / "inputs"
    inputs.mkdir(parents=True)
    (pov / "config.toml").write_text(configuration(workers, asked))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    if asked.tiny:
        environment |= {"TINY_MODEL": str(Path(asked.model).resolve()), "TINY_CONFIG": json.dumps(TINY)}
    began = time.monotonic()
    with ExitStack() as stack:
        log = stack.enter_context((pov / "daemon.log").open("wb"))
        samplers = [] if asked.tiny else [stack.enter_context(Sampler(index)) for index in range(workers)]
        daemon = subprocess.Popen(
            [sys.executable, "-m", "povwatch", "--config", pov / "config.toml", "run", "--verbose"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
        stack.callback(daemon.kill)
        until(pov, daemon, asked.patience, lambda said: said.count("engine-ready") >= workers)
        loaded = time.monotonic() - began
        for number in range(asked.clips):
            name = f"clip{number}"
            spec = {"name": name, "video_path": f"{name}.mp4", "prompt": "Hands fold a towel."}
            spec |= {"negative_prompt": NEGATIVE, "seed": number, "num_steps": asked.steps, "edge": {}}
            (inputs / f"{name}.json").write_text(json.dumps(spec))
            shutil.copyfile(made, inputs / f"{name}.mp4")
        until(pov, daemon, asked.patience, lambda said: said.count("done") >= asked.clips)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
    return figures_of(pov, workers, samplers) | {"loaded_after": round(loaded, 1)}


def configuration(workers: int, asked: argparse.Namespace) -> str:
    """The text of config.toml."""
    engine: dict[str, Any] = {"kind": f"{TESTS / 'support/tiny_model.py'}:TinyEngine", "workers": workers}
    if not asked.tiny:
        engine = {"kind": "diffusers", "model": str(Path(asked.model).resolve()), "devices": list(range(workers))}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in engine.items())
    return f"[arrival]\nsettle = '1s'\nrescan = '1s'\n[grace]\nperiod = '0s'\n[engine]\n{lines}guardrails = false\n"


def until(pov: Path, daemon: subprocess.Popen[bytes], patience: float, over: Callable[[list[str]], bool]) -> None:
    """Wait until the log says so; the end of the daemon, a clip that fails and a GPU that is not there end it all."""
    deadline = time.monotonic() + patience
    while not over(said := [line["event"] for line in lines_of(pov)]):
        wrong = {"failed", "retry", "devices-missing"} & set(said)
        if said.count("engine-unavailable") >= TRIES:  # the first time the worker before may still hold the GPU
            wrong.add("engine-unavailable")
        if wrong or daemon.poll() is not None or time.monotonic() > deadline:
            print((pov / "daemon.log").read_text()[-6000:])
            raise SystemExit(f"It did not come to an end: {', '.join(wrong) or 'see the log above'}.")
        time.sleep(POLL)


def figures_of(pov: Path, workers: int, samplers: list[Sampler]) -> dict[str, Any]:
    """The figures, from the journal and from what was seen of the GPUs."""
    made = attempts(pov / ".povwatch")
    start, end = min(attempt.start for attempt in made), max(attempt.end for attempt in made)
    span = end - start
    by_worker = {}
    for number in range(1, workers + 1):
        mine = [attempt for attempt in made if attempt.worker == number]
        last = max((attempt.end for attempt in mine), default=start)
        by_worker[number] = {
            "gpu": mine[0].on if mine else "",
            "clips": len(mine),
            "seconds_a_clip": [round(attempt.end - attempt.begun, 1) for attempt in mine],
            "idle": round(1 - sum(attempt.end - attempt.begun for attempt in mine) / span, 4),
            "idle_at_the_end": round((end - last) / span, 4),
        }
    for number, sampler in enumerate(samplers, 1):
        by_worker[number] |= {f"nvml_{key}": value for key, value in sampler.between(start, end).items()}
    waited = [gap.waited for gap in gaps(pov / ".povwatch", lines_of(pov))]
    return {
        "seconds": round(span, 1),
        "clips_an_hour": round(len(made) / span * 3600, 2),
        "idle_while_work_waited": round(sum(waited) / workers / span, 4),
        "workers": by_worker,
    }


def lines_of(pov: Path) -> list[dict[str, Any]]:
    """The log's lines so far."""
    whole, _, _ = (pov / "daemon.log").read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    rows = [
        "| | clips an hour | seconds | idle while work waited | idle, each | NVML busy, each |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("one", "two"):
        found = figures[name]
        workers = found["workers"].values()
        idle = ", ".join(f"{worker['idle']:.1%}" for worker in workers)
        busy = ", ".join(f"{worker['nvml_busy']:.1%}" if "nvml_busy" in worker else "-" for worker in workers)
        waited = f"{found['idle_while_work_waited']:.2%}"
        rows.append(f"| {name} | {found['clips_an_hour']} | {found['seconds']} | {waited} | {idle} | {busy} |")
    what = f"{figures['clips']} clips of {figures['frames']} frames, {figures['size']}, {figures['steps']} steps."
    return f"{what} Two against one: {figures['ratio']} times the clips an hour.\n\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for a load, and for all the clips")
    parser.add_argument("--tiny", action="store_true", help="MODEL is the tests' tiny one; on the CPU")
    sys.exit(main(parser.parse_args()))
