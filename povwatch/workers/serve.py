"""Runs a worker: loads its engine once, then does one job after the other. Python 3.10, standard library alone.

The main thread belongs to the engine. A second thread sends heartbeats. A third one reads messages, so that a
cancellation is heard while the engine works. It ends the process if the daemon is gone or asks for the end, and the
engine does not stop.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import platform
import queue
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core.sentences import joined
from povwatch.engines.control_files import left_by
from povwatch.engines.faults import MESSAGE_MAX, classify
from povwatch.engines.port import Context, EngineBlocked, EngineCancelled, EngineFailure
from povwatch.process import protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Engine
    from povwatch.process.channel import Channel

HEARTBEAT = 1.0
"""Seconds between heartbeats."""

LINGER = 2.0
"""Seconds for an engine to stop its job before the process ends."""

PROGRESS_EVERY = 0.1
"""Seconds between two reports within one chunk: nobody reads faster."""

LOAD_FAILED = 3
"""Exit status after a failed load."""


@dataclass(frozen=True)
class _ReceivedJob:
    """A job, from its request to its end."""

    request: protocol.Generate
    cancelled: threading.Event = field(default_factory=threading.Event)


class Serving:
    """A worker, from its first message to its exit status."""

    def __init__(self, channel: Channel, engine: str) -> None:
        self._channel = channel
        self._engine = engine
        self._inbox: queue.SimpleQueue[protocol.Load | protocol.CheckPrompts | _ReceivedJob | None] = (
            queue.SimpleQueue()
        )
        self._job: _ReceivedJob | None = None
        """The last job received. The reading thread sets it, so that no cancellation precedes it."""

    def run(self) -> int:
        """Serve until the daemon sends Shutdown or hangs up; return the exit status."""
        self._send(protocol.Hello(os.getpid(), platform.python_version()))
        threading.Thread(target=self._read_messages, name="reader", daemon=True).start()
        threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True).start()
        load = self._inbox.get()
        if not isinstance(load, protocol.Load):
            return 0
        engine = self._load(load.config)
        if engine is None:
            return LOAD_FAILED
        while isinstance(asked := self._inbox.get(), (_ReceivedJob, protocol.CheckPrompts)):
            if isinstance(asked, _ReceivedJob):
                self._answer(asked.request, self._generate(engine, asked))
            else:
                self._send(_checked_prompts(engine, asked))
        return 0

    def _load(self, config: dict[str, Any]) -> Engine | None:
        def report(stage: str, fraction: float | None) -> None:
            self._send(protocol.LoadProgress(stage, None if fraction is None else float(fraction)))

        try:
            engine = find_engine(self._engine)
            capabilities = engine.load(config, report)
            if not isinstance(capabilities, dict):
                raise EngineFailure("error", f"The engine's load returned {capabilities!r}, not a dict.")  # noqa: TRY301 - one way for all
            self._send(protocol.Loaded(capabilities))
        except BaseException as error:  # noqa: BLE001 - sys.exit in an engine is a failure of the load, no more
            traceback.print_exc()
            self._send(protocol.LoadFailed(*classify(error)))
            return None
        return engine

    def _generate(self, engine: Engine, job: _ReceivedJob) -> protocol.Message:
        request = job.request
        whose = (request.job_id, request.run_id)
        self._send(protocol.Started(*whose))
        try:
            artifact = engine.generate(request.job, self._context(job))
            return protocol.Generated(*whose, checked(artifact, request.workdir))
        except EngineCancelled:
            if job.cancelled.is_set():
                return protocol.Cancelled(*whose)
            return protocol.Failed(*whose, "error", "The engine raised EngineCancelled, which nobody asked for.", "")
        except EngineBlocked as refusal:
            return protocol.Blocked(*whose, str(refusal)[:MESSAGE_MAX])
        except BaseException as error:  # noqa: BLE001 - upstream calls sys.exit(1) where it should raise
            traceback.print_exc()
            return protocol.Failed(*whose, *classify(error, request.workdir))

    def _context(self, job: _ReceivedJob) -> Context:
        request = job.request
        last: tuple[str, int] | None = None
        said_at = 0.0

        def report(stage: str, chunk: int, chunks: int, step: int, steps: int) -> None:
            nonlocal last, said_at
            now = time.monotonic()
            if (stage, chunk) == last and now - said_at < PROGRESS_EVERY and step < steps:
                return
            last, said_at = (stage, chunk), now
            numbers = (int(chunk), int(chunks), int(step), int(steps))  # JSON takes no NumPy integers
            self._send(protocol.Progress(request.job_id, request.run_id, stage, *numbers))

        return Context(request.workdir, request.checkpoint_dir, report=report, is_cancelled=job.cancelled.is_set)

    def _answer(self, request: protocol.Generate, answer: protocol.Message) -> None:
        try:
            self._send(answer)
        except protocol.ProtocolError as error:  # the artifact has a value that JSON does not have
            self._send(protocol.Failed(request.job_id, request.run_id, "error", f"No artifact: {error}", ""))

    def _send(self, message: protocol.Message) -> None:
        with contextlib.suppress(OSError):  # the daemon is gone: the reading thread notices too, and ends the process
            self._channel.send(message)

    def _send_heartbeats(self) -> None:
        while True:
            self._send(protocol.Heartbeat())
            time.sleep(HEARTBEAT)

    def _read_messages(self) -> None:
        try:
            while (messages := self._channel.receive()) is not None and all(map(self._handle, messages)):
                pass
        except protocol.ProtocolError:
            traceback.print_exc()
        self._inbox.put(None)
        if self._job is not None:
            self._job.cancelled.set()
        time.sleep(LINGER)
        os._exit(1)  # the engine hangs, perhaps in C code, where nothing else ends it

    def _handle(self, message: protocol.Message) -> bool:
        """Act on a message from the daemon; False after the last one."""
        if isinstance(message, protocol.Generate):
            self._job = _ReceivedJob(message)
            self._inbox.put(self._job)
        elif isinstance(message, protocol.Cancel):
            if self._job is not None and self._job.request.run_id == message.run_id:
                self._job.cancelled.set()
        elif isinstance(message, (protocol.Load, protocol.CheckPrompts)):
            self._inbox.put(message)
        else:
            return False
        return True


def find_engine(name: str) -> Engine:
    """The engine that `package.module:Class` or `/path/to/file.py:Class` names, instantiated but not loaded.

    Raises:
        EngineFailure: There is no engine of that name.
        Exception: Whatever the import raises.
    """
    where, _, what = name.rpartition(":")
    if not where or not what:
        raise EngineFailure("invalid", f"engine {name!r} is not of the form module:Class or /path/to/file.py:Class.")
    if where.endswith(".py"):
        module_name = f"povwatch_engine_{os.path.basename(where)[:-3]}"  # noqa: PTH119 - pathlib is slow to import
        spec = importlib.util.spec_from_file_location(module_name, where)
        if spec is None or spec.loader is None:
            raise EngineFailure("invalid", f"{where} is no Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    make: Callable[[], Engine] | None = getattr(module, what, None)
    if make is None:
        raise EngineFailure("invalid", f"{where} has no {what}.")
    return make()


def _checked_prompts(engine: Any, asked: protocol.CheckPrompts) -> protocol.PromptsChecked:  # noqa: ANN401 - not every engine is a PromptChecker
    """Let the engine's text filters check texts. Whatever fails is told, and costs no job."""
    try:
        verdicts = engine.check_prompts(asked.texts)
        if not isinstance(verdicts, list) or len(verdicts) != len(asked.texts):
            raise EngineFailure("error", f"The filters answered {len(asked.texts)} texts with {verdicts!r}.")  # noqa: TRY301 - one way for all
        return protocol.PromptsChecked(asked.number, verdicts, "", "")
    except BaseException as error:  # noqa: BLE001 - as in _generate
        traceback.print_exc()
        kind, message, todo = classify(error)
        return protocol.PromptsChecked(asked.number, [], kind, joined(message, todo))


