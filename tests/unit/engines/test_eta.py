"""What is learned from the jobs that were done."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from povwatch.core.cosmos import STEPS
from povwatch.engines.eta import Done, estimate, forecast, left, size

GPU = "NVIDIA H200"


def done(seconds: float, frames: int = 93, steps: int = 35, pixels: int = 1280 * 704, **other) -> Done:
    return Done(
        **({"engine": "diffusers", "gpu": GPU} | other), frames=frames, steps=steps, pixels=pixels, seconds=seconds
    )


def ask(history: list[Done], frames: int = 93, steps: int = 35, pixels: int = 1280 * 704, **other) -> float | None:
    return estimate(history, engine="diffusers", gpu=GPU, frames=frames, steps=steps, pixels=pixels, **other)


def test_nothing_is_known_before_the_first() -> None:
    """Without a done job of that engine on that GPU there is no estimate."""
    assert ask([]) is None
    assert ask([done(300, engine="cosmos"), done(20, gpu="NVIDIA B200")]) is None


@pytest.mark.parametrize(
    ("job", "seconds"),
    [({}, 300), ({"frames": 186}, 600), ({"steps": 7}, 60), ({"pixels": 640 * 352}, 75)],
)
def test_scales_with_frames_steps_and_pixels(job, seconds) -> None:
    assert ask([done(300)], **job) == pytest.approx(seconds)


def test_odd_job_spoils_nothing() -> None:
    """One odd job does not spoil the estimate, and the latest jobs count."""
    assert ask([done(300), done(3000), done(310)]) == pytest.approx(310)
    assert ask([done(900)] * 20 + [done(300)] * 9) == pytest.approx(300)


def test_controls_count() -> None:
    """Jobs with as many controls count first; without one, each control is 4 blocks beside the 28 of the network."""
    assert ask([done(320)], controls=4) == pytest.approx(320 * (28 + 16) / (28 + 4))
    assert ask([done(440, controls=4), done(360, controls=2)]) == pytest.approx(320)
    assert ask([done(320), done(500, controls=4)], controls=4) == pytest.approx(500)
    assert ask([done(320), done(500, controls=4)], frames=186) == pytest.approx(640)


def test_left_moves_to_the_jobs_own_pace() -> None:
    """What is left moves from the estimate to the job's own pace."""
    assert left(0, 0, None) is None
    assert left(0, 10, 300) == 290
    assert left(0.5, 100, None) == 100
    assert left(0.5, 100, 300) == pytest.approx(150)
    assert left(1.0, 100, 300) == 0
    assert left(0.1, 400, 300) == pytest.approx(0.1 * 3600)


def test_size_of_a_job() -> None:
    """A job's size is its frames, steps and pixels, as its JSON asks for them."""
    info = {"frames": 200, "display_width": 1280, "display_height": 704}
    whole = {"frames": 200, "steps": STEPS, "pixels": 1280 * 704}
    assert size(info, {}, "preview") == whole
    assert size(info, {"max_frames": None, "num_steps": 4}, "preview") == whole | {"steps": 4}
    assert size(info, {"max_frames": 93}, "preview") == whole | {"frames": 93}
    assert size(info, {"max_frames": 999}, "preview") == whole


@pytest.mark.parametrize("engine", ["cosmos", "diffusers"])
def test_model_works_on_whole_chunks(engine) -> None:
    """So a clip of 30 frames takes as long as one of 93, and one of 4K no longer than one of 720p."""

    def sized(frames: int, width: int = 1920, height: int = 1080, **spec) -> tuple[int, int]:
        found = size({"frames": frames, "display_width": width, "display_height": height}, spec, engine)
        return found["frames"], found["pixels"]

    model = 1280 * 704
    assert sized(30) == sized(93) == (93, model)
    assert sized(94) == sized(185) == (2 * 93, model)
    assert sized(200) == (3 * 93, model)
    assert sized(184, num_conditional_frames=2) == (2 * 93, model)
    assert sized(187, num_conditional_frames=0) == (3 * 93, model)
    assert sized(200, max_frames=20) == (93, model)
    assert sized(200, max_frames=1, num_video_frames_per_chunk=1) == (1, model)
    assert sized(93, 3840, 2160) == sized(93, 640, 360) == (93, model)
    assert sized(93, 1080, 1920) == (93, model)
    assert sized(93, resolution="480") == (93, 768 * 432)
    info = {"frames": 93, "display_width": 1280, "display_height": 704}
    counted = [
        size(info, spec, engine)["controls"] for spec in ({}, {"edge": {}}, {"edge": {}, "vis": {}, "seg": None})
    ]
    assert counted == [1, 1, 2]


@pytest.mark.parametrize(
    ("busy", "waiting", "found"),
    [
        ([0], [10, 20], [(0, 10), (10, 30)]),
        ([5], [10], [(5, 15)]),
        ([5, 100], [10, 10, 10], [(5, 15), (15, 25), (25, 35)]),
        ([5, 8], [10, 10, 1], [(5, 15), (8, 18), (15, 16)]),
        ([5], [None, 10], [(5, None), (None, None)]),
        ([None, 5], [None, 10], [(5, None), (None, None)]),
        ([None], [10], [(None, None)]),
        ([], [10], [(None, None)]),
    ],
)
def test_forecast_of_a_queue(busy, waiting, found) -> None:
    """A queue is forecast as far as every duration before is known."""
    assert forecast(busy, waiting) == found


def test_experience_comes_from_the_journal() -> None:
    """What was learned comes back from the journal."""
    one = done(300)
    assert Done.of({"took": "5m", "learned": asdict(one)}) == one
    assert Done.of({"took": "5m", "learned": None}) is None
    assert Done.of({"took": "5m"}) is None
