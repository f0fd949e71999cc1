"""The diffusers engine's memory, which must not grow with a clip's length: the tests' tiny model on the CPU.

    .venv-diffusers/bin/python benchmarks/long_clips.py [--frames 200,2000,6000]

6,000 frames take two minutes on two cores. Each length gets a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

CHUNK = 93


def measure(model: Path, frames: int) -> None:
    """Generate one clip and print the process's memory at its peak."""
    from support import tiny_jobs  # noqa: PLC0415 - loads torch, which only the measured process needs

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = tiny_jobs.clip_of(folder, frames)
        engine, _ = tiny_jobs.loaded(model, chunk_frames=CHUNK)
        began = time.monotonic()
        artifact = engine.generate(tiny_jobs.job(clip, frames, num_steps=1), tiny_jobs.context(folder))
        took = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{frames:6} frames  {artifact['chunks']:3} chunks  {took:6.1f} s  peak {peak:.0f} MB", flush=True)


def main(lengths: str) -> None:
    """Build the model, then measure each length."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(
            [sys.executable, ROOT / "tests/support/tiny_model.py", name], check=True, env={"PYTHONPATH": str(ROOT)}
        )
        for frames in lengths.split(","):
            subprocess.run([sys.executable, __file__, "--model", name, "--frames", frames], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", default="200,2000,6000")
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.model:
        measure(asked.model, int(asked.frames))
    else:
        main(asked.frames)
