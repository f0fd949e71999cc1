"""What a further look of a clip costs besides generating: seconds and bytes.

    python benchmarks/looks.py [LOOKS [FRAMES]]

A clip of 1280x720 with sound, LOOKS further looks of it, and an engine that only copies its input. The seconds are
those of each result's manifest; the bytes are all that was ever in outputs/.povwatch at a time, counted once for each
file, whatever its names.
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
ENGINE = HERE.parent / "tests" / "engines" / "real.py"


def main(looks: int = LOOKS, frames: int = FRAMES) -> None:
    """Run the clip with its looks, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "inputs").mkdir()
        (root / "config.toml").write_text(
            f'[grace]\nperiod = "2s"\n[arrival]\nsettle = "1s"\n[engine]\nkind = "{ENGINE}:Engine"\n'
            f'[spec]\nvariants_max = {max(looks, 1)}\n[disk]\nreserve = "0B"\n'
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
        for stage in ("prepare", "sound", "finish", "check"):
            found = sorted((each["seconds"].get(stage, 0.0) for each in manifests), reverse=True)
            rest = found[1:] or [0.0]
            print(f"{stage:<9} {found[0]:.2f} s for the slowest, {sum(rest) / len(rest):.3f} s for each of the others")
        print(f"private   {most / 1e6:.1f} MB in outputs/.povwatch at the most")


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
