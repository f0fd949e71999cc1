"""What the engine generates is what diffusers' own pipeline generates, for the same control, prompt and seed.

With `exact = "pipeline"` it is the same to the bit, else but for rounding (test_step.py compares single steps).
"""

import numpy as np
import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs

torch = Deferred("torch")
run = Deferred("povwatch.engines.transfer.run")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny, controls=["edge", "vis"], exact="pipeline")[0]


@pytest.fixture
def generated(monkeypatch):
    """The frames as the model makes them, before they are encoded."""
    made = []
    pixels = run.pixels

    def kept(video):
        made.append(pixels(video))
        return made[-1]

    monkeypatch.setattr("povwatch.engines.transfer.run.pixels", kept)
    return lambda: np.concatenate(made)


@pytest.mark.parametrize(
    ("frames", "spec"),
    [
        pytest.param(6, {}, id="less than a chunk"),
        pytest.param(9, {}, id="one chunk"),
        pytest.param(15, {"num_steps": 4}, id="two chunks"),
        pytest.param(20, {"num_conditional_frames": 2}, id="three chunks, two frames carried"),
        pytest.param(11, {"num_conditional_frames": 0}, id="no frame carried"),
        pytest.param(11, {"vis": {"preset_blur_strength": "low"}}, id="blur"),
        pytest.param(
            11, {"edge": {"preset_edge_threshold": "very_low", "control_weight": 0.2}}, id="preset and weight"
        ),
        pytest.param(6, {"guidance": 1}, id="no guidance"),
        pytest.param(22, {"guidance": 0, "num_conditional_frames": 0}, id="three chunks, guidance 0, no frame carried"),
        pytest.param(22, {"guidance": 7}, id="three chunks, the most guidance"),
        pytest.param(15, {"max_frames": 11, "seed": 2**31}, id="the first frames"),
    ],
)
def test_to_the_bit(engine, tiny, tmp_path, generated, *, frames, spec) -> None:
    """The engine's frames are those of diffusers' own pipeline, bit by bit."""
    asked = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, frames), frames, **spec)
    artifact = engine.generate(asked, tiny_jobs.context(tmp_path))
    expected = tiny_jobs.reference(tiny, asked)
    np.testing.assert_array_equal(generated(), expected)
    assert expected.std(axis=0).mean() > 1  # it moves: the comparison is of something
    seen = tiny_jobs.decoded(artifact["path"])
    assert seen.shape == expected.shape
    assert tiny_jobs.rate_of(artifact["path"]) == 30
    assert abs(tiny_jobs.luma(seen) - tiny_jobs.luma(expected)).mean() < 2


def test_in_bfloat16_too(tiny, tmp_path, generated) -> None:
    """They are the same in bfloat16, too."""
    engine, _ = tiny_jobs.loaded(tiny, dtype="bfloat16", exact="pipeline")
    asked = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, 11), 11)
    engine.generate(asked, tiny_jobs.context(tmp_path))
    expected = tiny_jobs.reference(tiny, asked, dtype=torch.bfloat16)
    np.testing.assert_array_equal(generated(), expected)


@pytest.mark.parametrize(
    ("frames", "spec"),
    [
        pytest.param(15, {"num_steps": 4}, id="two chunks"),
        pytest.param(20, {"num_conditional_frames": 2, "vis": {}}, id="three chunks, two frames carried, blur"),
        pytest.param(6, {"guidance": 1}, id="no guidance"),
    ],
)
def test_but_for_rounding(tiny, tmp_path, generated, frames, spec) -> None:
    """The engine's own step changes a value by one at most, and rarely."""
    engine, capabilities = tiny_jobs.loaded(tiny, controls=["edge", "vis"])
    assert (capabilities["step"], capabilities["notes"]) == ("povwatch", [])
    asked = tiny_jobs.job(tiny_jobs.clip_of(tmp_path, frames), frames, **spec)
    engine.generate(asked, tiny_jobs.context(tmp_path))
    off = abs(generated().astype(int) - tiny_jobs.reference(tiny, asked).astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 1e-3  # float32's rounding rarely changes a value's last bit


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a green kitchen"},
        {"negative_prompt": "grain"},
        {"seed": 4},
        {"guidance": 5},
        {"num_steps": 3},
        {"edge": {"control_weight": 0.1}},
        {"edge": {"control_weight": 0.7, "preset_edge_threshold": "very_low"}},
    ],
)
def test_everything_asked_for_matters(engine, tmp_path, change) -> None:
    """Each field changes the latents by more than rounding; the tiny VAE's pictures hide most of that."""
    clip = tiny_jobs.clip_of(tmp_path, 5)
    _, (before,) = tiny_jobs.run(engine, tiny_jobs.job(clip, 5), tmp_path / "before")
    _, (after,) = tiny_jobs.run(engine, tiny_jobs.job(clip, 5, **change), tmp_path / "after")
    assert (after - before).abs().max() > 1e-4
