"""Which worker gets which GPU: never two on one, never one on a GPU that it can not use."""

from __future__ import annotations

import pytest

from povwatch.config.settings import Config, Engine
from povwatch.engines.choice import choose
from povwatch.engines.devices import no_share, shares, strangers
from povwatch.gpu.nvml import Gpu, Gpus
from povwatch.workers.launch import launches

GB = 10**9


def gpus(*sizes, uuids=True):
    return Gpus(
        tuple(
            Gpu(n, f"GPU-{n}" if uuids else str(n), "NVIDIA X", size * GB, size * GB) for n, size in enumerate(sizes)
        ),
        "570",
    )


def seen(found, *, taken=(), number=0, **engine):
    """What each worker sees."""
    config = Config(engine=Engine(kind="diffusers", **engine))
    choice = choose(config, found, None)
    made = launches(config, choice, found, taken=taken, number=number)
    return [launch.env["CUDA_VISIBLE_DEVICES"] for launch in made]


def test_one_worker_a_gpu_largest_first():
    assert seen(gpus(80, 141, 16)) == ["GPU-1", "GPU-0"]


@pytest.mark.parametrize(("workers", "many"), [(1, 1), (2, 2), (5, 2)])
def test_never_more_workers_than_gpus(workers, many):
    assert len(seen(gpus(80, 80), workers=workers)) == many


def test_devices_by_index_or_uuid():
    """engine.devices has indices or UUIDs in the order of use; unknown ones are told."""
    assert seen(gpus(80, 80, 80), devices=[2, "GPU-0"]) == ["GPU-2", "GPU-0"]
    assert seen(gpus(80, 80, 80), devices=[2, "GPU-0"], workers=1) == ["GPU-2"]
    assert seen(gpus(80, 80), devices=[0, "GPU-0"]) == ["GPU-0"], "one GPU, named in two ways"
    assert seen(gpus(80, 80), devices=[7, 1]) == ["GPU-1"]
    assert strangers(gpus(80, 80), [7, 1, "GPU-9"]) == ["7", "GPU-9"]


def test_several_gpus_a_worker_share_none():
    """With several GPUs a worker, no two workers share one."""
    assert seen(gpus(80, 80, 80, 80, 80), gpus_per_worker=2) == ["GPU-0,GPU-1", "GPU-2,GPU-3"]


def test_later_gpu_gets_its_own_worker():
    assert seen(gpus(80, 80, 80), taken=["GPU-0", "GPU-2"], number=2) == ["GPU-1"]


def test_without_uuids_cuda_counts_as_nvml():
    """Where NVML tells no UUID, CUDA is made to count as NVML does."""
    config = Config(engine=Engine(kind="diffusers"))
    found = gpus(80, uuids=False)
    (launch,) = launches(config, choose(config, found, None), found)
    assert launch.env == {"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("sizes", "devices", "each", "says"),
    [
        ((24, 16), (), 1, "it needs 35 GB of GPU memory, and the largest GPU here (NVIDIA X) has 24 GB"),
        ((80, 16), (1,), 1, "the largest GPU of engine.devices (NVIDIA X) has 16 GB"),
        ((80, 80), (4,), 1, "engine.devices names 4, and the GPUs here are 0 (GPU-0), 1 (GPU-1)"),
        ((80, 80), (), 4, "engine.gpus_per_worker = 4, and there are not so many GPUs"),
        ((80, 80), (1,), 1, ""),
        ((0,), (), 1, ""),
    ],
)
def test_why_no_worker_can_be_loaded(sizes, devices, each, says):
    """The reason why no worker can be loaded names sizes, devices or numbers."""
    found = no_share(gpus(*sizes), devices=devices, each=each, needed=35 * GB)
    assert says in found
    assert bool(found) == bool(says)


def test_no_gpu_is_in_two_shares():
    found = shares(gpus(*[80] * 7), devices=(), each=3, needed=35 * GB)
    assert [[gpu.index for gpu in share] for share in found] == [[0, 1, 2], [3, 4, 5]]
