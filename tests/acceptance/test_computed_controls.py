"""Depth and segments, computed by tiny models of the real classes for the tiny engine, in the whole daemon."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support import tiny_needs
from support.clips import make_clip, read_times, upright_frames
from support.tiny_daemon import Tiny

tiny_needs.skip_without()

pytestmark = pytest.mark.timeout(300)

TIMES = [0, 40, 70, 130, 150]
"""Milliseconds of the frames of an uneven clip."""

SIZE = (75, 45)


@pytest.fixture(scope="module")
def here(tiny, tmp_path_factory):
    """One daemon for all, with an uneven clip of odd size whose depth is kept to."""
    with Tiny(tmp_path_factory.mktemp("computed") / "pov", tiny, controls=["edge", "depth", "seg"]) as daemon:
        daemon.env |= {"HF_HOME": str(tiny.parent / "annotators"), "POVWATCH_PUBLISH__KEEP_CONTROLS": "true"}
        ask(daemon, "deep.mp4", depth={})
        daemon.start("--verbose")
        daemon.done("deep.mp4")
        yield daemon


def ask(here, name, **fields):
    made = here.folder / "uneven.mp4"
    if not made.exists():
        make_clip(made, frames=len(TIMES), size=SIZE, times=TIMES, time_base=Fraction(1, 1000), pix_fmt="yuv444p")
    here.ask_for(name, made=made, **fields)


def control(here, name, key):
    return here.outputs / name / f"{name}_aug_control_{key}.mp4"


def test_depth_of_an_uneven_clip(here) -> None:
    """A depth that the JSON does not give is computed, guides the clip, is published with its times, and on record."""
    manifest = here.done("deep.mp4")
    assert manifest["controls"] == {"edge": 0.7, "depth": 1.0}
    made = manifest["control_files"]["depth"]
    assert (made["frames"], made["width"], made["height"], made["device"]) == (5, 76, 46, "cpu")
    assert list(made["models"]) == ["depth-anything/Depth-Anything-V2-Small-hf"]
    assert len(made["sha256"]) == 64
    shown = np.stack(list(upright_frames(control(here, "deep", "depth"))))
    assert shown.shape == (5, SIZE[1], SIZE[0], 3)
    assert shown.max() - shown.min() > 100
    assert read_times(control(here, "deep", "depth")) == [Fraction(time, 1000) for time in TIMES]
    (line,) = here.events("control-computed", clip="deep.mp4")
    assert line["key"] == "depth"


def test_segments_of_a_prompt(here) -> None:
    """What a prompt names becomes segments, beside the depth."""
    ask(here, "cut.mp4", depth={"control_weight": 0.2}, seg={"control_prompt": "hands cup"})
    manifest = here.done("cut.mp4")
    assert manifest["control_files"]["seg"]["prompt"] == "hands cup"
    assert manifest["control_files"]["seg"]["objects"] > 0
    assert manifest["control_files"]["depth"]["sha256"] == here.done("deep.mp4")["control_files"]["depth"]["sha256"]
    shown = np.stack(list(upright_frames(control(here, "cut", "seg"))))
    assert shown.shape == (5, SIZE[1], SIZE[0], 3)
    assert not np.array_equal(here.pictures("cut.mp4"), here.pictures("deep.mp4"))


def test_once_for_two_looks(here) -> None:
    """Two looks of a clip have one depth: one computes it, and the other takes it."""
    (here.inputs / "pair.hold").touch()
    ask(here, "pair.mp4", depth={})
    (here.inputs / "pair.night.json").write_text((here.inputs / "pair.json").read_text())
    here.wait_for("joined", clip="pair.mp4@night")
    (here.inputs / "pair.hold").unlink()
    looks = [here.done("pair.mp4"), here.done("pair.mp4@night", stem="pair", kind="night_aug")]
    own, other = (manifest["control_files"]["depth"] for manifest in looks)
    assert own["sha256"] == other["sha256"]
    assert {own["computed_by"], other["computed_by"]} == {"this look", "another look"}
    computed = [line for line in here.events("control-computed") if line["clip"].startswith("pair.mp4")]
    assert len(computed) == 1


def test_once_for_two_seeds(here) -> None:
    """The seeds of a clip have one depth and one edge: the first computes them, and the second takes them."""
    ask(here, "best.mp4", depth={}, edge={}, povwatch={"best_of": 2, "by": "blur_ssim"})
    manifest = here.done("best.mp4")
    assert [one["seed"] for one in manifest["quality"]["tries"]] == [3, 4]
    by = "this look" if manifest["seed"] == 3 else "an earlier seed"
    assert {key: made["computed_by"] for key, made in manifest["control_files"].items()} == {"edge": by, "depth": by}
    assert [line["key"] for line in here.events("control-computed", clip="best.mp4")] == ["depth"]
    taken = here.events("control-taken", clip="best.mp4")
    assert {(line["key"], line["by"]) for line in taken} == {("edge", "an earlier seed"), ("depth", "an earlier seed")}
