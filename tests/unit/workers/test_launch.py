"""What each worker is told, and which GPUs it sees."""

from __future__ import annotations

import pytest

from povwatch.config.settings import Config, Engine
from povwatch.engines.choice import Choice
from povwatch.engines.upstream.settings import Settings
from povwatch.gpu.nvml import Gpu, Gpus
from povwatch.workers.launch import gpus_of, launches

GPUS = Gpus(tuple(Gpu(n, f"GPU-{n}", "NVIDIA H200", memory * 10**9, 10**9) for n, memory in enumerate((80, 141, 141))))


def launched(kind: str, workers: int = 1, **engine):
    config = Config(engine=Engine(kind=kind, **engine))
    return launches(config, Choice(kind, kind, "python", "", workers=workers), GPUS)


def test_a_worker_of_cosmos_is_told_all_that_its_settings_take(tmp_path) -> None:
    (one,) = launched("cosmos", controls=["vis"], guardrails=False, gpus_per_worker=2, offload_guardrails=True)
    found = Settings.parse(one.config | {"output_dir": str(tmp_path)})
    assert (found.controls, found.guardrails, found.gpus, found.offload_guardrails) == (("vis",), False, 2, True)
    assert one.config["output_dir"].endswith("cosmos/0")
    assert gpus_of(one) == ("GPU-1", "GPU-2")


def test_workers_share_no_gpu_and_the_largest_come_first() -> None:
    assert [gpus_of(one) for one in launched("diffusers", workers=3)] == [("GPU-1",), ("GPU-2",), ("GPU-0",)]


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("0", False)])
def test_diffusers_is_told_to_keep_to_what_is_here(monkeypatch, value, offline) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    (one,) = launched("diffusers", model="/srv/model")
    assert one.config == {"controls": ["edge"], "guardrails": True, "model": "/srv/model", "offline": offline}


def test_an_engine_without_a_gpu_is_told_nothing() -> None:
    (one,) = launched("preview")
    assert (one.config, dict(one.env)) == ({}, {})
