"""What runs on a node: it looks whether the node can work, and is the parent of one worker. It does not import Ray.

Ray runs a Host in a process of its own (an actor), each call of a method in some thread of it. Arguments and results
are plain data, because Ray pickles them.

The worker is no child of this process. Between the two is a reaper (process/reaper.py): however this process ends, the
reaper sees the end of its standard input, and kills the worker with everything that it started. If the reaper is killed
the kernel kills the worker (lifeline.py), and this process whatever else there was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from povwatch.bridge.orphans import MARK, mark, sweep
from povwatch.bridge.scratch import Scratch
from povwatch.core.errors import PovwatchError
from povwatch.core.machine_faults import Place, blamed
from povwatch.files import atomic, fs, private
from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.process.output import LimitedLines
from povwatch.process.start import REAPER, child_environment, describe_end, start, worker_command
from povwatch.workers.worker import OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIGN_OF_LIFE = 2.0
"""Seconds after which `says` yields at the latest, even if there is nothing to tell."""

GATHER = 0.05
"""Seconds in which further messages are gathered into one answer: each costs the bridge as much as many do."""

UNHEARD = 60.0
"""Seconds without a call from the bridge after which it counts as gone: worker and process end."""

LINGER = 30.0
"""Seconds that this process stays after its worker, for its last words and chunks to be fetched."""

SEND_SECONDS = 2.0
"""Seconds without reading after which the worker counts as hung."""

NONCE_MAX = 100

READ_BYTES = 65536

RUNTIME_SECONDS = 30.0
"""Seconds for an interpreter to say its version; a cold disk is slow."""

RAY_OMP = "1"
"""What Ray sets OMP_NUM_THREADS to for an actor that reserves no CPU: a worker takes what the node has."""

VARIABLE = "POVWATCH_NODE_STATE"
"""The variable of a node's environment that names the folder for what povwatch keeps there."""


def state_folder() -> str:
    """The folder for what povwatch keeps on this node: compiled code, and clips in work if files are streamed."""
    return os.environ.get(VARIABLE) or os.path.expanduser("~/.local/state/povwatch-node")  # noqa: PTH111


