"""Draws docs/plots/*.svg and writes the tables of docs/performance.md, from benchmarks/results/*.json.

    python benchmarks/plots.py [--check]

`--check` changes nothing, and exits with 1 if a file is not what it would write. A figure that is in no result has no
bar and no row.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]

RESULTS = ROOT / "benchmarks/results"

PAGE = ROOT / "docs/performance.md"

PLOTS = ROOT / "docs/plots"

STEPS = 35

TOKENS = 24 * 44 * 80
"""Of 93 frames at 1280x704: latent frames, and rows and columns of tokens."""

WIDTH, TEXT = 2048, 512
"""Of the model, and tokens of a prompt."""

BLOCKS = 28 + 4
"""Of the transformer and the control net."""

SUSTAINED = {"bfloat16": 700e12, "FP8": 925e12}
"""Operations a second that FlashAttention-3 sustains on an H200 at its power limit, at 16 heads x 128 and 84,480
tokens: 83.5 ms and 63.2 ms."""

UPSTREAM = {"upstream, as published, H100 NVL": 502.6, "upstream, as published, H200 NVL": 374.4}
"""Average diffusion time of the base model on one GPU, edge: cosmos-transfer2.5's docs/inference.md at 2ff49d0."""

PREDICTED = {
    "diffusers": 313.1,
    "step-compiled": 244.6,
    "step-auto": 219.4,
    "step-fp8-attention": 179.6,
    "fast": 115.0,
    "fastest": 58.0,
}
"""Seconds of 35 steps as they were foretold: from a step that was tried before the engine had it, on another H200. fast
and fastest are arithmetic: so many steps of 4.83 s."""

NAMES = {
    "upstream": "upstream's package, 35 of its steps",
    "diffusers": "diffusers' modules, cuDNN",
    "step": "own step, cuDNN",
    "step-compiled": "own step, compiled, cuDNN",
    "step-auto": "own step, compiled, FlashAttention-3",
    "step-fp8-attention": "the same, attention in FP8",
    "step-fp8-feed-forward": "the same, feed-forward in FP8",
    "step-fp8": "the same, both in FP8",
    "exact": "exact, beside fast",
    "fast": "fast: 24 steps computed",
    "fastest": "fastest: 16 steps computed",
}

ORDER = list(NAMES)

COLOURS = ("#3b6ea5", "#c9803d", "#5b9a68", "#9b6a9b", "#b8a13a", "#7a7a7a", "#5fa8a8", "#b04a4a")

INK, FAINT = "#57606a", "#d0d7de"
"""Readable on a light and on a dark page."""

STAGES = ("denoise", "encode", "decode", "write", "prompt", "read")

WEIGHTS = ("guardrail", "text encoder", "vae", "transformer", "controlnet")
"""What the log says of a load while weights are loaded."""

SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Bar:
    """A bar of a plot."""

    name: str
    parts: tuple[tuple[str, float], ...]
    """Label and seconds of each part, from left to right."""
    marks: dict[str, float] = field(default_factory=dict)
    """Label and seconds of what is shown beside it."""

    @property
    def whole(self) -> float:
        """Seconds."""
        return sum(seconds for _, seconds in self.parts)


def main(*, check: bool) -> int:
    """Write every file, or only say which are not up to date; the exit status."""
    stale = []
    for path, text in files().items():
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is not up to date' if check else 'written'}")
    return 1 if check and stale else 0


def files() -> dict[Path, str]:
    """Each file that is made, and its text."""
    made = {PLOTS / "denoising.svg": svg(denoising()), PLOTS / "clip.svg": svg(clips())}
    if growth():
        made[PLOTS / "pool.svg"] = svg(growth(), unit="", line="ideal (line), clips a minute")
    text = PAGE.read_text()
    tables = {
        "denoising": denoising_table(),
        "speeds": speeds_table(),
        "controls": controls_table(),
        "clip": clip_table(),
        "idle": idle_table(),
        "memory": memory_table(),
        "pool": pool_table(),
        "starts": starts_table(),
        "split": split_table(),
    }
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = block.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
    return made | {PAGE: text}


def floor(kind: str = "bfloat16") -> float:
    """Seconds of 35 guided steps if the card did nothing but the matrix arithmetic, at the rate that it sustains."""
    attention = 4 * TOKENS**2 * WIDTH * (2 * BLOCKS - 2)  # both branches of guidance share the first of either network
    linears = 2 * TOKENS * WIDTH**2 * (4 + 2 + 8) * 2 * BLOCKS  # q, k, v, out; q and out of the prompt's; feed-forward
    prompt = 4 * TOKENS * TEXT * WIDTH * 2 * BLOCKS
    return STEPS * (attention + linears + prompt) / SUSTAINED[kind]


