"""A double of upstream's distributed.py, on a machine where upstream cannot tune anything."""

import os
from types import SimpleNamespace

from cosmos_transfer2._src import collective

dist = SimpleNamespace(is_initialized=lambda: collective.joined)


class Device:
    """utils/device.py, in a container that has none of the cores beside the GPU."""

    def __init__(self, device_idx):
        del device_idx

    def get_cpu_affinity(self):
        return [max(os.sched_getaffinity(0)) + 512]


def init():
    # Lines 45-77.
    if dist.is_initialized():
        return
    os.sched_setaffinity(0, Device(collective.RANK).get_cpu_affinity())
    collective.join()
    raise OSError("libcudart.so: cannot open shared object file: No such file or directory")
