import random
import sys
import types

import pytest

from povwatch.engines.port import Context, EngineCancelled, EngineFailure
from povwatch.engines.upstream import hooks, tensors
from povwatch.engines.upstream.chunks import Chunks
from povwatch.engines.upstream.gate import Alone
from povwatch.engines.upstream.progress import Meter


class Net:
    def __init__(self):
        self.hooks = []

    def register_forward_pre_hook(self, hook):
        self.hooks.append(hook)
        return types.SimpleNamespace(remove=lambda: self.hooks.remove(hook))


class Model:
    def __init__(self):
        self.net = Net()

    def generate_samples_from_batch(self, batch, seed):
        batch["made"] = True
        return ("latents", seed)

    def decode(self, latents):
        return ("pictures", latents)

    def _normalize_video_databatch_inplace(self, batch):
        batch["normalised"] = True

    def _augment_image_dim_inplace(self, batch):
        batch["augmented"] = True


class Pipeline:
    def __init__(self):
        self.model = Model()

    def _get_num_chunks(self, total):
        return total, 3, 92


class Store:
    """Chunks by number."""

    def __init__(self):
        self.held = {}

    def get(self, chunk, _seed):
        return self.held.get(chunk)

    def put(self, chunk, _seed, latents):
        self.held[chunk] = latents


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(tensors, "pack", lambda tensor: ("packed", tensor))
    monkeypatch.setattr(tensors, "unpack", lambda latents: latents[1])
    return Store()


def meter(**how):
    return Meter(Context("/w", "/c", **how), Alone(), 2, 2)


def test_nothing_of_a_job_stays_on_the_model(store):
    pipeline = Pipeline()
    before = (dict(vars(pipeline)), dict(vars(pipeline.model)))
    with hooks.hooked(pipeline, meter(), Chunks(store, Alone())):
        assert pipeline.model.net.hooks
        assert "decode" in vars(pipeline.model)
    assert (vars(pipeline), vars(pipeline.model)) == before
    assert pipeline.model.net.hooks == []


def test_a_failure_in_the_job_takes_the_hooks_off_too(store):
    pipeline = Pipeline()
    job = meter()
    with pytest.raises(EngineCancelled), hooks.hooked(pipeline, job, Chunks(store, Alone())):
        raise EngineCancelled
    assert pipeline.model.net.hooks == []


def test_a_kept_chunk_is_not_made_and_its_batch_is_scaled_all_the_same(store):
    pipeline, batch = Pipeline(), {}
    store.held[0] = ("packed", "kept")
    chunks = Chunks(store, Alone())
    with hooks.hooked(pipeline, meter(), chunks):
        assert pipeline._get_num_chunks(200) == (200, 3, 92)
        assert pipeline.model.generate_samples_from_batch(batch, seed=1) == "kept"
        assert pipeline.model.decode("kept") == ("pictures", "kept")
        assert batch == {"normalised": True, "augmented": True}
        assert pipeline.model.generate_samples_from_batch({}, seed=2) == ("latents", 2)
    assert (chunks.kept, chunks.made) == (1, 1)
    assert store.held[1] == ("packed", ("latents", 2))


def test_after_a_gap_nothing_is_taken(store):
    pipeline = Pipeline()
    store.held[1] = ("packed", "kept")
    with hooks.hooked(pipeline, meter(), Chunks(store, Alone())):
        made = [pipeline.model.generate_samples_from_batch({}, seed=seed) for seed in (1, 2)]
    assert made == [("latents", 1), ("latents", 2)]
    assert store.held[1] == ("packed", ("latents", 2))


def test_random_numbers_after_a_chunk_do_not_depend_on_how_it_came_about(store):
    drawn = []
    for noise in (1, 2):
        random.seed(noise)
        with hooks.hooked(pipeline := Pipeline(), meter(), Chunks(store, Alone())):
            pipeline.model.generate_samples_from_batch({}, seed=5)
        drawn.append(random.random())  # noqa: S311
    assert drawn[0] == drawn[1]


def test_a_mask_that_was_not_found_is_not_passed_over(store, monkeypatch):
    utils = types.ModuleType(hooks.UTILS)
    utils.generate_control_weight_mask_from_prompt = lambda **_: None
    monkeypatch.setitem(sys.modules, hooks.UTILS, utils)
    with (
        pytest.raises(EngineFailure, match=r"vis\.mask_prompt: nothing like 'cup'"),
        hooks.hooked(Pipeline(), meter(), Chunks(store, Alone())),
    ):
        utils.generate_control_weight_mask_from_prompt(prompt="cup", modality="vis")
    assert utils.generate_control_weight_mask_from_prompt() is None


@pytest.mark.parametrize("name", ["decode", "generate_samples_from_batch", "_normalize_video_databatch_inplace"])
def test_another_upstream_is_refused(name):
    pipeline = Pipeline()
    hooks.check(pipeline)
    setattr(pipeline.model, name, None)
    with pytest.raises(EngineFailure, match=f"has no inference_pipeline.model.{name}"):
        hooks.check(pipeline)
