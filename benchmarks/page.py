"""How long a page of many clips takes: to be written, and to be opened in Chromium.

    .venv/bin/python benchmarks/page.py [CLIPS]

Each clip has one look, a prompt of its own, five scores and a picture. Needs chromium and what the tests need.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from PIL import Image  # noqa: E402
from support.browser import Browser  # noqa: E402 - found by the line above

from povwatch.core.job import Job, JobState  # noqa: E402
from povwatch.page.cards import as_text, describe  # noqa: E402
from povwatch.page.files import Contents, Row, write_page  # noqa: E402

SCORES = ("edge_f1", "blur_ssim", "invented_motion", "temporal_residual", "colour_drift")


def contents(clips: int, outputs: Path) -> Contents:
    """A page of so many clips."""
    draw = random.Random(7)  # noqa: S311 - the same page each time
    texts: dict[str, int] = {}
    cards, rows = [], []
    source = json.dumps({"frames": 300, "display_width": 1280, "display_height": 720, "rate": "30/1", "duration": 10.0})
    Image.effect_noise((482, 180), 60).convert("RGB").save(outputs / "p.jpg", quality=82)
    for number in range(clips):
        path = b"folder_%02d/clip_%05d.mp4" % (number % 40, number)
        spec = {
            "prompt": f"A hand takes object {number} from a table, in soft light. " * 6,
            "negative_prompt": "x" * 400,
        }
        job = Job(id=number + 1, path=path, base=path[10:-4], state=JobState.DONE, source_info=source, created_at=1e9)
        said = describe(job, [], 1e9) | {"spec": spec, "scores": {name: round(draw.random(), 4) for name in SCORES}}
        said |= {"picture": "./p.jpg", "views": [{"what": "result", "at": f"./{number}.mp4", "codec": "h264"}]}
        cards.append(as_text(said, texts))
        rows.append(Row(path.decode(), "done", "", f"./{number}.mp4"))
    return Contents("Benchmark", cards, list(texts), rows, 0, "1", 1e9)


def main() -> None:
    """Measure, and print."""
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    folder = Path(tempfile.mkdtemp(prefix="page-"))
    outputs = folder / "outputs"
    outputs.mkdir()
    made = contents(clips, outputs)
    begun, cpu = time.monotonic(), time.process_time()
    write_page(None, outputs, made, {"revision": "1", "running": {}, "queue": [], "at": 1e9})
    wall, processor = time.monotonic() - begun, time.process_time() - cpu
    print(f"{clips} clips: written in {wall:.2f} s, {processor:.2f} s of processor time")
    print(f"data.js: {(outputs / 'index_files/data.js').stat().st_size / 1e6:.1f} MB")
    with Browser(folder / "profile") as browser:
        browser.look(1440, 900)
        for turn in ("first", "second", "third"):
            browser.open(outputs / "index.html")
            browser.until(
                "performance.getEntriesByName('povwatch-ready').length > 0 && !!document.querySelector('.card')"
            )
            ready = browser.do("performance.getEntriesByName('povwatch-ready')[0].startTime")
            print(f"{turn} opening: interactive after {ready:.0f} ms")
        for what, choice in (
            ("search", "{text: 'clip_0005'}"),
            ("worst edge F1 first", "{text: '', order: 'edge_f1 worst'}"),
        ):
            took = browser.do(
                f"(() => {{ const t = performance.now(); povwatch.choose({choice});"
                " document.body.offsetHeight; return performance.now() - t; })()"
            )
            print(f"{what}: {took:.0f} ms")
        filled = browser.do("document.querySelectorAll('.card').length")
        print(f"cards made: {filled} of {clips}")
    print(f"children's processor time: {sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]):.1f} s")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
