"""The cosmos engine, whose jobs say how cuDNN chooses its convolutions; for two_workers.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from povwatch.engines.cosmos import CosmosEngine

if TYPE_CHECKING:
    from povwatch.engines.port import Context


class Engine(CosmosEngine):
    """With `timed`, a job has cuDNN time its convolutions and take the fastest, as upstream has it."""

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Do one job; see CosmosEngine."""
        torch: Any = sys.modules["torch"]
        torch.backends.cudnn.benchmark = job["timed"]
        return super().generate(job, context)
