"""Child processes that inspect arriving clips, and the threads that wait for them."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from povwatch.container import Report
from povwatch.core.background import Background, JobWork
from povwatch.media.info import VideoInfo
from povwatch.media.run import EXAMINE, PROBE, WORK, Limits, call

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from povwatch.core.job import Job


class Inspection(StrEnum):
    """What a child process is to find out about a clip."""

    GLANCE = "glance"
    """How much has arrived: a Report."""
    EXAMINE = "examine"
    """Whether it is whole, by an index that is long, or that lies: a Report."""
    PACKETS = "packets"
    """What it contains, by reading every packet: a VideoInfo, `undecided` if DECODE has to find out."""
    DECODE = "decode"
    """What it contains, by decoding it from the beginning: a VideoInfo.

    `missing` is what the clip lacks, if whatever decodes of it is enough.
    """
    GLIMPSE = "glimpse"
    """Whether any frame of an incomplete clip decodes: a VideoInfo, `complete` then."""


class _How(NamedTuple):
    operation: str
    """Of media/child.py."""
    args: dict[str, Any]
    timeout: float
    """Seconds."""
    limits: Limits
    result: type[Report | VideoInfo]


HOW = {
    # reading an index, on a slow disk
    Inspection.GLANCE: _How("examine", {"glance": True}, 600.0, EXAMINE, Report),
    Inspection.EXAMINE: _How("examine", {"glance": False}, 600.0, EXAMINE, Report),
    # a day of video, on a slow disk
    Inspection.PACKETS: _How("inspect", {"way": "quick"}, 1800.0, PROBE, VideoInfo),
    # in one thread: it may take as long as preparing the clip
    Inspection.DECODE: _How("inspect", {"way": "front"}, 4 * 3600.0, WORK, VideoInfo),
    # until the first frame
    Inspection.GLIMPSE: _How("glimpse", {}, 300.0, PROBE, VideoInfo),
}


class Inspections:
    """Three queues of inspections, so that long ones keep only each other waiting."""

    def __init__(self, root: Path, wake: Callable[[], None], broken: Callable[[Hashable, Exception], None]) -> None:
        self.root = root
        self.packets = Background(wake, threads=2, broken=broken)
        """The grace stage also measures the files that JSONs name in it."""
        indexes = Background(wake, threads=1, broken=broken)
        decodes = Background(wake, threads=1, broken=broken)
        self.queues = (self.packets, indexes, decodes)
        self._queue_of = {
            Inspection.GLANCE: indexes,
            Inspection.EXAMINE: indexes,
            Inspection.PACKETS: self.packets,
            Inspection.DECODE: decodes,
            Inspection.GLIMPSE: self.packets,
        }

    def start(
        self, what: Inspection, job: Job, then: Callable[[Report | VideoInfo | Exception], None], **args: object
    ) -> None:
        """Inspect a job's clip, unless the same inspection of it is under way. `then` gets the outcome in the loop."""
        if not self.busy(what, job.id):
            self._queue_of[what].submit(_key(what, job.id), then, inspect, what, self.root, job.path, args)

    def busy(self, what: Inspection, job: int) -> bool:
        """Whether this inspection is under way, or its outcome not yet handled."""
        return self._queue_of[what].busy(_key(what, job))

    def cancel(self, what: Inspection, job: int) -> None:
        """End this inspection, if it is under way. Its outcome is MediaStopped."""
        self._queue_of[what].cancel(_key(what, job))

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return all(queue.idle for queue in self.queues)

    def handle_results(self) -> None:
        """Handle every outcome since the last call, in the loop."""
        for queue in self.queues:
            queue.handle_results()

    def close(self) -> None:
        """Cancel what is under way, and wait for its end."""
        for queue in reversed(self.queues):
            queue.close()


def inspect(
    cancelled: threading.Event, what: Inspection, root: Path, path: bytes, args: dict[str, object]
) -> Report | VideoInfo:
    """Let a child process inspect a clip, whose `path` is relative to `root`. Runs in a background thread."""
    how = HOW[what]
    given = {"root": str(root), "path": os.fsdecode(path), **how.args, **args}
    return how.result.from_json(call(how.operation, given, timeout=how.timeout, limits=how.limits, cancelled=cancelled))


def _key(what: Inspection, job: int) -> JobWork:
    return JobWork(job, "inspected the clip of", what)
