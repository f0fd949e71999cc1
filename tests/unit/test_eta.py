"""What is learned from the jobs that were done."""

from __future__ import annotations

import pytest

from povwatch.eta import Done, estimate, left

GPU = "NVIDIA H200"


def done(seconds: float, frames: int = 93, steps: int = 35, pixels: int = 1280 * 704, **other) -> Done:
    return Done(
        **({"engine": "diffusers", "gpu": GPU} | other), frames=frames, steps=steps, pixels=pixels, seconds=seconds
    )


def ask(history: list[Done], frames: int = 93, steps: int = 35, pixels: int = 1280 * 704) -> float | None:
    return estimate(history, engine="diffusers", gpu=GPU, frames=frames, steps=steps, pixels=pixels)


def test_nothing_is_known_before_the_first_job() -> None:
    assert ask([]) is None
    assert ask([done(300, engine="cosmos"), done(20, gpu="NVIDIA B200")]) is None


@pytest.mark.parametrize(
    ("job", "seconds"),
    [({}, 300), ({"frames": 186}, 600), ({"steps": 7}, 60), ({"pixels": 640 * 352}, 75)],
)
def test_it_scales_with_frames_steps_and_pixels(job, seconds) -> None:
    assert ask([done(300)], **job) == pytest.approx(seconds)


def test_one_odd_job_does_not_spoil_it_and_the_latest_count() -> None:
    assert ask([done(300), done(3000), done(310)]) == pytest.approx(310)
    assert ask([done(900)] * 20 + [done(300)] * 9) == pytest.approx(300)


def test_what_is_left_moves_from_experience_to_the_job_itself() -> None:
    assert left(0, 0, None) is None
    assert left(0, 10, 300) == 290
    assert left(0.5, 100, None) == 100
    assert left(0.5, 100, 300) == pytest.approx(150)
    assert left(1.0, 100, 300) == 0
    assert left(0.1, 400, 300) == pytest.approx(0.1 * 3600)
