"""What each worker is told, and which GPUs it sees."""

from __future__ import annotations

import pytest

from povwatch.config.settings import Config, Engine, Paths, Pool
from povwatch.engines.choice import Choice
from povwatch.engines.transfer.settings import Settings as Transfer
from povwatch.engines.upstream.settings import Settings
from povwatch.gpu.nvml import Gpu, Gpus
from povwatch.workers.launch import elsewhere, launches

GPUS = Gpus(tuple(Gpu(n, f"GPU-{n}", "NVIDIA H200", memory * 10**9, 10**9) for n, memory in enumerate((80, 141, 141))))


def launched(kind: str, workers: int | str = "auto", **engine):
    config = Config(engine=Engine(kind=kind, workers=workers, **engine))
    return launches(config, Choice(kind, kind, "python", ""), GPUS)


def gpus_of(launch):
    return tuple(gpu.uuid for gpu in launch.gpus)


def test_cosmos_gets_its_settings(tmp_path) -> None:
    """A worker of cosmos is told all settings that its engine takes."""
    (one,) = launched("cosmos", controls=["vis"], guardrails=False, gpus_per_worker=2, offload_guardrails=True)
    found = Settings.parse(one.config | {"output_dir": str(tmp_path)})
    assert (found.controls, found.guardrails, found.gpus, found.offload_guardrails) == (("vis",), False, 2, True)
    assert one.config["output_dir"].endswith("cosmos/0")
    assert gpus_of(one) == ("GPU-1", "GPU-2")


def test_worker_elsewhere_has_the_pools_gpus(tmp_path) -> None:
    """A worker on another machine gets the same settings, but for its GPUs and a folder of its own there."""
    pool = Pool(kind="ray", gpus_per_worker=2, runtime="/there/python")
    config = Config(engine=Engine(kind="cosmos", controls=["vis"]), pool=pool, paths=Paths(state=tmp_path))
    there = elsewhere(config, Choice("cosmos", "cosmos", "here/python", ""))
    (one,) = launches(config, Choice("cosmos", "cosmos", "here/python", ""), GPUS)[:1]
    assert (there.python, there.gpus, there.env) == ("/there/python", (), {})
    assert there.config["gpus_per_worker"] == 2
    assert there.config["output_dir"] == f"{tmp_path}/cosmos/{{worker}}"
    assert {**there.config, "gpus_per_worker": 1, "output_dir": one.config["output_dir"]} == one.config


def test_workers_share_no_gpu() -> None:
    """Workers share no GPU, and the largest come first."""
    assert [gpus_of(one) for one in launched("diffusers", workers=3)] == [("GPU-1",), ("GPU-2",), ("GPU-0",)]


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("0", False)])
def test_diffusers_is_told_to_be_offline(monkeypatch, value, offline) -> None:
    """The diffusers engine is told to fetch nothing where HF_HUB_OFFLINE is set."""
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    (one,) = launched("diffusers", workers=1, model="/srv/model")
    assert one.config["offline"] is offline


def test_diffusers_gets_its_settings() -> None:
    """A worker of diffusers is told its settings, and all workers keep what they compile in one place."""
    one, other = launched("diffusers", workers=2, model="/srv/model", exact="pipeline", compile=False, memory="full")
    found = Transfer.from_config(one.config)
    assert found.memory == "full"
    assert (found.model, found.exact, found.compile, found.controls) == ("/srv/model", "pipeline", False, ("edge",))
    assert one.config["compile_cache"].endswith("/compiled")
    assert one.config["prompt_cache"].endswith("/prompts")
    assert one.config == other.config


def test_speed_is_made_ready() -> None:
    """A worker of diffusers hears at its load which speed to make ready."""
    (one,) = launched("diffusers", workers=1, speed="fast")
    assert Transfer.from_config(one.config).speed == "fast"


def test_diffusers_on_several_gpus() -> None:
    """A worker of several GPUs sees them all, and its processes have a place of their own to find each other."""
    (one,) = launched("diffusers", gpus_per_worker=2, model="/srv/model")
    found = Transfer.from_config(one.config)
    assert (found.gpus_per_worker, gpus_of(one)) == (2, ("GPU-1", "GPU-2"))
    assert found.meeting.endswith("/ranks/0")
    assert one.env["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"


def test_engine_without_a_gpu() -> None:
    """An engine without a GPU is told nothing."""
    (one,) = launched("preview")
    assert (one.config, dict(one.env)) == ({}, {})
