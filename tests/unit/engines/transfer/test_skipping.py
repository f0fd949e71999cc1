"""Which steps a speed computes, and what the others take."""

import json
from pathlib import Path

import pytest

from povwatch.core.speed import SPEEDS
from povwatch.engines.transfer.approximated import MEASURED, UNSEEN, approximated
from povwatch.engines.transfer.skipping import FEWEST, RULES, Compute, Velocities, describe, schedule

LETTERS = {Compute.ALL: "A", Compute.PROMPT: "p", Compute.NOTHING: "."}


def drawn(speed, steps, *, guided=True):
    return "".join(LETTERS[one] for one in schedule(speed, steps, guided=guided))


@pytest.mark.parametrize(
    ("speed", "steps", "expected"),
    [
        ("exact", 35, "A" * 35),
        ("fast", 35, "AAAAAAA.A.A.A.A.A.A.A.A.A.A.AAAAAAA"),
        ("fast", 20, "AAAAAAA.A.A.A.AAAAAA"),
        ("fast", 5, "AAAAA"),
        ("fast", 1, "A"),
        ("fastest", 35, "AAAA..p..A..p..A..p..A..p..A..p.ApA"),
        ("fastest", 20, "AAAA..p..A..p..A.pAp"),
        ("fastest", 5, "AAAAA"),
        ("fastest", 1, "A"),
    ],
)
def test_steps_computed(speed, steps, expected) -> None:
    assert drawn(speed, steps) == expected


@pytest.mark.parametrize("speed", RULES)
def test_any_number_of_steps(speed) -> None:
    """Both ends are computed whole or in part, a skipped step has two before it, and short jobs have none."""
    rule = RULES[speed]
    for steps in range(1, 121):
        found = drawn(speed, steps)
        assert len(found) == steps
        assert found.startswith("A" * min(rule.first, steps))
        assert "." not in found[-min(rule.last, steps) :]
        assert ("." in found) == (steps >= FEWEST)
        assert found.count(".") <= steps * rule.skipped / (rule.skipped + 1)
        assert "." * (rule.skipped + 1) not in found
        assert drawn(speed, steps, guided=False) == found.replace("p", "A")


def test_speeds_are_in_order() -> None:
    """A faster one never computes more."""
    for steps in range(1, 121):
        work = [sum({"A": 2, "p": 1, ".": 0}[one] for one in drawn(speed, steps)) for speed in SPEEDS]
        assert work == sorted(work, reverse=True)


def test_line_through_the_last_two() -> None:
    """A velocity linear in sigma is met exactly, from whichever two are the last."""
    known = Velocities()
    for sigma in (1.0, 0.9, 0.7):
        known.add(sigma, 5 - 3 * sigma)
    assert known.at(0.4) == pytest.approx(5 - 3 * 0.4)
    known.add(0.4, 0.0)
    assert known.at(0.4) == 0.0
    assert known.at(0.1) == pytest.approx(-2.9)


def test_told_what_is_approximated() -> None:
    """A manifest says what was left out, and that the pictures were not judged."""
    found = approximated("fastest", schedule("fastest", 35, guided=True), attention="FA3 in FP8", feed_forward=True)
    assert (found["steps"], found["steps_computed"], found["steps_with_prompt_alone"]) == (35, 16, 6)
    assert found["what"].startswith("16 of 35 steps are computed, and the others' velocity follows from those before")
    assert "attention and feed-forward are in FP8" in found["what"]
    assert UNSEEN in found["what"]


def test_difference_told_is_the_measured_one() -> None:
    """What manifests say of the difference from exact is what benchmarks/speeds.py found."""
    text = Path(__file__).parents[4].joinpath("benchmarks/results/speeds-short-h200.json").read_text()
    found = {row["speed"]: row for row in json.loads(text)["rows"] if "latents_error" in row}
    assert {
        speed: f"latents {100 * row['latents_error']:.1f} % off, frames PSNR {row['psnr_db']:.0f} dB, "
        f"SSIM {row['ssim']:.3f}"
        for speed, row in found.items()
    } == MEASURED


def test_short_job_is_told() -> None:
    """A distilled model's four steps are all computed, and this is said."""
    assert describe("fast", schedule("fast", 4, guided=False)).startswith("all 4 steps are computed")
    assert describe("exact", schedule("exact", 35, guided=True)) == ""
