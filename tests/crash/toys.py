"""In place of everything slow: media work and an engine whose files say by themselves whether they are whole.

A result names the clip that it was made from, the run that made it, and the sound that it was given. Its last line is
the digest of all before: a file of which a byte is missing, or is zero, does not pass `whole`.
"""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.engine.events import JobCancelled, JobFailed, JobGenerated, job_error
from povwatch.engine.serve import sync
from povwatch.engine.states import SupervisorState
from povwatch.errors import CheckFailed, DiskFull
from povwatch.media.errors import MediaError
from povwatch.media.info import Checked, Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engine.events import Event
    from povwatch.engine.protocol import Generate

PARTS = 4
"""Writes that a file of ours takes."""

INFO = {
    "sha256": "",
    "size": 0,
    "codec": "h264",
    "pix_fmt": "yuv420p",
    "display_width": 64,
    "display_height": 48,
    "rotation": 0,
    "frames": 10,
    "rate": "10/1",
    "constant": True,
    "duration": 1.0,
    "audio": "aac",
    "complete": True,
}
"""VideoInfo of a clip, as far as anybody asks."""


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def result(source: str, run: str, sound: str) -> bytes:
    """A result's bytes: some pages of them, so that a torn write is a torn file."""
    head = f"source {source}\nrun {run}\nsound {sound}\n".encode()
    body = head + b"".join(b"frame %05d %s\n" % (n, b"." * 50) for n in range(200))
    return body + b"sum %s\n" % digest(body).encode()


def whole(data: bytes) -> dict[str, str] | None:
    """What a result says of itself; None if it is not all there."""
    body, _, last = data.rpartition(b"sum ")
    if not body or last.strip() != digest(body).encode():
        return None
    return dict(line.split() for line in body.decode().splitlines()[:3])


def write(path: str | Path, data: bytes) -> None:
    """Write a file as an encoder does: bit by bit."""
    with Path(path).open("wb", buffering=0) as file:
        step = -(-len(data) // PARTS)
        for begin in range(0, len(data), step):  # noqa: FURB122 - each is to be a call of its own
            file.write(data[begin : begin + step])


def media(op: str, args: dict[str, Any], *, room: str, **_: object) -> dict[str, Any]:
    """In place of media.run.call; in this process, so without the room as the working directory."""
    paths = {"source", "out_path", "generated", "artifact"} & args.keys()
    args = args | {name: str(Path(room, args[name])) for name in paths}
    try:
        return {"prepare": _prepare, "finish": _finish, "check": _check}[op](args, Path(room))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull("No space is left for the working copy.") from error
        raise MediaError(f"It cannot be read or written: {error}") from error


class Worker:
    """In place of engine.supervisor.Supervisor, with its worker: generates at once, tells at the next poll."""

    def __init__(self, missing: Callable[[], str]) -> None:
        """Make it; `missing` says why it may not begin, as a clause."""
        self._missing = missing
        self.state = SupervisorState.READY
        self.capabilities = {"real": True, "model": "toy"}
        self.loading = self.pid = self.last_error = None
        self._events: list[Event] = []

    def next_deadline(self) -> None:
        return None

    def generate(self, request: Generate) -> None:
        ids = (request.job_id, request.run_id)
        self.state = SupervisorState.BUSY
        if why := self._missing():
            self._events.append(JobFailed(*ids, "error", job_error("error", why, "")))
            return
        try:
            frames = Path(request.job["video"]).read_bytes()
            path = Path(request.workdir, "generated.mp4")
            write(path, result(digest(frames), request.run_id, "none"))
            sync(str(path))
            self._events.append(JobGenerated(*ids, {"path": str(path)}))
        except OSError as error:
            kind = "disk-full" if error.errno == errno.ENOSPC else "error"
            self._events.append(JobFailed(*ids, kind, job_error(kind, str(error), "")))

    def poll(self, _: float) -> list[Event]:
        told, self._events = self._events, []
        if told:
            self.state = SupervisorState.READY
        return told

    def cancel(self, run_id: str, why: str) -> None:
        self._events = [JobCancelled(event.job_id, run_id, why) for event in self._events]

    def stop(self, _: str) -> None:
        self.state = SupervisorState.STOPPED

    def close(self) -> None:
        self.state = SupervisorState.STOPPED


def _prepare(args: dict[str, Any], _: Path) -> dict[str, Any]:
    frames = Path(args["source"]).read_bytes()
    times = f"{args['out_path']}.times"
    write(args["out_path"], frames)
    write(times, result("no", "no", "no")[:800])
    return Prepared(
        path=args["out_path"],
        frames=10,
        width=64,
        height=48,
        pad=(0, 0, 0, 0),
        fps_num=10,
        fps_den=1,
        copied=False,
        times=times,
        time_base="1/10",
        rate="10/1",
        constant=True,
    ).to_json()


def _finish(args: dict[str, Any], room: Path) -> dict[str, Any]:
    """The generated frames with the sound of the clip's private copy and the times that were kept beside it."""
    found = whole(Path(args["generated"]).read_bytes())
    if found is None:
        raise CheckFailed("The engine's artifact is not whole.")
    times = (room / args["prepared"]["times"]).read_bytes()
    sound = digest(Path(args["source"]).read_bytes() + times)
    write(args["out_path"], result(found["source"], found["run"], sound))
    return {}


def _check(args: dict[str, Any], _: Path) -> dict[str, Any]:
    data = Path(args["artifact"]).read_bytes()
    if whole(data) is None:
        raise CheckFailed("The finished file is not whole.")
    return Checked(10, 64, 48, "10/1", 1.0, "yuv420p", "h264", "aac", len(data), digest(data)).to_json()


def sound_of(clip: bytes) -> str:
    """What a result says of its sound if it was finished from a whole copy of the clip."""
    return digest(clip + result("no", "no", "no")[:800])
