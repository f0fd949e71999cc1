import random
import sys
import types
from typing import ClassVar

import numpy as np
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
    tensor_kwargs: ClassVar = {"dtype": "float32"}

    def __init__(self):
        self.net = Net()

    def generate_samples_from_batch(self, batch, seed):
        batch["made"] = True
        return ("latents", seed)

    def decode(self, latents):
        return ("pictures", latents)


class Bytes:
    """A control as upstream reads it, whose values are scaled once it has floats."""

    dtype = "torch.uint8"

    def to(self, **kind):
        return np.array([0, 255], kind["dtype"])


class Pipeline:
    def __init__(self):
        self.model = Model()

    def _get_num_chunks(self, total):
        return total, 3, 92


class Inference(types.SimpleNamespace):
    """The module cosmos_transfer2.inference."""

    def __init__(self):
        super().__init__(save_img_or_video=lambda *_, **__: "upstream's")


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


def hooked(pipeline, meter, chunks, inference=None, save=lambda *_, **__: "ours"):
    return hooks.hooked(inference or Inference(), pipeline, meter, chunks, save)


def meter(**how):
    return Meter(Context("/w", "/c", **how), Alone(), 2, 2)


def test_nothing_stays_on_the_model(store):
    """Nothing of a job stays on the model."""
    pipeline, inference = Pipeline(), Inference()
    before = (dict(vars(pipeline)), dict(vars(pipeline.model)), dict(vars(inference)))
    with hooked(pipeline, meter(), Chunks(store, Alone()), inference):
        assert pipeline.model.net.hooks
        assert "decode" in vars(pipeline.model)
        assert inference.save_img_or_video("video", "stem", fps=24) == "ours"
    assert (vars(pipeline), vars(pipeline.model), vars(inference)) == before
    assert pipeline.model.net.hooks == []


def test_failure_takes_the_hooks_off(store):
    pipeline = Pipeline()
    job = meter()
    with pytest.raises(EngineCancelled), hooked(pipeline, job, Chunks(store, Alone())):
        raise EngineCancelled
    assert pipeline.model.net.hooks == []


def test_kept_chunk_is_not_made(store):
    """A kept chunk is not made, and its controls are scaled all the same."""
    pipeline, batch = Pipeline(), {"control_input_edge": Bytes(), "control_input_edge_mask": np.ones(2, bool)}
    store.held[0] = ("packed", "kept")
    chunks = Chunks(store, Alone())
    with hooked(pipeline, meter(), chunks):
        assert pipeline._get_num_chunks(200) == (200, 3, 92)
        assert pipeline.model.generate_samples_from_batch(batch, seed=1) == "kept"
        assert pipeline.model.decode("kept") == ("pictures", "kept")
        assert batch["control_input_edge"].tolist() == [-1, 1]
        assert batch["control_input_edge_mask"].tolist() == [True, True]
        assert pipeline.model.generate_samples_from_batch({}, seed=2) == ("latents", 2)
    assert (chunks.kept, chunks.made) == (1, 1)
    assert store.held[1] == ("packed", ("latents", 2))


def test_after_a_gap_nothing_is_taken(store):
    """After a chunk that is missing, kept chunks are not taken."""
    pipeline = Pipeline()
    store.held[1] = ("packed", "kept")
    with hooked(pipeline, meter(), Chunks(store, Alone())):
        made = [pipeline.model.generate_samples_from_batch({}, seed=seed) for seed in (1, 2)]
    assert made == [("latents", 1), ("latents", 2)]
    assert store.held[1] == ("packed", ("latents", 2))


def test_random_numbers_are_the_chunks(store):
    """Random numbers after a chunk do not depend on how it came about."""
    drawn = []
    for noise in (1, 2):
        random.seed(noise)
        with hooked(pipeline := Pipeline(), meter(), Chunks(store, Alone())):
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
        hooked(Pipeline(), meter(), Chunks(store, Alone())),
    ):
        utils.generate_control_weight_mask_from_prompt(prompt="cup", modality="vis")
    assert utils.generate_control_weight_mask_from_prompt() is None


@pytest.mark.parametrize("name", ["decode", "generate_samples_from_batch"])
def test_another_upstream_is_refused(name):
    """An upstream that lacks what is hooked is refused, and the name is told."""
    pipeline = Pipeline()
    hooks.check(Inference(), pipeline)
    setattr(pipeline.model, name, None)
    with pytest.raises(EngineFailure, match=f"has no inference_pipeline.model.{name}"):
        hooks.check(Inference(), pipeline)


def test_another_writer_is_refused():
    """An upstream whose writer has another name is refused."""
    with pytest.raises(EngineFailure, match=r"has no inference\.save_img_or_video"):
        hooks.check(types.SimpleNamespace(), Pipeline())
