"""Estimates how long a job will take, from jobs that are done. Pure.

The rule: the seconds of generating are proportional to the frames, the steps and the pixels of a frame. The factor is
the median over the latest jobs of the same engine at the same speed on the same GPU, since a job may have shared it. An
engine with a model counts the frames of whole chunks, and the pixels of the size that it works at, whatever the clip's.
Jobs with as many controls count first. If there is none, the seconds are also proportional to the network's blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CHUNK_FRAMES, CONTROLS, RESOLUTION, STEPS
from povwatch.engines.transfer import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from povwatch.core.speed import Speed

MODELS = ("cosmos", "diffusers")
"""Engines with a model, which work in chunks and at a size of their own."""

BASE_BLOCKS, CONTROL_BLOCKS = 28, 4
"""Transformer blocks of the network, and of the net of each control (2B). They take about the same time."""

LATEST = 9
"""Latest jobs that count; older ones had other drivers, models and settings."""

KEPT = 200
"""Jobs that are remembered, of all engines and GPUs together."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one job took."""

    engine: str
    gpu: str
    frames: int
    steps: int
    pixels: int
    """Pixels of one frame."""
    seconds: float
    """Seconds of generating."""
    speed: Speed = "exact"
    controls: int = 1

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Done | None:
        """Read the data of a `generated` event; None if it has nothing to learn from."""
        return cls(**found) if (found := data.get("learned")) else None

    @property
    def work(self) -> float:
        """The job's size, to which the seconds are proportional."""
        return work(self.frames, self.steps, self.pixels, self.controls)


def work(frames: int, steps: int, pixels: int, controls: int = 1) -> float:
    """The size of a job, without a unit."""
    blocks = BASE_BLOCKS + CONTROL_BLOCKS * controls
    return float(max(frames, 1)) * max(steps, 1) * max(pixels, 1) * blocks


def estimate(
    history: Iterable[Done],
    *,
    engine: str,
    gpu: str,
    frames: int,
    steps: int,
    pixels: int,
    speed: Speed = "exact",
    controls: int = 1,
) -> float | None:
    """Seconds that generating will take; None if no similar job was done yet.

    Args:
        history: jobs that are done, oldest first.
        gpu: the GPU's name; empty without one.
        pixels: of one frame.
    """
    wanted = (engine, gpu, speed)
    alike = [done for done in history if (done.engine, done.gpu, done.speed) == wanted and done.seconds > 0]
    if not alike:
        return None
    alike = [done for done in alike if done.controls == controls] or alike
    return median(done.seconds / done.work for done in alike[-LATEST:]) * work(frames, steps, pixels, controls)


def size(info: Mapping[str, Any], spec: Mapping[str, Any], engine: str, speed: Speed = "exact") -> dict[str, Any]:
    """The frames, steps and pixels of a job, the controls of one with a model, and the speed if the engine has several.

    Args:
        info: VideoInfo of the clip, as JSON.
        spec: upstream's fields; empty if unknown.
    """
    frames = min(info["frames"], spec.get("max_frames") or info["frames"])
    width, height = info["display_width"], info["display_height"]
    controls: dict[str, Any] = {}
    if engine in MODELS:
        controls = {"controls": sum(spec.get(key) is not None for key in CONTROLS) or 1}
        length = spec.get("num_video_frames_per_chunk") or CHUNK_FRAMES
        carried = spec.get("num_conditional_frames")
        frames = length * len(plan.chunks(frames, length, min(1 if carried is None else carried, length - 1)))
        width, height = plan.size(width, height, spec.get("resolution") or RESOLUTION)
    counts = {"frames": frames, "steps": spec.get("num_steps") or STEPS, "pixels": width * height}
    return counts | controls | ({"speed": speed} if engine == "diffusers" else {})


def forecast(busy: Sequence[float | None], waiting: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    """When each job of a queue starts and ends, in seconds from now; None if unknown.

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

    Its own pace counts more the further it is; before its first step, only the estimate counts.

    Args:
        fraction: progress, 0 to 1.
        elapsed: seconds since it started.
        expected: result of `estimate`.
    """
    by_itself = elapsed / fraction - elapsed if fraction > 0 else None
    by_experience = None if expected is None else max(expected - elapsed, 0.0)
    if by_itself is None or by_experience is None:
        return by_itself if by_experience is None else by_experience
    return fraction * by_itself + (1 - fraction) * by_experience
