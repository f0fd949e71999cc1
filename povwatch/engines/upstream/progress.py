"""Measures a job's progress and the time of its stages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from povwatch.engines.port import EngineCancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Context
    from povwatch.engines.upstream.gate import Gate

READ = "read"
"""The clip is decoded and the prompts are encoded; before every chunk, its controls are made."""
ENCODE = "encode"
"""The VAE encodes a chunk's controls and the frames that it continues; upstream does so where it makes the latents
(vid2vid_model_control_vace_rectified_flow.py, 87 and 253), before the network's first call."""
DENOISE = "denoise"
DECODE = "decode"
"""A chunk's latents become pictures."""
FINISH = "finish"
"""The pictures are enlarged, pass the guardrail and are written."""

FULL_CALLS, DISTILLED_CALLS = 2, 1
"""Calls of the network a step: with and without the prompt; the distilled model has no guidance."""


class Meter:
    """Counts one job's chunks, steps and seconds, and leaves the job if it was cancelled."""

    def __init__(
        self, context: Context, gate: Gate, steps: int, calls: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start to count.

        Args:
            context: gets the progress, and knows whether the job is cancelled.
            gate: every call of the network passes it, in all processes of the job.
            steps: steps a chunk.
            calls: calls of the network a step.
            clock: seconds; read where a stage ends, so it may wait there for the GPU.
        """
        self._context = context
        self._gate = gate
        self._steps = steps
        self._calls = calls
        self._clock = clock
        self._called = 0
        self._since = clock()
        self.stage = READ
        self.seconds: dict[str, float] = {}
        """Stage to seconds, for the finished stages."""
        self.chunk = 0
        """Finished chunks."""
        self.chunks = 0
        """Chunks of the job; 0 until upstream has counted them."""
        self._report(0)

    def planned(self, chunks: int) -> None:
        """Upstream has counted the chunks."""
        self.chunks = chunks
        self._pass()

    def chunk_begins(self) -> None:
        """Upstream begins with a chunk's latents, or they are taken from the store."""
        self._called = 0
        self._enter(ENCODE)
        self._pass()
        self._report(0)

    def net_called(self) -> None:
        """The network is about to be called."""
        if self.stage == ENCODE:
            self._enter(DENOISE)
        self._pass()
        self._report(min(self._called // self._calls, self._steps))
        self._called += 1

    def chunk_ends(self) -> None:
        """A chunk's latents are there, made or taken from the store."""
        if self.stage == DENOISE:
            self._report(self._steps)
        self._enter(DECODE)
        self._pass()
        self._report(self._steps)

    def decoded(self) -> None:
        """A chunk's pictures are there."""
        self.chunk += 1
        self._enter(FINISH if self.chunk >= self.chunks else READ)
        self._pass()
        self._report(0)

    def ended(self) -> dict[str, float]:
        """The job is over; return the seconds by stage."""
        self._enter(self.stage)
        return {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}

    def _enter(self, stage: str) -> None:
        now = self._clock()
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self._since
        self.stage, self._since = stage, now

    def _report(self, step: int) -> None:
        self._context.progress(
            self.stage, chunk=self.chunk, chunks=max(self.chunks, 1), step=step, steps=max(self._steps, 1)
        )

    def _pass(self) -> None:
        if self._gate.decide(self._context.cancelled()):
            raise EngineCancelled
