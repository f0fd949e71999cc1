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


def test_nothing_stays_on_the_model(store):
    """Nothing of a job stays on the model."""
    pipeline = Pipeline()
    before = (dict(vars(pipeline)), dict(vars(pipeline.model)))
    with hooks.hooked(pipeline, meter(), Chunks(store, Alone())):
        assert pipeline.model.net.hooks
        assert "decode" in vars(pipeline.model)
    assert (vars(pipeline), vars(pipeline.model)) == before
    assert pipeline.model.net.hooks == []


def test_failure_takes_the_hooks_off(store):
    pipeline = Pipeline()
    job = meter()
    with pytest.raises(EngineCancelled), hooks.hooked(pipeline, job, Chunks(store, Alone())):
        raise EngineCancelled
    assert pipeline.model.net.hooks == []


def test_kept_chunk_is_not_made(store):
    """A kept chunk is not made, and its batch is scaled all the same."""
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
    """After a chunk that is missing, kept chunks are not taken."""
    pipeline = Pipeline()
    store.held[1] = ("packed", "kept")
    with hooks.hooked(pipeline, meter(), Chunks(store, Alone())):
        made = [pipeline.model.generate_samples_from_batch({}, seed=seed) for seed in (1, 2)]
    assert made == [("latents", 1), ("latents", 2)]
    assert store.held[1] == ("packed", ("latents", 2))


def test_random_numbers_are_the_chunks(store):
    """Random numbers after a chunk do not depend on how it came about."""
    drawn = []
    for noise in (1, 2):
        random.seed(noise)
        with hooks.hooked(pipeline := Pipeline(), meter(), Chunks(store, Alone())):
            pipeline.model.generate_samples_from_batch({}, seed=5)
        drawn.append(random.random())  # noqa: S311
    assert drawn[0] == drawn[1]


def test_missing_mask_is_an_error(store, monkeypatch):
    """A mask that was not found is an error, not passed over."""
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
    """An upstream that lacks what is hooked is refused, and the name is told."""
    pipeline = Pipeline()
    hooks.check(pipeline)
    setattr(pipeline.model, name, None)
    with pytest.raises(EngineFailure, match=f"has no inference_pipeline.model.{name}"):
        hooks.check(pipeline)
