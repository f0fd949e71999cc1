"""How long a job will take, learned from the jobs that were done. Pure.

The rule: generating costs seconds in proportion to the frames, the steps and the pixels of a frame; the factor is that
of the latest jobs of the same engine on the same GPU. The median of a few is taken, as one job in a while shares its
GPU with somebody. Of a model's engine those are the frames of its chunks, each of which is a whole one, and the pixels
of the size that it works at, whatever the clip's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CHUNK_FRAMES, RESOLUTION, STEPS
from povwatch.engines.transfer import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MODELS = ("cosmos", "diffusers")
"""The engines with a model, which works in chunks and at its own size."""

LATEST = 9
"""Jobs that are looked at; older ones are of another driver, another model, another season."""

KEPT = 200
"""Jobs that are kept in mind, of all engines and GPUs together."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one job took."""

    engine: str
    gpu: str
    frames: int
    steps: int
    pixels: int
    """Of one frame."""
    seconds: float
    """Of generating."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Done | None:
        """From what is kept with a `generated` event; None where nothing can be learned from it."""
        return cls(**found) if (found := data.get("learned")) else None

    @property
    def work(self) -> float:
        """What the seconds are in proportion to."""
        return work(self.frames, self.steps, self.pixels)


def work(frames: int, steps: int, pixels: int) -> float:
    """The size of a job, in no unit that matters."""
    return float(max(frames, 1)) * max(steps, 1) * max(pixels, 1)


def estimate(history: Iterable[Done], *, engine: str, gpu: str, frames: int, steps: int, pixels: int) -> float | None:
    """Seconds that generating will take; None where nothing of its kind was done yet.

    Args:
        history: what was done, oldest first.
        engine: the kind of engine.
        gpu: the GPU's name; empty without one.
        frames: of the job.
        steps: of the job.
        pixels: of one frame.
    """
    alike = [done for done in history if (done.engine, done.gpu) == (engine, gpu) and done.seconds > 0]
    if not alike:
        return None
    return median(done.seconds / done.work for done in alike[-LATEST:]) * work(frames, steps, pixels)


def size(info: Mapping[str, Any], spec: Mapping[str, Any], engine: str) -> dict[str, int]:
    """The frames, steps and pixels of a job.

    Args:
        info: VideoInfo of the clip, as JSON.
        spec: upstream's fields; empty where it is not known.
        engine: the kind of engine.
    """
    frames = min(info["frames"], spec.get("max_frames") or info["frames"])
    width, height = info["display_width"], info["display_height"]
    if engine in MODELS:
        length = spec.get("num_video_frames_per_chunk") or CHUNK_FRAMES
        carried = spec.get("num_conditional_frames")
        frames = length * len(plan.chunks(frames, length, min(1 if carried is None else carried, length - 1)))
        width, height = plan.size(width, height, spec.get("resolution") or RESOLUTION)
    return {"frames": frames, "steps": spec.get("num_steps") or STEPS, "pixels": width * height}


def forecast(busy: Sequence[float | None], waiting: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    """When each job of a queue starts and ends, in seconds from now; None where it cannot be known.

    Args:
        busy: for each worker, the seconds until it is free.
        waiting: for each job in the queue's order, the seconds that it will take.
    """
    free = [inf if at is None else at for at in busy]
    found: list[tuple[float | None, float | None]] = []
    for takes in waiting:
        worker = min(range(len(free)), key=free.__getitem__, default=None)
        start = inf if worker is None else free[worker]
        end = inf if takes is None else start + takes
        if worker is not None:
            free[worker] = end
        found.append((None if start == inf else start, None if end == inf else end))
    return found


def left(fraction: float, elapsed: float, expected: float | None) -> float | None:
    """Seconds that a running job still needs.

    What it does itself counts the more the further it is; before its first step only experience speaks.

    Args:
        fraction: how far it is, 0 to 1.
        elapsed: seconds since it started.
        expected: what `estimate` said.
    """
    by_itself = elapsed / fraction - elapsed if fraction > 0 else None
    by_experience = None if expected is None else max(expected - elapsed, 0.0)
    if by_itself is None or by_experience is None:
        return by_itself if by_experience is None else by_experience
    return fraction * by_itself + (1 - fraction) * by_experience
