"""In place of everything slow: media work and an engine whose files say by themselves whether they are whole.

A result names the clip that it was made from, the run that made it, and the sound that it was given. Its last line is
the digest of all before: a file of which a byte is missing, or is zero, does not pass `whole`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import CheckFailed
from povwatch.core.machine_faults import Place, blamed
from povwatch.engines.control_files import ControlFile, files_of
from povwatch.engines.faults import classify
from povwatch.media.child import OPERATIONS
from povwatch.media.errors import MediaError
from povwatch.media.info import Checked, Finished, Masked, Prepared, Scored, SoundTrack, VideoInfo
from povwatch.process import protocol
from povwatch.workers.process import Exited, Received
from povwatch.workers.serve import sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.clock import Clock
    from povwatch.workers.process import Item

PARTS = 4
"""Writes that a file of ours takes."""


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def result(source: str, run: str, sound: str) -> bytes:
    """A result's bytes: some pages of them, so that a torn write is a torn file."""
    head = f"source {source}\nrun {run}\nsound {sound}\n".encode()
    body = head + b"".join(b"frame %05d %s\n" % (n, b"." * 50) for n in range(200))
    return body + _last(body)


def clip() -> bytes:
    """An MP4 that is whole by its own structure; its one sample is what a result holds, and ends with its digest."""
    text = result("clip", "camera", "microphone").rpartition(b"sum ")[0]
    size = len(text) + len(_last(b""))
    ftyp = _box(b"ftyp", b"isom" + bytes(4) + b"isom")

    def moov(offset: int) -> bytes:
        tables = [
            _box(b"stsd", struct.pack(">II", 0, 1) + _box(b"avc1", bytes(78))),
            _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1)),
            _box(b"stsz", struct.pack(">III", 0, size, 1)),
            _box(b"stco", struct.pack(">III", 0, 1, offset)),
        ]
        handler = _box(b"hdlr", bytes(8) + b"vide" + bytes(12))
        media = _box(b"mdia", handler + _box(b"minf", _box(b"stbl", b"".join(tables))))
        return _box(b"moov", _box(b"trak", media))

    head = ftyp + moov(len(ftyp) + len(moov(0)) + 8) + struct.pack(">I4s", 8 + size, b"mdat") + text
    return head + _last(head)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _last(body: bytes) -> bytes:
    return b"sum %s\n" % digest(body).encode()


def whole(data: bytes) -> dict[str, str] | None:
    """What a result, or the clip, says of itself; None if it is not all there."""
    body, _, last = data.rpartition(b"sum ")
    if not body or last.strip() != digest(body).encode():
        return None
    text = body.rpartition(b"mdat")[2]  # in a clip, what stands before is no text
    return dict(line.split() for line in text.decode().splitlines()[:3])


