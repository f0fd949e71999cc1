"""The cosmos engine on upstream's own package, on one GPU or on several that do one job together.

    python benchmarks/bench_upstream.py FOLDER --python PYTHON --cache HF_HOME [--steps 5] [--size 1280x704]
        [--resolution 720] [--frames 93] [--long 200] [--gpus 1] [--parts job,cancel,kill,whole]
        [--after FILE] [--diffusers FIGURES.json]

PYTHON is the interpreter of upstream's environment, HF_HOME a cache that tests/upstream_real/make_checkpoints.py wrote.
FOLDER gets the clips, the jobs' folders, figures.json and figures.md. With --diffusers it shows what bench_daemon.py
measured of the diffusers engine beside it. benchmarks/upstream_h200.sh does all of it.
The parts are done in the order given: a job and the same job again; a job that is cancelled in its second chunk; one
whose worker is killed there, and which is resumed; and the same job whole, to compare it with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from latents import difference

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.clips import make_clip
from support.cosmos_jobs import ENGINE, job
from support.supervising import Loop

from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.states import SupervisorState

FPS = 24

PATIENCE = 3600.0

LIMITS = {"load": PATIENCE, "stall": PATIENCE, "heartbeat": 300.0}

STEPS = 2
"""Steps of the jobs that are cancelled, killed and done whole."""

ENDS = (protocol.Generated, events.JobFailed, events.JobCancelled, events.WorkerLost)


class Bench:
    """One worker, and jobs for it."""

    def __init__(self, loop: Loop, folder: Path, asked: argparse.Namespace) -> None:
        self.loop, self.folder, self.asked = loop, folder, asked
        self.size = tuple(map(int, asked.size.split("x")))
        self.count = 0

    def clip(self, frames: int) -> Path:
        """A clip of so many frames."""
        clip = self.folder / f"{frames}.mp4"
        if not clip.exists():
            make_clip(clip, frames=frames, size=(self.size[0], self.size[1]), fps=FPS)
        return clip

    def begin(self, frames: int, steps: int, chunks: str) -> str:
        """Begin a job on a clip of so many frames, whose finished chunks are kept in a folder of that name."""
        self.count += 1
        clip = self.clip(frames)
        workdir = self.folder / f"work-{self.count}"
        workdir.mkdir()
        wanted = job(clip, frames, size=self.size, num_steps=steps, resolution=self.asked.resolution)
        self.loop.forget()
        run_id = f"r{self.count}"
        self.loop.supervisor.generate(protocol.Generate(wanted, run_id, str(workdir), str(self.folder / chunks)))
        return run_id

    def end(self) -> events.Event:
        """How the job ended."""
        return self.loop.until(ENDS, within=PATIENCE)

    def made(self, frames: int, steps: int, chunks: str) -> dict[str, Any]:
        """The artifact of a job."""
        self.begin(frames, steps, chunks)
        end = self.end()
        assert isinstance(end, protocol.Generated), end
        artifact: dict[str, Any] = end.artifact
        return artifact

    def until_in(self, chunk: int) -> None:
        """Wait until a chunk is past its first step."""

        def there() -> list[protocol.Progress] | None:
            seen = [p for p in self.loop.of(protocol.Progress) if (p.chunk, p.stage) == (chunk, "denoise") and p.step]
            assert not any(isinstance(event, ENDS) for event in self.loop.events), self.loop.events[-3:]
            return seen or None

        self.loop._run(there, f"chunk {chunk}", PATIENCE)  # noqa: SLF001 - the tests' loop

    def ready(self) -> float:
        """Wait until the worker is ready; the seconds that it took."""
        began = time.monotonic()
        self.loop.until_state(SupervisorState.READY, within=PATIENCE)
        return time.monotonic() - began


def main(asked: argparse.Namespace) -> int:
    """Measure, and write the figures down; the exit status."""
    folder = Path(asked.folder).resolve()
    shutil.rmtree(folder / "run", ignore_errors=True)
    run = folder / "run"
    run.mkdir(parents=True)
    config, env = settings(run, asked.cache, asked.gpus)
    name = "figures" if asked.gpus == 1 else f"figures_{asked.gpus}_gpus"
    figures: dict[str, Any] = {}
    try:
        with Loop(ENGINE, python=asked.python, config=config, env=env, **LIMITS) as loop:
            loop.start()
            loaded = loop.until((events.EngineLoaded, events.EngineUnavailable), within=PATIENCE)
            assert isinstance(loaded, events.EngineLoaded), loaded
            figures |= {
                "about": {key: loaded.capabilities.get(key) for key in ("gpu", "gpus", "torch", "cuda", "version")},
                "steps": asked.steps,
                "size": asked.size,
                "resolution": asked.resolution,
                "load_seconds": round(loaded.seconds, 1),
            }
            bench = Bench(loop, run, asked)
            if asked.after:
                loop._run(lambda: Path(asked.after).exists() or None, asked.after, PATIENCE)  # noqa: SLF001
            for part in asked.parts.split(","):
                PARTS[part](bench, figures)
        if asked.diffusers:
            figures["diffusers"] = json.loads(Path(asked.diffusers).read_text())
    finally:
        if figures:  # also what was measured until it was stopped
            (folder / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / f"{name}.md").write_text(as_markdown(figures))
    print((folder / f"{name}.md").read_text())
    return 0


def settings(folder: Path, cache: str, gpus: int) -> tuple[dict[str, Any], dict[str, str]]:
    """A worker's configuration and variables; it writes into the folder as it loads."""
    config = {"controls": ["edge"], "guardrails": False, "output_dir": str(folder / "load"), "gpus_per_worker": gpus}
    return config, {"HF_HOME": cache, "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder)}


def measure_job(bench: Bench, found: dict[str, Any]) -> None:
    """A job, and the same job again."""
    asked, loop = bench.asked, bench.loop
    first = bench.made(asked.frames, asked.steps, "first")
    between = time.monotonic()
    bench.begin(asked.frames, asked.steps, "second")
    loop._run(lambda: loop.of(protocol.Progress) or None, "the next job", PATIENCE)  # noqa: SLF001
    found["idle_between_jobs_seconds"] = round(time.monotonic() - between, 3)
    second = bench.end()
    assert isinstance(second, protocol.Generated), second
    found["job"] = facts(second.artifact)
    found["first_job"] = facts(first)
    latents = {name: _latents(bench.folder / name) for name in ("first", "second")}
    found["second_job_has_the_same_latents"] = latents["first"] == latents["second"]
    found["result_is_the_same_file"] = _bytes(first) == _bytes(second.artifact)


def measure_cancel(bench: Bench, found: dict[str, Any]) -> None:
    """A job that is cancelled in its second chunk."""
    run_id = bench.begin(bench.asked.long, STEPS, "cancelled")
    bench.until_in(1)
    began = time.monotonic()
    bench.loop.supervisor.cancel(run_id, "measured")
    end = bench.end()
    assert isinstance(end, events.JobCancelled), end
    found["cancel_seconds"] = round(time.monotonic() - began, 2)


def measure_kill(bench: Bench, found: dict[str, Any]) -> None:
    """A job whose worker, or another rank of it, is killed in its second chunk; it is resumed in the next worker."""
    asked, pid = bench.asked, bench.loop.supervisor.pid
    assert pid is not None
    bench.begin(asked.long, STEPS, "killed")
    bench.until_in(1)
    victim = pid if asked.gpus == 1 else next(one for one in ranks(pid) if one != pid)
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    end = bench.end()
    assert isinstance(end, events.WorkerLost), end
    found["killed"] = {"who": "the worker" if victim == pid else "another rank", "told": str(end.error)}
    found["killed"]["told_after_seconds"] = round(time.monotonic() - began, 2)
    found["killed"]["ready_again_seconds"] = round(bench.ready(), 1)
    resumed = bench.made(asked.long, STEPS, "killed")
    found["killed"] |= facts(resumed) | {"path": resumed["path"]}


def measure_whole(bench: Bench, found: dict[str, Any]) -> None:
    """The job that was killed, now whole; after `kill`."""
    whole = bench.made(bench.asked.long, STEPS, "whole")
    found["whole"] = facts(whole)
    kept, made = (bench.folder / name for name in ("killed", "whole"))
    killed = found["killed"]
    killed["latents_as_if_never_killed"] = _latents(kept) == _latents(made)
    killed["difference"] = {file.name: difference(file, made / file.name) for file in sorted(kept.iterdir())}
    killed["file_as_if_never_killed"] = _bytes(killed) == _bytes(whole)


PARTS = {"job": measure_job, "cancel": measure_cancel, "kill": measure_kill, "whole": measure_whole}


def facts(artifact: dict[str, Any]) -> dict[str, Any]:
    """What one job took."""
    seconds, made = artifact["seconds"], artifact["chunks"] - artifact["chunks_resumed"]
    return {
        "frames": artifact["frames"],
        "chunks": artifact["chunks"],
        "chunks_resumed": artifact["chunks_resumed"],
        "seconds": seconds,
        "seconds_a_step": round(seconds["denoise"] / made / artifact["num_steps"], 3),
        "peak_memory_gb": round((artifact["peak_memory"] or 0) / 1e9, 2),
    }


def ranks(leader: int) -> list[int]:
    """The processes of a worker's group that are workers themselves."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                group = int((entry / "stat").read_text().rpartition(")")[2].split()[2])
                command = (entry / "cmdline").read_bytes()
            except OSError:  # gone meanwhile
                continue
            if group == leader and b"worker.py" in command:
                found.append(int(entry.name))
    return sorted(found)


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table: upstream's package, and the diffusers engine where it was measured too."""
    killed, beside = figures.get("killed", {}), figures.get("diffusers")
    job = figures.get("job") or figures.get("whole") or killed
    other = beside["jobs"][0] if beside else None
    stages = list(job["seconds"]) + [stage for stage in (other or {}).get("stages", {}) if stage not in job["seconds"]]
    rows: list[tuple[str, Any, Any]] = [
        ("load", f"{figures['load_seconds']} s", ", ".join(beside["load"]) if beside else None),
        ("chunks made", job["chunks"] - job["chunks_resumed"], other and other["chunks"]),
        *((f"{stage}, s", job["seconds"].get(stage), other and other["stages"].get(stage)) for stage in stages),
        ("seconds a step", job["seconds_a_step"], other and other["seconds_a_step"]),
        ("peak memory, GB", job["peak_memory_gb"], other and other["peak_memory_gb"]),
        ("from one job's end to the next one's start, s", figures.get("idle_between_jobs_seconds"), None),
        ("cancelled in chunk 2: left after, s", figures.get("cancel_seconds"), None),
        (f"kill -9 of {killed.get('who')} in chunk 2: ready again after, s", killed.get("ready_again_seconds"), None),
        ("chunks taken over", killed and f"{killed['chunks_resumed']} of {killed['chunks']}", None),
        ("latents as if never killed", killed.get("latents_as_if_never_killed"), None),
        ("file as if never killed", killed.get("file_as_if_never_killed"), None),
        ("the same job again: the same latents", figures.get("second_job_has_the_same_latents"), None),
        ("the same job again: the same file", figures.get("result_is_the_same_file"), None),
    ]
    rows = [row for row in rows if row[1:] != (None, None)]
    about = ", ".join(f"{name} {value}" for name, value in figures["about"].items() if value)
    words = f"{about}. {figures['size']}, resolution {figures['resolution']}, {figures['steps']} steps.\n\n"
    table = [["", "cosmos (upstream's package)", "diffusers"], ["---"] * 3, *map(list, rows)]
    lines = (f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |" for row in table)
    return words + "\n".join(lines) + "\n"


def _latents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def _bytes(artifact: dict[str, Any]) -> bytes:
    return Path(artifact["path"]).read_bytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--python", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--size", default="1280x704")
    parser.add_argument("--resolution", default="720")
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--long", type=int, default=200, help="frames of the clip that is cancelled and killed")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--parts", default="job,cancel,kill,whole")
    parser.add_argument("--after", default="", help="begin with the parts once this file is there")
    parser.add_argument("--diffusers", default="", help="figures.json of bench_daemon.py")
    sys.exit(main(parser.parse_args()))
