"""Lets the ranks of a group start where upstream cannot tune the machine.

As its ranks meet, upstream keeps each on the processor cores beside its GPU, and has the GPU fetch more memory at once
(_src/imaginaire/utils/distributed.py, 45-77). Both only make it faster, but it fails where a container has none of
these cores, and where libcudart.so has a version in its name, as in pip's packages.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = "cosmos_transfer2._src.imaginaire.utils.distributed"

RUNTIME = "libcudart"


def tolerate() -> None:
    """Let upstream do without its tuning."""
    distributed: Any = importlib.import_module(MODULE)
    kind = distributed.Device
    kind.get_cpu_affinity = functools.partialmethod(_usable, kind.get_cpu_affinity)
    distributed.init = functools.partial(_meet, distributed.init, distributed.dist)


def _usable(device: Any, original: Callable[[Any], list[int]]) -> list[int]:  # noqa: ANN401 - upstream's
    """The cores beside a GPU that this process may use; all that it may use if there are none."""
    allowed = os.sched_getaffinity(0)
    return [core for core in original(device) if core in allowed] or sorted(allowed)


def _meet(original: Callable[[], Any], dist: Any) -> Any:  # noqa: ANN401
    try:
        return original()
    except OSError as error:
        if RUNTIME not in str(error) or not dist.is_initialized():
            raise
        return None  # the ranks have met, and only the tuning is left out
