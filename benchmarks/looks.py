"""What a further look of a clip costs besides generating: seconds and bytes.

    python benchmarks/looks.py [LOOKS [FRAMES]]

A clip of 1280x720 with sound, LOOKS further looks of it, and an engine that computes edge and vis as the diffusers
engine does, and copies its input (controls_alone.py). The seconds are those of each result's manifest; the bytes are
all that was ever in outputs/.povwatch at a time, counted once for each file, whatever its names. NumPy, OpenCV and PyAV
have to be there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.clips import make_clip  # noqa: E402

LOOKS, FRAMES = 20, 240
ENGINE = HERE / "controls_alone.py"

IN_ENGINE = ("control", "control, processor")
"""Seconds that the engine reports; the others are povwatch's own."""


def main(looks: int = LOOKS, frames: int = FRAMES) -> None:
    """Run the clip with its looks, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "inputs").mkdir()
        (root / "config.toml").write_text(
            f'[grace]\nperiod = "2s"\n[arrival]\nsettle = "1s"\n[engine]\nkind = "{ENGINE}:Engine"\n'
            f'[spec]\ncontrols = {{edge = 1.0, vis = 0.2}}\nvariants_max = {max(looks, 1)}\n[disk]\nreserve = "0B"\n'
        )
        clip = make_clip(root / "inputs" / "clip.mp4", frames=frames, size=(1280, 720), fps=24, audio="aac")
        povwatch = [sys.executable, "-m", "povwatch", "--config", str(root / "config.toml")]
        if looks:
            subprocess.run([*povwatch, "vary", "clip", "--seed", f"1..{looks}"], check=True, capture_output=True)
        most = 0
        with (root / "log").open("w") as log:
            began = time.monotonic()
            daemon = subprocess.Popen([*povwatch, "run", "--once"], stdout=log, stderr=log)
            while daemon.poll() is None:
                most = max(most, held(root / "outputs" / ".povwatch"))
                time.sleep(0.02)
        took = time.monotonic() - began
        manifests = [json.loads(file.read_bytes()) for file in (root / "outputs" / "clip").glob("*_aug.json")]
        print(
            f"clip      {frames} frames, {clip.stat().st_size / 1e6:.1f} MB; {len(manifests)} results in {took:.1f} s"
        )
        for stage in ("prepare", "sound", *IN_ENGINE, "finish", "check", "score"):
            of = "seconds_of_generate" if stage in IN_ENGINE else "seconds"
            found = sorted((each[of].get(stage, 0.0) for each in manifests), reverse=True)
            rest = found[1:] or [0.0]
            each = sum(rest) / len(rest)
            print(f"{stage:<18} {found[0]:.2f} s for the slowest, {each:.3f} s for each of the others")
        for key in ("edge", "vis"):
            files = [each["control_files"][key] for each in manifests if key in each.get("control_files", {})]
            computed = sum(file["computed_by"] == "this look" for file in files)
            size = max((file["size"] for file in files), default=0) / 1e6
            print(f"{key:<18} {size:.1f} MB, computed by {computed} look(s), read by {len(files) - computed}")
        print(f"private            {most / 1e6:.1f} MB in outputs/.povwatch at the most")


def held(folder: Path) -> int:
    """Bytes of the files in a folder, each counted once."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it has just gone
                status = Path(place, name).lstat()
                found[status.st_ino] = status.st_size
    return sum(found.values())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
