"""Whether two workers of the cosmos engine give the same latents, on upstream's own package.

    python benchmarks/two_workers.py FOLDER --python PYTHON --cache HF_HOME [--size 1280x704] [--resolution 720]
        [--long 120] [--steps 2] [--gpus 0,1] [--ways by_rule,by_time]

PYTHON and HF_HOME are as for bench_upstream.py. Two fresh workers do the first chunk of one job with cuDNN's
convolutions chosen by its rules, as povwatch has it (by_rule), and two others with those chosen by time, as upstream
has it (by_time). They have to be others: torch keeps what was chosen for a shape, and chooses it no second time.
With --gpus 0,0 both workers are loaded on one GPU, which needs memory for two, and do their jobs one after the other.
FOLDER gets the latents and two_workers.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench_upstream import LIMITS, PATIENCE, Bench, settings
from latents import difference
from support.cosmos_jobs import job
from support.supervising import Loop

from povwatch.process import protocol
from povwatch.workers import events

ENGINE = f"{Path(__file__).with_name('timed_convolutions.py')}:Engine"

CHUNK = "cosmos-0000.safetensors"

POLL = 0.05
"""Seconds between two looks at the workers."""


def main(asked: argparse.Namespace) -> int:
    """Measure, and write the figures down; the exit status."""
    folder = Path(asked.folder).resolve() / "two_workers"
    shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, Any] = {}
    for name in asked.ways.split(","):
        with ExitStack() as stack:
            benches = loaded(stack, folder / name, asked)
            seconds = []
            for together in [benches] if len({*asked.gpus.split(",")}) > 1 else [[bench] for bench in benches]:
                for bench in together:
                    begin(bench, timed=name == "by_time")
                seconds += stages(together)
        one, other = (bench.folder / "chunks" / CHUNK for bench in benches)
        found[name] = {"same": one.read_bytes() == other.read_bytes(), "difference": difference(one, other)}
        found[name] |= {"seconds": seconds}
        (folder / "two_workers.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0


def loaded(stack: ExitStack, folder: Path, asked: argparse.Namespace) -> list[Bench]:
    """Two workers that have loaded the model; each has a folder of its own."""
    benches = []
    for number, gpu in enumerate(asked.gpus.split(",")):
        place = folder / str(number)
        place.mkdir(parents=True)
        config, env = settings(place, asked.cache, 1)
        env |= {"CUDA_VISIBLE_DEVICES": gpu}
        loop = stack.enter_context(Loop(ENGINE, python=asked.python, config=config, env=env, **LIMITS))
        loop.start()
        benches.append(Bench(loop, place, asked))
    for bench in benches:
        end = bench.loop.until((events.EngineLoaded, events.EngineUnavailable), within=PATIENCE)
        assert isinstance(end, events.EngineLoaded), end
    return benches


def begin(bench: Bench, *, timed: bool) -> None:
    """Begin the job."""
    clip, frames = bench.clip(bench.asked.long), bench.asked.long
    work, chunks = bench.folder / "work", bench.folder / "chunks"
    work.mkdir()
    wanted = job(clip, frames, size=bench.size, num_steps=bench.asked.steps, resolution=bench.asked.resolution)
    bench.loop.forget()
    request = protocol.Generate(wanted | {"timed": timed}, "bench", str(work), str(chunks))
    bench.loop.supervisor.generate(request)


def stages(benches: list[Bench]) -> list[dict[str, float]]:
    """The seconds of the first chunk's stages, for each worker; the jobs are left after them."""
    began: list[dict[str, float]] = [{} for _ in benches]
    while not all("over" in times for times in began):
        time.sleep(POLL)
        for bench, times in zip(benches, began, strict=True):
            bench.loop.poll()
            for progress in bench.loop.of(protocol.Progress):
                times.setdefault("over" if progress.chunk else progress.stage, time.monotonic())
            assert not bench.loop.of((events.JobFailed, events.WorkerLost)), bench.loop.events[-3:]
    for bench in benches:
        bench.loop.supervisor.cancel(bench.loop.of(protocol.Progress)[0].run_id, "measured")
        bench.loop.until(events.JobCancelled, within=PATIENCE)
    return [{one: round(times[after] - times[one], 2) for one, after in pairwise(times)} for times in began]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--python", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--resolution", default="720")
    parser.add_argument("--long", type=int, default=120, help="frames of the clip; more than one chunk")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--ways", default="by_rule,by_time", help="how cuDNN chooses, one after the other")
    parser.add_argument("--gpus", default="0,1", help="the GPU of each worker; the same one twice: in turn")
    sys.exit(main(parser.parse_args()))