def checked(artifact: object, workdir: str) -> dict[str, Any]:
    """Check that the artifact's files are in the work folder, put them on the disk, and return the artifact.

    Raises:
        EngineFailure: It names no file, or one outside the work folder.
    """
    path = artifact.get("path") if isinstance(artifact, dict) else None
    if not isinstance(artifact, dict) or not isinstance(path, str):
        raise EngineFailure("error", f"The engine returned {artifact!r}, not a dict with a path.")
    controls = artifact.get("controls") or {}
    if not isinstance(controls, dict) or not all(isinstance(name, str) for pair in controls.items() for name in pair):
        raise EngineFailure("error", f"The engine's control videos are {controls!r}, not a dict of paths.")
    for file in (path, *controls.values(), *(one.path for one in left_by(artifact))):
        _check_file(file, workdir)
    return artifact


def _check_file(path: str, workdir: str) -> None:
    """Check that a file is inside the work folder, and put it on the disk."""
    inside = os.path.join(os.path.realpath(workdir), "")  # noqa: PTH118 - see find_engine
    if not os.path.realpath(path).startswith(inside):
        raise EngineFailure("error", f"The engine's artifact {path!r} is not inside its work folder {workdir!r}.")
    if not os.path.isfile(path):  # noqa: PTH113
        raise EngineFailure("error", f"The engine's artifact {path!r} is no file.")
    sync(path)


def sync(path: str) -> None:
    """Put a file and its name on the disk: once the daemon knows of it, it is never generated again."""
    for place in (path, os.path.dirname(path)):  # noqa: PTH120 - see find_engine
        fd = os.open(place, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
