"""A job's speed: what the engine computes of it, tells of it and keeps of it."""

import numpy as np
import pytest
from support import tiny_jobs, tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

attention = Deferred("povwatch.engines.transfer.attention")
fp8 = Deferred("povwatch.engines.transfer.fp8")

from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer.request import read
from povwatch.engines.transfer.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

STEPS = 16


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny)[0]


def asked(clip, speed, **spec):
    return tiny_jobs.job(clip, 15, num_steps=STEPS, **spec) | ({"speed": speed} if speed else {})


def run(engine, job, folder, **options):
    folder.mkdir(exist_ok=True)
    artifact = engine.generate(job, tiny_jobs.context(folder, **options))
    return artifact, tiny_jobs.decoded(artifact["path"]).astype(float)


@pytest.fixture
def counted(engine, monkeypatch):
    """The number of prompts of each step that is computed."""
    step, found = engine._loaded.model.step, []
    compute = step.velocities

    def count(latents, moment, conditions, contexts):
        found.append(len(contexts))
        return compute(latents, moment, conditions, contexts)

    monkeypatch.setattr(step, "velocities", count)
    return found


def test_fewer_steps_are_computed(engine, counted, tmp_path) -> None:
    """The first chunk and the next leave out the same steps, the artifact says which, and the pictures are alike."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    exact, expected = run(engine, asked(clip, None), tmp_path / "exact")
    assert counted == [2] * 2 * STEPS
    assert exact["speed"] == "exact"
    assert "approximated" not in exact
    counted.clear()
    artifact, found = run(engine, asked(clip, "fastest"), tmp_path / "fastest")
    assert counted == 2 * [2, 2, 2, 2, 1, 2, 1, 2, 1, 2]
    assert artifact["speed"] == "fastest"
    told = artifact["approximated"]
    assert (told["steps"], told["steps_computed"], told["steps_with_prompt_alone"]) == (STEPS, 10, 3)
    assert (told["attention"], told["feed_forward"]) == (None, None)
    assert [note for note in artifact["notes"] if "FP8" in note] == ["FP8 is not used: the engine computes on a CPU."]
    assert 0 < np.abs(found - expected).mean() < 20


def test_resumed_is_what_it_would_have_been(engine, tmp_path) -> None:
    """Only a job of the same speed takes a kept chunk over, and its next chunk is the one of an undisturbed run."""
    clip = tiny_jobs.clip_of(tmp_path, 15)
    _, whole = run(engine, asked(clip, "fast"), tmp_path / "broken")
    (tmp_path / "broken" / "chunks" / "chunk-00001.safetensors").unlink()
    artifact, found = run(engine, asked(clip, "fast"), tmp_path / "broken")
    assert artifact["chunks_resumed"] == 1
    np.testing.assert_array_equal(found, whole)
    artifact, _ = run(engine, asked(clip, "fastest"), tmp_path / "broken")
    assert artifact["chunks_resumed"] == 0


def test_fp8_leaves_exact_as_it_is(engine, tmp_path, monkeypatch) -> None:
    """Steps in FP8 have weights of their own; a job after them that is exact has the same numbers as before."""
    model = engine._loaded.model
    clip = tiny_jobs.clip_of(tmp_path, 9)
    before = run(engine, tiny_jobs.job(clip, 9), tmp_path / "before")[1]
    kernels = fp8.Kernels("FlashAttention-3 in FP8", attention.by_torch, fp8.FeedForward)
    monkeypatch.setattr("povwatch.engines.transfer.fp8.choose", lambda *_, **__: kernels)
    monkeypatch.setattr(model, "_fp8", None)
    monkeypatch.setattr(model, "_fast", None)
    artifact, found = run(engine, tiny_jobs.job(clip, 9) | {"speed": "fast"}, tmp_path / "fast")
    told = artifact["approximated"]
    assert (told["attention"], told["feed_forward"]) == ("FlashAttention-3 in FP8", "FP8")
    assert "all 2 steps are computed" in told["what"]
    assert 0 < np.abs(found - before).mean() < 20
    np.testing.assert_array_equal(run(engine, tiny_jobs.job(clip, 9), tmp_path / "after")[1], before)
    weights = [block._qkv.weight.data_ptr() for step in (model.step, model._fast) for block in step._main]
    assert len(set(weights)) == len(weights) // 2


def test_pipelines_numbers_have_one_speed() -> None:
    """An engine that is exact to the bit refuses a job that is not, and a setting that is not."""
    with pytest.raises(EngineFailure, match=r"engine\.exact"):
        read(asked("a.mp4", "fast"), Settings(exact="pipeline"))
    with pytest.raises(EngineFailure, match=r"engine\.speed"):
        Settings.from_config({"exact": "pipeline", "speed": "fast"})