def result(name: str) -> dict[str, Any]:
    """A result; empty if it was not measured yet."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def measured() -> dict[str, dict[str, Any]]:
    """What was measured of 93 frames, by a name of NAMES: `seconds` of 35 steps, `times_diffusers`, `error`."""
    found: dict[str, dict[str, Any]] = {}
    if job := result("upstream-h200").get("job"):
        found["upstream"] = {"seconds": STEPS * job["seconds_a_step"]}
    for name in ("step-h200", "step-fp8-h200"):
        for row in result(name).get("rows", []):
            if row["way"] in NAMES and "seconds_of_35_steps" in row:
                kept = {"times_diffusers": row["times_diffusers"], "error": row["error_to_float32"]}
                found.setdefault(row["way"], kept | {"seconds": row["seconds_of_35_steps"]})
    for row in result("speeds-h200").get("rows", []):
        if row["frames"] == 93 and row["speed"] in NAMES and row["speed"] != "diffusers":  # noqa: PLR2004 - a chunk
            found.setdefault(row["speed"], {"seconds": row["denoise_s"], "times_diffusers": row["times_diffusers"]})
    return {name: found[name] for name in ORDER if name in found}


def denoising() -> list[Bar]:
    """35 steps in each way."""
    bars = [Bar(name, (("published", seconds),)) for name, seconds in UPSTREAM.items()]
    for name, row in measured().items():
        marks = {"predicted": PREDICTED[name]} if name in PREDICTED else {}
        bars.append(Bar(NAMES[name], (("measured", row["seconds"]),), marks))
    return [*bars, Bar("floor of exact", (("floor", floor()),))]


def denoising_table() -> str:
    """The same as a table."""
    rows = [
        [
            "way, on one H200",
            "seconds of 35 steps",
            "predicted",
            "times diffusers",
            "error to float32",
            "share that is floor",
        ]
    ]
    for name, row in measured().items():
        inexact = "fast" in name or "fp8" in name
        share = "" if inexact else f"{floor() / row['seconds']:.0%}"
        error = f"{row['error']:.1e}" if "error" in row else ""
        predicted = f"{PREDICTED[name]:.0f}" if name in PREDICTED else ""
        times = f"{row['times_diffusers']:.2f}" if "times_diffusers" in row else ""
        rows.append([NAMES[name], f"{row['seconds']:.0f}", predicted, times, error, share])
    return table(rows)


def speeds_table() -> str:
    """The difference of each speed from exact."""
    rows = [["speed", "frames", "steps computed", "latents, relative error", "PSNR, dB", "SSIM"]]
    for row in result("speeds-short-h200").get("rows", []):
        if "latents_error" in row:
            computed = f"{row['steps_computed']} of {row['steps']}"
            error, psnr = f"{row['latents_error']:.1e}", f"{row['psnr_db']:.1f}" if row["psnr_db"] else "the same"
            rows.append([row["speed"], str(row["frames"]), computed, error, psnr, f"{row['ssim']:.3f}"])
    return table(rows) if len(rows) > 1 else "Not measured yet."


def controls_table() -> str:
    """A step with several controls."""
    rows = [["controls", "seconds a step", "times one", "predicted", "with a mask", "weights, GB", "peak memory, GB"]]
    found = result("controls-h200").get("rows", [])
    masked = {row["controls"]: row for row in found if row["masked"]}
    for row in (row for row in found if not row["masked"]):
        one, number = found[0]["seconds_a_step"], row["controls"]
        predicted = (BLOCKS + 4 * (number - 1)) / BLOCKS
        other = masked.get(number, {}).get("seconds_a_step")
        cells = [str(number), f"{row['seconds_a_step']:.2f}", f"{row['seconds_a_step'] / one:.2f}", f"{predicted:.2f}"]
        cells += [f"{other:.2f}" if other else "", f"{row['weights_gb']:.1f}", f"{row['peak_memory_gb']:.1f}"]
        rows.append(cells)
    return table(rows) if len(rows) > 1 else "Not measured yet."


def clips() -> list[Bar]:
    """The whole clip through the daemon, all steps of it."""
    bars = []
    for name, way in (("daemon-pipeline-h200", "diffusers' modules"), ("daemon-h200", "exact")):
        bars += [clip(job, way) for job in result(name).get("jobs", [])]
    if split := result("split-h200"):
        one, two = (job | {"steps": split["steps"]} for job in (split["one_gpu"], split["clip"]))
        bars += [clip(one, "exact, another card"), clip(two, "exact, two of these cards")]
    return bars


def clip(job: dict[str, Any], way: str) -> Bar:
    """One clip, as if it had had all steps."""
    stages = job["stages"]
    parts = [(stage, stages.get(stage, 0.0)) for stage in STAGES] + [("score", job["seconds"].get("score", 0.0))]
    rest = sum(job["seconds"].values()) - sum(seconds for _, seconds in parts)
    parts = [(stage, seconds * (STEPS / job["steps"] if stage == "denoise" else 1)) for stage, seconds in parts]
    few = "" if job["steps"] == STEPS else f", by {job['steps']} steps"
    return Bar(f"{job['frames']} frames, {way}{few}", (*parts, ("rest", rest)))


def clip_table() -> str:
    """The same as a table."""
    bars = clips()
    names = list(dict.fromkeys(name for bar in bars for name, _ in bar.parts))
    rows = [["seconds", *(bar.name for bar in bars)]]
    rows += [[name, *(f"{dict(bar.parts).get(name, 0):.1f}" for bar in bars)] for name in names]
    return table([*rows, ["whole", *(f"{bar.whole:.0f}" for bar in bars)]])


def idle_table() -> str:
    """How long the card waits in clips that follow each other, as a part of a clip of all steps."""
    ten = result("daemon-ten-h200")
    whole = next((job["seconds"]["generate"] for job in result("daemon-h200").get("jobs", [])), None)
    if not ten or whole is None:
        return "Not measured yet."
    within = sum(job["gpu_waited_within"] for job in ten["jobs"]) / len(ten["jobs"])
    between = ten["idle_between_jobs"]
    rows = [
        [
            f"{len(ten['jobs'])} clips of 93 frames in a row",
            "seconds",
            f"share of a job of {STEPS} steps, {whole:.1f} s",
        ],
        ["between two jobs, on average", f"{between['mean_s']:.3f}", f"{between['mean_s'] / whole:.3%}"],
        ["between two jobs, at most", f"{between['most_s']:.3f}", f"{between['most_s'] / whole:.3%}"],
        ["within a job, on average", f"{within:.3f}", f"{within / whole:.3%}"],
    ]
    return table(rows)


def memory_table() -> str:
    """The whole model on the card, and low memory."""
    found = {row["asked"]: row for row in result("low-memory-h200").get("rows", [])}
    if "full" not in found or "low" not in found:
        return "Not measured yet."
    full, low = found["full"], found["low"]

    def each(name: str) -> list[str]:
        return [", ".join(f"{clip[name]:.1f}" for clip in row["clips"]) for row in (full, low)]

    rows = [
        ["", "full", "low"],
        ["clips in a row", *(str(len(row["clips"])) for row in (full, low))],
        ["seconds a step", *(f"{row['seconds_a_step']:.2f}" for row in (full, low))],
        ["times full", "1", f"{low['times_full']:.3f}"],
        ["memory that torch held at most, GB", *(f"{row['reserved_peak_gb']:.1f}" for row in (full, low))],
        ["memory of tensors at most, GB", *each("peak_gb")],
        ["a new prompt, seconds", *each("prompt")],
        ["the same latents", "", "yes, to the bit" if low["same"] else "no"],
    ]
    return table(rows)


def starts_table() -> str:
    """Seconds until the engine is ready, by what they were for."""
    starts = result("daemon-starts-h200").get("starts", [])
    if not starts:
        return "Not measured yet."
    names = {
        "libraries": "importing the libraries",
        "weights": "loading the weights",
        "compiling": "the compiler",
        "hashing": "waiting for the hashes of the model's files",
    }
    found = []
    for start in starts:
        seconds = dict(start["load_seconds"])
        whole, weights = seconds.pop("whole"), sum(seconds[part] for part in WEIGHTS)
        found.append({**seconds, "weights": weights, "whole": whole})
    rows = [
        ["seconds", "an empty cache of the compiler", *["a restart with the cache that this left"] * (len(found) - 1)]
    ]
    rows += [[words, *(f"{one[name]:.1f}" for one in found)] for name, words in names.items()]
    return table([*rows, ["until the engine is ready", *(f"{one['whole']:.1f}" for one in found)]])


def split_table() -> str:
    """A step and a clip on two GPUs, beside one."""
    split = result("split-h200")
    if not split:
        return "Not measured yet."
    first, second = (row["seconds_a_step"] for row in split["step"])
    one, two = split["one_gpu"], split["clip"]
    fast = next(row["denoise_s"] for row in result("speeds-h200")["rows"] if row["speed"] == "fast")
    rows = [
        ("a step alone, s", first, second, "0.515"),
        ("a step of the clip, s", one["seconds_a_step"], two["seconds_a_step"], "0.515"),
        (f"generating the clip, {STEPS} steps, s", one["seconds"]["generate"], two["seconds"]["generate"], "0.54"),
        ("of it denoising, s", one["stages"]["denoise"], two["stages"]["denoise"], ""),
        ("the whole clip, without scores, s", *(unscored(job) for job in (one, two)), ""),
        ("denoising with `fast`, s", fast, split["speeds"]["fast"]["stages"]["denoise"], ""),
    ]
    head = ["93 frames, 1280x704", "one H200", "two", "of it", "predicted"]
    return table([head, *([name, f"{a:.2f}", f"{b:.2f}", f"{b / a:.3f}", told] for name, a, b, told in rows)])


def unscored(job: dict[str, Any]) -> float:
    """All seconds of a clip but those of its scores, which are made beside the next clip."""
    return sum(seconds for name, seconds in job["seconds"].items() if name != "score")


def growth() -> list[Bar]:
    """Clips a minute with so many workers on other machines, and what would be ideal."""
    return [
        Bar(
            f"{run['workers']} workers",
            (("measured", 60 * run["clips_a_second"]),),
            {"ideal": 60 * run["ideal"]},
        )
        for run in result("pool-scale").get("runs", [])
    ]


def pool_table() -> str:
    """The same as a table, with what the first machine spends on it."""
    rows = [
        [
            "workers",
            "clips",
            "clips a minute",
            "of ideal",
            "daemon, of a core",
            "its memory, MB",
            "bridge, of a core",
            "its memory, MB",
        ]
    ]
    for run in result("pool-scale").get("runs", []):
        cores = [f"{run[who]:.1%}" if run[who] is not None else "" for who in ("daemon_cores", "bridge_cores")]
        sizes = [f"{run[who] / 1e6:.0f}" for who in ("daemon_bytes", "bridge_bytes")]
        rate = [f"{60 * run['clips_a_second']:.1f}", f"{run['of_ideal']:.3f}"]
        rows.append([str(run["workers"]), str(run["clips"]), *rate, cores[0], sizes[0], cores[1], sizes[1]])
    if len(rows) == 1:
        return "Not measured yet."
    return f"![Clips a minute by the number of workers](plots/pool.svg)\n\n{table(rows)}"


def table(rows: list[list[str]]) -> str:
    """A table in Markdown; the first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)