class Host:
    """A node's side of one worker. Each method may run in a thread of its own, `says` in one for as long as it runs."""

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        """Nothing is started yet. `leave` ends this process with an exit status."""
        self._leave = leave
        self._state = state_folder()
        self._scratch = Scratch(self._state)
        self._heard_at = time.monotonic()
        self._reading: _Reading | None = None
        self._worker: int | None = None
        """The worker's process id, which is also its group's; None while it does not run."""
        threading.Thread(target=self._end_if_unheard, name="unheard", daemon=True).start()

    # -- whether the node can work

    def look(self, runtime: str, engine: str, needed: int) -> dict[str, Any]:
        """Look at this node.

        Args:
            runtime: the engine's interpreter; empty for ours.
            engine: see Launch.engine.
            needed: bytes that have to be free in the node's state folder.

        Returns:
            `problems` (why it cannot work, as sentences about it), `state` (its folder), `runtime`, `clock` (seconds
            since the epoch).
        """
        self.ping()
        runtime = runtime or sys.executable
        problems = [why for why in (_runtime_problem(runtime), _engine_problem(engine), self._disk(needed)) if why]
        return {
            "problems": problems,
            "state": self._state,
            "runtime": runtime,
            "clock": time.time(),
        }

    def answer_canary(self, folder: str, name: str) -> str:
        """Read a file of a shared folder, and write it backwards into an answer beside it, synced and renamed.

        Returns:
            Why that is impossible here, as a sentence; empty if it was done.
        """
        self.ping()
        return _canary(folder, name)

    # -- the worker

    def start(self, runtime: str, engine: str, called: dict[str, str], folders: Sequence[str]) -> list[Any]:
        """Start the worker, once; returns its process id, and the names of the GPUs that it sees.

        Args:
            called: variables for its environment.
            folders: are made if they are missing.

        Raises:
            OSError: it cannot be started.
        """
        self.ping()
        sweep()
        for folder in folders:
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - as the paths came
        ours, theirs = socket.socketpair()
        env = _environment()
        with theirs:
            fd, pipe = theirs.fileno(), subprocess.PIPE
            argv = [sys.executable, "-I", "-S", str(REAPER)]
            started = start(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe, keeps=(fd,))
            request = {
                "argv": worker_command(runtime, engine, fd),
                "cwd": self._state,
                "env": env | called | {MARK: mark()},
                "keeps": [fd],
                "apart": True,
            }
            reading = _Reading(Channel(ours), started)
            reading.request(request)
            answer = reading.first_answer()
        started.wait()  # it has left its place to a child of its own
        if "started" not in answer:
            raise OSError(answer.get("error") or errno.ECHILD, answer.get("text", "its reaper was killed"))
        self._reading = reading
        self._worker = int(answer["started"])
        return [self._worker, _gpu_names(os.environ.get("CUDA_VISIBLE_DEVICES", ""))]

    def says(self) -> Iterator[list[list[Any]]]:
        """Yield what the worker says, until it is gone, and then end this process. Called once, after `start`.

        Each item is a list of ["line", message as bytes], ["printed", lines], and at the end ["ended", exit status or
        None if nobody knows it, names of processes that it left]. An empty list is a sign of life.
        """
        reading = self._started()
        ended = False
        while not ended:
            items, ended = reading.next(SIGN_OF_LIFE)
            if ended:
                self._worker = None
                sweep(ours_too=True)
            yield items
        leaving = threading.Timer(LINGER, self._leave, (0,))
        leaving.daemon = True
        leaving.start()

    def tell(self, lines: Sequence[bytes]) -> bool:
        """Send the worker these messages; False if it does not read any more."""
        self.ping()
        try:
            for line in lines:
                self._started().channel.send(protocol.decode(line)[0])
        except OSError:
            return False
        return True

    def signal(self, number: int) -> None:
        """Send the worker and its group a signal; nothing happens if they are gone."""
        self.ping()
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._worker, number)

    def ping(self) -> None:
        """Know that the bridge is there."""
        self._heard_at = time.monotonic()

    def end(self) -> None:
        """Kill the worker with everything that it started, and end this process."""
        self._end()

    # -- files, where no folder is shared

    def files(self, what: str, *arguments: Any) -> Any:  # noqa: ANN401 - as the method of Scratch has it
        """Call a method of Scratch."""
        self.ping()
        return self._scratch.call(what, *arguments)

    # -- helpers

    def _disk(self, needed: int) -> str:
        try:
            os.makedirs(self._state, mode=0o700, exist_ok=True)  # noqa: PTH103
            probe = os.path.join(self._state, f".probe-{os.getpid()}")  # noqa: PTH118
            with open(probe, "wb") as file:  # noqa: PTH123
                file.write(b"povwatch")
                file.flush()
                os.fsync(file.fileno())
            os.unlink(probe)  # noqa: PTH108
            found = os.statvfs(self._state)
        except OSError as error:
            known = blamed(error, Place.PRIVATE_FOLDER, self._state)
            what = known.what if known else f"{self._state} cannot be written: {error.strerror}."
            return f"{what} {VARIABLE} names another folder."
        free = found.f_bavail * found.f_frsize
        if free < needed:
            return (
                f"{self._state} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed. "
                f"Free some; {VARIABLE} names another folder."
            )
        return ""

    def _started(self) -> _Reading:
        if self._reading is None:
            raise RuntimeError("no worker was started")
        return self._reading

    def _end_if_unheard(self) -> None:
        while time.monotonic() - self._heard_at < UNHEARD:
            time.sleep(1.0)
        self._end()

    def _end(self) -> None:
        sweep(ours_too=True)
        self._leave(0)  # at which the reaper kills what came after


