"""The child that does one piece of media work: `python -m povwatch.media.child OP`.

One line of JSON comes in on stdin (args, folder, limits, the parent's pid). Lines of JSON go out on stdout:
`{"progress": f}`, then one `{"result": {...}}` or `{"error": {class, what, todo}}`. Limits are set before any file is
read.
The child ends when its stdin closes, because its parent is gone then.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from povwatch.core import machine_faults
from povwatch.core.errors import PovwatchError
from povwatch.core.machine_faults import Place
from povwatch.files import private
from povwatch.media.errors import STEPS, MediaError, NoProcess
from povwatch.process.lifeline import die_with_parent

OPERATIONS = {
    "examine": ("povwatch.media.examine:examine", Place.SOURCE),
    "inspect": ("povwatch.media.probe:inspect", Place.SOURCE),
    "glimpse": ("povwatch.media.probe:glimpse", Place.SOURCE),
    "measure": ("povwatch.media.measure:measure", Place.SOURCE),
    "prepare": ("povwatch.media.prepare:prepare", Place.PREPARE),
    "sound": ("povwatch.media.sound:sound", Place.PREPARE),
    "mask": ("povwatch.media.mask:mask", Place.PREPARE),
    "finish": ("povwatch.media.finish:finish", Place.FINISH),
    "check": ("povwatch.media.check:check", Place.CHECK),
    "score": ("povwatch.media.score:score", Place.CHECK),
    "still": ("povwatch.media.still:still", Place.CHECK),
    "decode": ("povwatch.media.measure:decode", Place.PROCESS),
    "codecs": ("povwatch.media.codecs:codecs", Place.PROCESS),
    "hands": ("povwatch.media.hands:usable", Place.PROCESS),
}
"""Operation to its function, and to its place in machine_faults.TABLE.

The function takes the args as keywords and `report`, which gets the fraction that is done, and returns an object for
JSON.
"""

Operations = Mapping[str, tuple[str, Place]]


def main(operations: Operations = OPERATIONS) -> None:
    """Run the operation that the command line names."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # libraries that print must not reach the channel
    request = json.loads(sys.stdin.buffer.readline())
    limits = request["limits"]
    confine(limits, request["parent"])
    folder = request.get("folder")
    answer = perform(sys.argv[1], request["args"], Reporter(channel), limits, folder, operations=operations)
    channel.write(json.dumps(answer).encode() + b"\n")


def confine(limits: dict[str, Any], parent: int) -> None:
    """Limit this process permanently."""
    for what, value in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        if value is None:
            continue
        hard = resource.getrlimit(what)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # the processor limit's hard bound is a little higher, so that SIGXCPU comes first and tells the cause
        above = 5 if what == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        resource.setrlimit(what, (allowed, allowed + above))
    with contextlib.suppress(OSError):
        os.nice(limits["nice"])
    die_with_parent(parent)


def perform(
    op: str,
    args: dict[str, Any],
    report: Reporter,
    limits: dict[str, Any],
    folder: str | None = None,
    *,
    operations: Operations = OPERATIONS,
) -> dict[str, Any]:
    """Run an operation, in a private folder if one is named. Every outcome becomes an answer."""
    function, place = operations[op]
    try:
        _follow_parent()
        if folder is not None:
            with private.opened(folder) as fd:
                os.fchdir(fd)
        module, name = function.split(":")
        result = getattr(importlib.import_module(module), name)(**args, report=report)
    except Exception as error:  # noqa: BLE001 - the parent has to be told whatever it was
        fault = _known(op, error, limits, place, folder) or _unforeseen(op, error)
        return {"error": {"class": type(fault).__name__, "what": fault.what, "todo": fault.todo}}
    return {"result": result.to_json()}


class Reporter:
    """Reports the progress to the parent, at most ten times a second."""

    EVERY = 0.1

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - anything with write(bytes)
        self._channel = channel
        self._last = 0.0

    def __call__(self, fraction: float) -> None:
        """Report, unless the last report was a moment ago."""
        now = time.monotonic()
        if now - self._last >= self.EVERY:
            self._last = now
            self._channel.write(b'{"progress": %.4f}\n' % min(max(fraction, 0.0), 1.0))


def _follow_parent() -> None:
    """Have this process end when the parent's end of stdin closes, whatever the main thread is doing.

    Raises:
        NoProcess: the thread for it cannot be started.
    """

    def follow() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    try:
        threading.Thread(target=follow, daemon=True).start()
    except RuntimeError as error:
        todo = machine_faults.TODO[errno.EAGAIN]
        raise NoProcess("No thread could be started to look at the clip.", todo) from error


def _known(op: str, error: Exception, limits: dict[str, Any], place: Place, folder: str | None) -> PovwatchError | None:
    code, memory = machine_faults.code_of(error), limits["memory"]
    # if the limit on memory leaves no space for a thread's stack, the machine is not to blame
    crowded = (
        memory is not None
        and isinstance(error, NoProcess)
        and machine_faults.address_space("VmPeak") > memory - machine_faults.STACK
    )
    if isinstance(error, PovwatchError) and not crowded:
        return error
    if memory is not None and (crowded or (code == errno.ENOMEM and machine_faults.gives_memory(memory))):
        return MediaError(
            f"{STEPS[op]} needed more memory than its limit of {memory / 2**30:.1f} GiB.",
            "The clip's frames are too large for this machine's limits.",
        )
    if code == errno.EFBIG:
        return MediaError(f"{STEPS[op]} wrote more than its limit of {limits['file_bytes']} bytes.")
    if machine_faults.said_by_ffmpeg_alone(error, "."):
        return None
    return machine_faults.blamed(error, place, folder or "the clip")


def _unforeseen(op: str, error: Exception) -> MediaError:
    traceback.print_exc(file=sys.stderr)
    return MediaError(f"{STEPS[op]} failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
