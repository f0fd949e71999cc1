"""The ranks of a job of upstream's model: each has the whole model, and all ask the same gate."""

from __future__ import annotations

import contextlib
import os.path
from typing import TYPE_CHECKING, Any

from povwatch.engines.ranks import Ranks
from povwatch.engines.upstream.gate import Alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.engines.port import Context
    from povwatch.engines.upstream.gate import Gate
    from povwatch.engines.upstream.settings import Settings

ENGINE = "povwatch.engines.upstream.peer:PeerEngine"

YES, NO = b"y", b"n"


class Group:
    """All ranks of the jobs, as rank 0 sees them."""

    def __init__(self, settings: Settings, config: dict[str, Any]) -> None:
        """Start the other ranks, which begin to load."""
        folders = [os.path.join(settings.folder, f"rank-{rank}") for rank in range(1, settings.gpus)]  # noqa: PTH118
        self._ranks = Ranks(ENGINE, [{**config, "output_dir": folder} for folder in folders])
        self.size = self._ranks.size
        self.wait_until_loaded = self._ranks.wait_until_loaded

    @contextlib.contextmanager
    def working(self, job: dict[str, Any], context: Context) -> Iterator[Gate]:
        """Have all ranks do a job.

        Raises:
            EngineFailure: See `Ranks.working`.
        """
        with self._ranks.working(job, context):
            yield Alone() if self.size == 1 else _Leading(self._ranks)


class _Leading:
    """Rank 0's gate, whose answer holds for all."""

    leads = True

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def decide(self, answer: bool) -> bool:  # noqa: FBT001
        self._ranks.tell(YES if answer else NO)
        return answer