class _Reading:
    """What comes from a worker and its reaper; for one thread, but for `channel.send`."""

    def __init__(self, channel: Channel, reaper: subprocess.Popen[bytes]) -> None:
        if reaper.stdin is None or reaper.stdout is None or reaper.stderr is None:
            raise ValueError("a reaper needs three pipes")
        channel.give_up_after(SEND_SECONDS)
        self.channel = channel
        self._requests, self._answers, self._output = reaper.stdin, reaper.stdout, reaper.stderr
        self._rest = b""
        self._lines = LimitedLines(time.monotonic())  # what floods would come in the way of messages
        self._end: list[Any] = ["ended", None, []]
        self._selector = selectors.PollSelector()
        for source in (channel, self._answers, self._output):
            self._selector.register(source, selectors.EVENT_READ)

    def request(self, request: dict[str, Any]) -> None:
        """Tell the reaper what to run."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def first_answer(self) -> dict[str, Any]:
        """Wait for the reaper's first answer; empty if it was killed."""
        while b"\n" not in self._rest:
            data = os.read(self._answers.fileno(), READ_BYTES)
            if not data:
                return {}
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def next(self, seconds: float) -> tuple[list[list[Any]], bool]:
        """Wait for something, so many seconds at most; return it, and whether it is the last."""
        items = self._read(seconds)
        if items and all(item[0] == "line" for item in items):
            time.sleep(GATHER)
            items += self._read(0)
        if self._answers in self._selector.get_map():
            return items, False
        while more := self._read(0):  # a program that outlives it cannot be: all was killed
            items += more
        printed = self._lines.end(time.monotonic())
        if self._lines.left_out:
            printed += [f"({self._lines.left_out} lines left out; the last ones:)", *self._lines.tail]
        for source in (self.channel, self._requests, self._answers, self._output):
            with contextlib.suppress(OSError):
                source.close()
        return [*items, *([["printed", printed]] if printed else []), self._end], True

    def _read(self, seconds: float) -> list[list[Any]]:
        items: list[list[Any]] = []
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self.channel:
                found = self._messages()
            else:
                data = os.read(key.fd, READ_BYTES)
                found = self._printed(data) if key.fileobj is self._output else self._answered(data)
                if not data:
                    self._selector.unregister(key.fileobj)
            items += found
        return items

    def _messages(self) -> list[list[Any]]:
        problem: list[list[Any]] = []
        try:
            messages = self.channel.receive(wait=False)
        except protocol.ProtocolError as error:
            messages, problem = None, [["printed", [f"(povwatch: it broke the protocol: {error})"]]]
        if messages is None:
            self._selector.unregister(self.channel)
            return problem
        return [["line", protocol.encode(message, 1)] for message in messages]

    def _printed(self, data: bytes) -> list[list[Any]]:
        lines = self._lines.take(data, time.monotonic())
        return [["printed", lines]] if lines else []

    def _answered(self, data: bytes) -> list[list[Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "status" in answer:
                self._end = ["ended", answer["status"], answer["left"]]
        return []


def _environment() -> dict[str, str]:
    """The environment of a worker: the node's, without what is Ray's own, such as its token."""
    env = {name: value for name, value in child_environment().items() if not name.startswith("RAY_")}
    if env.get("OMP_NUM_THREADS") == RAY_OMP:
        del env["OMP_NUM_THREADS"]
    return env


def _runtime_problem(runtime: str) -> str:
    if not os.access(runtime, os.X_OK):
        return f"The engine's interpreter {runtime} is not there. Set it up with script/pool-node, or set pool.runtime."
    code = "import sys; print(*sys.version_info[:2])"
    try:
        asked = start([runtime, "-I", "-S", "-c", code], env=_environment(), stdout=subprocess.PIPE)
        said = asked.communicate(timeout=RUNTIME_SECONDS)[0].split()
    except OSError as error:
        return f"The engine's interpreter {runtime} cannot be started: {error.strerror}."
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.wait()
        return f"The engine's interpreter {runtime} did not start within {RUNTIME_SECONDS:g} s."
    if asked.returncode or len(said) != 2:  # noqa: PLR2004 - major and minor
        return f"The engine's interpreter {runtime} does not run: it {describe_end(asked.returncode)}."
    version = tuple(map(int, said))
    if version < OLDEST:
        return f"The engine's interpreter {runtime} is Python {version[0]}.{version[1]}; 3.10 or later is needed."
    return ""


def _engine_problem(engine: str) -> str:
    file = engine.rpartition(":")[0]
    if file.endswith(".py") and not os.path.isfile(file):  # noqa: PTH113
        return f"The engine's file {file} is not there. Copy it to the same path on every node."
    return ""


def _gpu_names(visible: str) -> list[str]:
    """Names of the GPUs that CUDA_VISIBLE_DEVICES shows; empty where the driver tells nothing."""
    try:
        from povwatch.gpu.nvml import read_gpus  # noqa: PLC0415 - a node without GPU may lack it

        found = read_gpus().found
    except Exception:  # noqa: BLE001 - the names are for people alone
        return []
    seen = [one.strip() for one in visible.split(",") if one.strip()]
    return [gpu.name for n, gpu in enumerate(found) if str(n) in seen or gpu.uuid in seen]


def _canary(folder: str, name: str) -> str:
    """See Host.answer_canary."""
    try:
        with private.opened(folder) as fd:
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            with fs.closing(source):
                owner, nonce = os.fstat(source).st_uid, fs.read_at_most(source, NONCE_MAX)
            if owner != os.geteuid():
                return f"povwatch's files in {folder} belong to user {owner} there, and it runs as user {os.geteuid()}."
            atomic.create(fd, answer_name(name).encode(), nonce[::-1])
    except PovwatchError as error:
        return error.what
    except FileNotFoundError:
        return f"{folder} is another folder there: what is written here is not seen."
    except OSError as error:
        return f"{folder} cannot be used there: {error.strerror}."
    return ""


def answer_name(name: str) -> str:
    """What the answer to a canary is called."""
    return f"{name}.answer"
