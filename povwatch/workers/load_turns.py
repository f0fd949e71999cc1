"""Decides when a worker may load: clips may start, no other load needs the host's memory, and its GPUs have room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.events import say
from povwatch.workers.loads import crowded

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.gpu.preflight import Preflight


class LoadGate:
    """The gate of one worker. A supervisor calls it until it opens."""

    def __init__(
        self,
        preflight: Preflight,
        needs: int,
        *,
        label: str,
        closed: Callable[[], str],
        under_way: Callable[[], int],
        available: Callable[[], int | None],
    ) -> None:
        self._preflight = preflight
        self._needs = needs
        self._label = label
        self._closed = closed
        self._under_way = under_way
        self._available = available
        self.waits = ""
        """What the worker waits for besides its GPUs, as a sentence."""

    def __call__(self, now: float) -> bool:
        """Whether the worker may start now."""
        why = self._closed() or self._crowded()
        if why and not self.waits:
            say("load-waits", label=self._label, problem=why)
        self.waits = why
        return not why and self._preflight(now)

    def _crowded(self) -> str:
        loads = self._under_way()
        return crowded(loads, self._needs, self._available() if loads and self._needs else None)
