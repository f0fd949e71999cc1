"""Has a child compute controls, one after the other. Its methods run in background threads.

One control is computed at a time on a machine: two would take the room that each has found free for itself.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import JobFailed
from povwatch.engines.annotate import device, presence
from povwatch.engines.transfer.memory import working
from povwatch.gpu.nvml import read_gpus
from povwatch.media.held import held
from povwatch.media.run import Limits, Program, call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from povwatch.config.settings import Config
    from povwatch.engines.annotate.annotation import Annotation
    from povwatch.engines.annotate.device import Device
    from povwatch.gpu.nvml import Gpus

START_SECONDS = 1800.0
"""Seconds for the libraries and the models, from a cold disk."""

FRAME_SECONDS = 120.0
"""Seconds of a frame at most: SAM 2 takes some for each of a hundred things on a slow CPU."""

MEMORY = 24 * 2**30
"""Bytes of address space on the CPU: the models take 4 GiB, torch and its threads reserve more than they use."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """Computes controls."""

    devices: Sequence[int | str]
    """engine.devices."""
    controls: int
    """Controls that the engine may have, which decides how much of the GPU's memory it needs."""
    read_gpus: Callable[[], Gpus] = read_gpus
    turn: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, config: Config) -> Annotator:
        """The annotator of a configuration."""
        return cls(tuple(config.engine.devices), len(config.engine.controls))

    def make(
        self,
        annotation: Annotation,
        prepared: dict[str, Any],
        *,
        folder: str,
        out_path: str,
        report: Callable[[float], None],
        cancelled: threading.Event,
    ) -> dict[str, Any]:
        """Compute a control of a clip, and write it as a video with a frame for each of the clip's.

        Args:
            annotation: the control.
            prepared: the working copy's Prepared as JSON, with paths relative to `folder`.
            folder: a private folder.
            out_path: the video's name in it. After a failure, a part of the file may be there.
            report: gets the progress, 0 to 1.
            cancelled: set when the control is no longer wanted.

        Returns:
            Annotated as JSON.

        Raises:
            JobFailed: the control cannot be computed: see child.annotate. Or its models are missing.
            PovwatchError: any other error of media.run.
        """
        what, todo = presence.lacking(annotation.kind)
        if what:
            raise JobFailed(f"{annotation.field} is missing, and {what}.", todo)
        with held(self.turn, cancelled, "The controls of the clip"):
            where = device.choose(annotation.kind, self.read_gpus(), self.devices, working(self.controls))
            args = {
                "asked": asdict(annotation),
                "prepared": prepared,
                "out_path": out_path,
                "folders": [str(path) for path in presence.folders(annotation.kind)],
                "device": asdict(where),
            }
            seconds = START_SECONDS + FRAME_SECONDS * prepared["frames"]
            return call(
                "annotate",
                args,
                timeout=seconds,
                folder=folder,
                limits=limits(where, seconds),
                on_progress=report,
                cancelled=cancelled,
                # it sees one GPU, or none
                program=Program("povwatch.engines.annotate.child", {"CUDA_VISIBLE_DEVICES": where.uuid}),
            )


def limits(where: Device, seconds: float) -> Limits:
    """The child's limits. Address space is unlimited on a GPU: CUDA reserves all memory of host and GPUs."""
    memory = MEMORY if where.name == device.CPU else None
    return Limits(memory=memory, cpu_seconds=int(seconds) * CORES)


CORES = 64
"""The most cores that compute at once: a process's time is that of all of them."""