def svg(bars: list[Bar], *, unit: str = " s", line: str = "predicted (line)") -> str:
    """A plot of horizontal bars, seconds to the right, or what `unit` is; `line`: what marks are."""
    left, right, row, top = 290, 60, 30, 16
    size = 720, top + row * len(bars) + 50
    largest = max([bar.whole for bar in bars] + [seconds for bar in bars for seconds in bar.marks.values()])
    step = next(length for length in (10, 20, 50, 100, 200) if largest / length <= 8)  # noqa: PLR2004 - lines
    scale = (size[0] - left - right) / largest
    root = ET.Element("svg", xmlns=SVG, viewBox="0 0 {} {}".format(*size), width=str(size[0]))
    root.set("font-family", "sans-serif")
    root.set("font-size", "12")
    below = top + row * len(bars)

    def text(x: float, y: float, words: str, **more: str) -> None:
        element = ET.SubElement(root, "text", x=f"{x:.1f}", y=f"{y:.1f}", fill=INK, **more)
        element.text = words

    def box(x: float, y: float, wide: float, high: float, colour: str) -> None:
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{wide:.1f}", "height": f"{high:.1f}"}
        ET.SubElement(root, "rect", place, fill=colour)

    for seconds in range(0, int(largest) + 1, step):
        box(left + seconds * scale, top - 6, 1, below - top + 6, FAINT)
        text(left + seconds * scale, below + 14, f"{seconds}{unit}" if seconds else "0", **{"text-anchor": "middle"})
    colours: dict[str, str] = {}
    for number, bar in enumerate(bars):
        y, x = top + row * number, float(left)
        text(left - 8, y + 15, bar.name, **{"text-anchor": "end"})
        for label, seconds in bar.parts:
            box(x, y + 3, seconds * scale, row - 12, colours.setdefault(label, COLOURS[len(colours) % len(COLOURS)]))
            x += seconds * scale
        for seconds in bar.marks.values():
            box(left + seconds * scale - 1, y, 3, row - 6, INK)
        text(max([x, *(left + seconds * scale for seconds in bar.marks.values())]) + 6, y + 15, f"{bar.whole:.0f}")
    if any(bar.marks for bar in bars):
        colours[line] = INK
    x = min(float(left), size[0] - sum(24.0 + 6 * len(label) for label in colours))
    for label, colour in colours.items():
        box(x, below + 26, 10, 10, colour)
        text(x + 14, below + 35, label)
        x += 24 + 6 * len(label)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    sys.exit(main(check=parser.parse_args().check))
