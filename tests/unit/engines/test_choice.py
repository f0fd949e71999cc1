"""What runs where, without a GPU: the probes are asked, the machine is told to them."""

from __future__ import annotations

import sys

import pytest

from povwatch.config.settings import Config, Engine
from povwatch.engines import choice
from povwatch.engines.choice import choose, unable
from povwatch.engines.libraries import LOCK, PIP
from povwatch.gpu.nvml import Gpu, Gpus

NONE = Gpus(problem="there is no NVIDIA driver here")


def gpus(*sizes):
    return Gpus(
        tuple(Gpu(n, f"GPU-{n}", "NVIDIA X", size * 10**9, size * 10**9) for n, size in enumerate(sizes)), "570"
    )


def config(**engine):
    return Config(engine=Engine(**engine))


@pytest.fixture
def probes(monkeypatch):
    """The probes' answers: kind to why it cannot run, empty if it can."""
    answers = {"cosmos": "", "diffusers": ""}
    monkeypatch.setitem(choice._PROBES, "cosmos", lambda *_: answers["cosmos"])
    monkeypatch.setitem(choice._PROBES, "diffusers", lambda *_: answers["diffusers"])
    return answers


def test_auto_takes_the_best_that_runs(probes):
    """auto takes the best engine that this machine runs, and says why not the others."""
    found = choose(config(), gpus(141), None)
    assert (found.kind, found.problem) == ("cosmos", "")
    probes["cosmos"] = "it is not installed"
    found = choose(config(), gpus(141), None)
    assert (found.kind, found.problem) == ("diffusers", "")
    assert "Cosmos cannot: it is not installed." in found.why
    probes["diffusers"] = "nor this"
    found = choose(config(), gpus(141), None)
    assert (found.kind, found.problem, found.python) == ("preview", "", sys.executable)
    assert "Cosmos cannot: it is not installed. Diffusers cannot: nor this." in found.why


def test_auto_never_steps_down(probes):
    """auto does not step down to previews where a real engine has run."""
    probes.update(cosmos="the GPU is gone", diffusers="so it is")
    found = choose(config(), NONE, "diffusers")
    assert (found.kind, found.problem) == ("diffusers", "so it is")
    assert "previews do not take its place" in found.why


def test_named_engine_is_taken(probes):
    """An engine that is named is taken, whether it can run or not."""
    probes["cosmos"] = "no GPU"
    assert choose(config(kind="cosmos"), NONE, None).problem == "no GPU"
    assert choose(config(kind="preview"), NONE, "cosmos").problem == ""
    own = choose(config(kind="mine.py:Engine"), NONE, "cosmos")
    assert (own.kind, own.engine, own.problem) == ("mine.py:Engine", "mine.py:Engine", "")


def test_cosmos_has_its_own_interpreter(probes, tmp_path):
    found = choose(config(kind="cosmos", python=tmp_path / "python"), gpus(141), None)
    assert (found.python, found.engine) == (str(tmp_path / "python"), "povwatch.engines.cosmos:CosmosEngine")


@pytest.mark.parametrize(
    ("sizes", "workers", "many"), [((141, 141), "auto", 2), ((141, 24), "auto", 1), ((141, 141), 1, 1), ((), "auto", 1)]
)
def test_worker_for_each_gpu_with_room(probes, sizes, workers, many):
    """There is a worker for each GPU that has room, or as many as are asked for."""
    assert choose(config(kind="cosmos", workers=workers), gpus(*sizes), None).workers == many


@pytest.mark.parametrize("kind", ["cosmos", "preview"])
def test_no_worker_here_needs_no_machine(kind):
    """With engine.workers = 0 other machines run the engine: what this one lacks is no problem."""
    chosen = choose(config(kind=kind, workers=0), gpus(), None)
    assert (chosen.workers, chosen.problem) == (0, "")


def test_one_preview_worker_is_enough():
    assert choose(config(kind="preview"), gpus(141, 141), None).workers == 1


def test_too_small_a_gpu_is_named():
    """A GPU that is too small is named with its size, and a missing driver is told."""
    assert unable("cosmos", config(), gpus(24)) == (
        "it needs 65 GB of GPU memory, and the largest GPU here (NVIDIA X) has 24 GB"
    )
    assert unable("diffusers", config(memory="full"), gpus(24)) == (
        "it needs 35 GB of GPU memory, and the largest GPU here (NVIDIA X) has 24 GB; "
        'with engine.memory = "low" it needs 22 GB'
    )
    assert "with engine.memory" not in unable("diffusers", config(memory="full"), gpus(16))
    assert unable("diffusers", config(), NONE) == "there is no NVIDIA driver here"
    assert unable("preview", config(), NONE) == ""


@pytest.mark.parametrize(
    ("missing", "guardrails", "words"),
    [
        ("torch", True, f"torch is not installed: {PIP} torch torchvision"),
        ("diffusers", True, f"diffusers is not installed: {PIP} --require-hashes --no-deps -r {LOCK}"),
        ("cosmos_guardrail", True, f"cosmos_guardrail is not installed: {PIP} --require-hashes --no-deps -r {LOCK}"),
        ("cosmos_guardrail", False, ""),
    ],
)
def test_diffusers_needs_its_libraries(monkeypatch, missing, guardrails, words):
    """A library that diffusers or its guardrails lack is named with the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else name)
    found = unable("diffusers", config(guardrails=guardrails), gpus(141))
    assert found.startswith(words)
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"gpus_per_worker": 3}, "= 3, and the model's 16 heads cannot be divided by that"),
        ({"gpus_per_worker": 2, "exact": "pipeline"}, "are computed on one GPU"),
    ],
)
def test_diffusers_divides_its_heads(engine, words):
    """The diffusers engine names a number of GPUs that it cannot divide a step among, before it loads."""
    assert words in unable("diffusers", config(**engine), gpus(80, 80, 80))
    assert "gpus_per_worker" not in unable("diffusers", config(gpus_per_worker=2), gpus(80, 80))


def test_upstreams_interpreter_has_to_run(tmp_path):
    """Upstream's interpreter has to be there, to run, and to have upstream's package."""
    assert "is not there; script/cosmos prepares it" in unable("cosmos", config(python=tmp_path / "no"), gpus(141))
    plain = config(python=sys.executable)
    assert "has no cosmos_transfer2; script/cosmos prepares it" in unable("cosmos", plain, gpus(141))
    broken = tmp_path / "python"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    assert "does not run" in unable("cosmos", config(python=broken), gpus(141))