def write(path: str | Path, data: bytes) -> None:
    """Write a file as an encoder does: bit by bit."""
    with Path(path).open("wb", buffering=0) as file:
        step = -(-len(data) // PARTS)
        for begin in range(0, len(data), step):  # noqa: FURB122 - each is to be a call of its own
            file.write(data[begin : begin + step])


def media(op: str, args: dict[str, Any], *, folder: str = "", **_: object) -> dict[str, Any]:
    """In place of media.run.call; in this process, so without the folder as the working directory."""
    paths = {"source", "out_path", "generated", "artifact", "sound"} & args.keys()
    args = args | {name: str(Path(folder, args[name])) for name in paths if args[name]}
    try:
        if op == "inspect":
            return _inspect(Path(args["root"], args["path"]).read_bytes())
        if op == "still":
            return _still(*(Path(video["root"], video["path"]).read_bytes() for video in args["videos"]))
        return MADE[op](args, Path(folder))
    except OSError as error:  # as media.child
        raise blamed(error, OPERATIONS[op][1], folder) or MediaError(
            f"It cannot be read or written: {error}"
        ) from error


class Annotator:
    """In place of engines.annotate.annotator.Annotator: a control that names the clip."""

    def make(self, annotation, prepared, *, folder, out_path, report, cancelled):  # noqa: ARG002 - as the real one
        path = Path(folder, out_path)
        try:
            write(path, result(digest(Path(folder, prepared["path"]).read_bytes()), annotation.kind, "none"))
        except OSError as error:  # as media.child
            raise blamed(error, Place.PREPARE, folder) or MediaError(f"It cannot be written: {error}") from error
        return {"path": out_path, "kind": annotation.kind, "sha256": digest(path.read_bytes()), "device": "cpu"}


class Worker:
    """In place of workers.process.WorkerProcess: loads and generates at once, and tells when it is asked."""

    def __init__(self, clock: Clock, missing: Callable[[], str]) -> None:
        """Start it.

        Args:
            clock: the daemon's.
            missing: says why a job may not begin, as a clause.
        """
        self.pid = os.getpid()
        self._clock, self._missing = clock, missing
        self._items: list[Item] = []

    def send(self, message: protocol.Message) -> bool:
        match message:
            case protocol.Load():
                self._say(protocol.Loaded({"real": True, "model": "toy"}))
            case protocol.Generate():
                self._say(protocol.Started(message.job_id, message.run_id), self._generate(message))
            case protocol.Cancel():
                self._items = [item for item in self._items if not _is_end(item)]
                self._say(protocol.Cancelled(message.job_id, message.run_id))
            case protocol.Shutdown():
                self._items.append(Exited(0))
        return True

    def take(self) -> list[Item]:
        taken, self._items = [Received(self._clock.boot(), protocol.Heartbeat()), *self._items], []
        return taken

    def signal(self, _: int) -> None:
        self._items.append(Exited(-9))

    def kill(self) -> None:
        self.signal(9)

    def join(self, _: float) -> bool:
        return True

    def _say(self, *messages: protocol.Message) -> None:
        self._items += [Received(self._clock.boot(), message) for message in messages]

    def _generate(self, request: protocol.Generate) -> protocol.Message:
        ids = (request.job_id, request.run_id)
        if why := self._missing():
            return protocol.Failed(*ids, "error", why, "")
        try:
            frames = Path(request.job["video"]).read_bytes()
            mask = request.job["spec"].get("guided_generation_mask")
            if mask is not None and whole(Path(mask).read_bytes()) is None:
                return protocol.Failed(*ids, "error", "the mask that it was given is not whole", "")
            controls = _controls(request, frames)
            if depth := request.job["spec"].get("depth"):
                _check_control(Path(depth["control_path"]), frames)
            path = Path(request.workdir, "generated.mp4")
            write(path, result(digest(frames), request.run_id, "none"))
            sync(str(path))
        except OSError as error:
            return protocol.Failed(*ids, *classify(error, request.workdir))
        except CheckFailed as error:
            return protocol.Failed(*ids, "invalid", str(error), "")
        return protocol.Generated(*ids, {"path": str(path), **controls})


def _controls(request: protocol.Generate, frames: bytes) -> dict[str, Any]:
    """Read the control that another look has left, which has to be whole and of this clip; or else leave it."""
    for given in files_of(request.job):
        _check_control(Path(given.path), frames)
        return {"control_files_used": {given.key: given.sha256}}
    if not request.job.get("leave_control_files"):
        return {}
    path = Path(request.workdir, "control_file_edge.mp4")
    write(path, result(digest(frames), request.run_id, "none"))
    sync(str(path))
    return {"control_files": [ControlFile.written(str(path), {"key": "edge"}, 10).to_json()]}


def _check_control(path: Path, frames: bytes) -> None:
    found = whole(path.read_bytes())
    if found is None or found["source"] != digest(frames):
        raise CheckFailed(f"The control {path.name} is not whole, or of another clip: {found}.")


def _is_end(item: Item) -> bool:
    return isinstance(item, Received) and isinstance(item.message, protocol.Generated | protocol.Failed)


def _inspect(data: bytes) -> dict[str, Any]:
    return VideoInfo(
        complete=whole(data) is not None,
        why="" if whole(data) else "It is not whole.",
        container="mov",
        codec="h264",
        width=64,
        height=48,
        display_width=64,
        display_height=48,
        pix_fmt="yuv420p",
        frames=10,
        time_base="1/10",
        rate="10/1",
        constant=True,
        duration=1.0,
        audio="aac",
        size=len(data),
        sha256=digest(data),
    ).to_json()


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


def _sound(args: dict[str, Any], _: Path) -> dict[str, Any]:
    """The sound of the clip's private copy."""
    write(args["out_path"], result(digest(Path(args["source"]).read_bytes()), "no", "no"))
    return SoundTrack(Path(args["out_path"]).name, "aac").to_json()


def _mask(args: dict[str, Any], _: Path) -> dict[str, Any]:
    """The mask of what is kept, which names the file that it was made of."""
    kept = digest(Path(args["root"], args["path"]).read_bytes())
    write(args["out_path"], result(kept, "no", "no"))
    return Masked(Path(args["out_path"]).name, kept, 10, 64, 48, (0, 0, 0), 10, 0.5).to_json()


def _finish(args: dict[str, Any], room: Path) -> dict[str, Any]:
    """The generated frames with the sound that was made before, and the times that were kept beside it."""
    found = whole(Path(args["generated"]).read_bytes())
    if found is None:
        raise CheckFailed("The engine's artifact is not whole.")
    times = (room / args["prepared"]["times"]).read_bytes()
    sound = whole(Path(args["sound"]).read_bytes())
    heard = digest(times + (sound["source"] if sound else "torn").encode())
    write(args["out_path"], result(found["source"], found["run"], heard))
    return Finished(args["out_path"], 10, 64, 48, remuxed=True, sound=True).to_json()


def _check(args: dict[str, Any], _: Path) -> dict[str, Any]:
    data = Path(args["artifact"]).read_bytes()
    if whole(data) is None:
        raise CheckFailed("The finished file is not whole.")
    return Checked(10, 64, 48, "10/1", 1.0, "yuv420p", "h264", "aac", len(data), digest(data)).to_json()


def _score(args: dict[str, Any], room: Path) -> dict[str, Any]:
    """The contact sheet, which names the result that it is of."""
    about = args["about"]
    write(room / about["sheet"], sheet((room / about["result"]).read_bytes()))
    return Scored(scores={"edge_f1": EDGE_F1}, frames=10, sheet=True).to_json()


EDGE_F1 = 0.5
"""The score of every result."""


def sheet(made: bytes) -> bytes:
    """The contact sheet of a result."""
    return b"sheet of " + digest(made).encode()


def sound_of(clip: bytes) -> str:
    """What a result says of its sound if that was made of a whole copy of the clip."""
    return digest(result("no", "no", "no")[:800] + digest(clip).encode())


def _still(*videos: bytes) -> dict[str, Any]:
    """A picture for the page."""
    return {"jpeg": base64.b64encode(b"\xff\xd8\xff" + b"".join(videos)[:100]).decode(), "times": None}


MADE = {"prepare": _prepare, "sound": _sound, "mask": _mask, "finish": _finish, "check": _check, "score": _score}
"""What works on a clip's frames in an attempt's private folder."""
