"""A worker as its parent holds it: started, listened to, killed, reaped.

One thread a worker listens to its channel, its output and its end, and puts what comes into an inbox.
It owns the descriptors, and lets go of them when the process is gone: nothing is closed under a waiting reader, and no
zombie stays.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.command import told
from povwatch.process.environment import child_environment
from povwatch.process.output import Lines
from povwatch.process.start import kill_group, signal_group, start
from povwatch.workers.channel import Channel
from povwatch.workers.protocol import Message, ProtocolError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping

WORKER = Path(__file__).with_name("worker.py")

SEND_SECONDS = 2.0
"""A worker that does not read for so long has hung, or is stopped."""

OUTPUT_BYTES = 65536

LINE_MAX = 4096
"""Bytes of one line of output that are kept."""

LINES_MAX = 1000
"""Lines of output that wait to be taken; a flood beyond it is left out."""

LAST_READS = 1000
"""How often a dead worker's descriptors are read; a program that it left behind may go on printing."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a worker is started."""

    python: str
    """The interpreter that the engine lives under."""
    engine: str
    """`package.module:Class` or `/path/to/file.py:Class`."""
    config: dict[str, Any]
    """What the engine's `load` gets: JSON values."""
    env: Mapping[str, str]
    """Set on top of the daemon's environment."""


@dataclass(frozen=True, slots=True)
class Received:
    """The worker said something."""

    at: float
    message: Message


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of output."""

    line: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The channel is dead: the worker closed it, or what came is no message."""

    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone and reaped, and nothing comes after this."""

    returncode: int


Item = Received | Printed | HungUp | Exited


class WorkerProcess:
    """One worker process, which leads a session of its own."""

    def __init__(self, launch: Launch, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        """Start it.

        Raises:
            OSError: The interpreter cannot be started.
        """
        self._clock = clock
        self._wake = wake
        self._inbox: deque[Item] = deque()
        self._left_out = 0
        self._lines = Lines(longest=LINE_MAX)
        self._reaping = threading.Lock()
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            self._output, output = os.pipe()
            undo.callback(os.close, self._output)
            with theirs, os.fdopen(output, "wb") as stdout:
                self._popen = _start(launch, theirs, stdout.fileno())
            undo.callback(self._popen.wait)
            undo.callback(self._popen.kill)
            self._exit = os.pidfd_open(self._popen.pid)
            undo.pop_all()
        self._channel = Channel(ours)
        self._channel.give_up_after(SEND_SECONDS)
        self._thread = threading.Thread(target=self._listen, name=f"worker-{self.pid}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The worker's process id, which is its group's too."""
        return self._popen.pid

    def send(self, message: Message) -> bool:
        """Say something; False when the worker does not listen any more. Then its end follows, or it is to be killed.

        Raises:
            ProtocolError: The message makes no line.
        """
        try:
            self._channel.send(message)
        except OSError:
            return False
        return True

    def take(self) -> list[Item]:
        """What has come since the last call, in order. Never waits."""
        items: list[Item] = []
        while self._inbox:
            items.append(self._inbox.popleft())
        return items

    def signal(self, number: int) -> None:
        """Send a signal to the worker and to whatever it started; nothing if it is gone."""
        with self._reaping:
            if self._popen.returncode is None:  # else the number may be another's by now
                signal_group(self.pid, number)

    def kill(self) -> None:
        """Kill it. Its `Exited` follows."""
        self.signal(signal.SIGKILL)

    def join(self, timeout: float) -> bool:
        """Wait until the process is gone and everything about it is released; whether it is."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the listening thread ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        with selectors.PollSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ, self._hear)
            selector.register(self._output, selectors.EVENT_READ, self._copy)
            selector.register(self._exit, selectors.EVENT_READ)
            while not any(self._listen_once(selector, wait=True)):
                self._wake()
            returncode = self._reap()
            for _ in range(LAST_READS):  # its last words
                if not list(self._listen_once(selector, wait=False)):
                    break
        self._print(self._lines.end())
        self._channel.close()
        os.close(self._output)
        os.close(self._exit)
        self._inbox.append(Exited(returncode))
        self._wake()

    def _listen_once(self, selector: selectors.BaseSelector, *, wait: bool) -> Iterator[bool]:
        """Take in what is there; for each source that had something, whether it was the process's end."""
        for key, _ in selector.select(None if wait else 0):
            ended = key.data is None
            if ended or not key.data():
                selector.unregister(key.fileobj)
            yield ended

    def _hear(self) -> bool:
        """Take in what the channel holds; False when it is dead."""
        try:
            messages = self._channel.receive(wait=False)
        except ProtocolError as error:
            self._inbox.append(HungUp(f"It broke the protocol: {error}"))
            return False
        if messages is None:
            self._inbox.append(HungUp("It closed its line."))
            return False
        now = self._clock()
        self._inbox.extend(Received(now, message) for message in messages)
        return True

    def _copy(self) -> bool:
        """Take in what the output holds; False when there is no more."""
        data = os.read(self._output, OUTPUT_BYTES)
        self._print(self._lines.take(data))
        return bool(data)

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            if len(self._inbox) >= LINES_MAX:
                self._left_out += 1
                continue
            note = f"({self._left_out} lines left out) " if self._left_out else ""
            self._left_out = 0
            self._inbox.append(Printed(note + line))

    def _reap(self) -> int:
        with self._reaping:
            kill_group(self.pid)  # what it started; before the wait, since after it the number may be another's
            return self._popen.wait()


def _start(launch: Launch, channel: socket.socket, output: int) -> subprocess.Popen[bytes]:
    fd = channel.fileno()
    return start(
        [launch.python, str(WORKER), "--engine", launch.engine, "--fd", str(fd)],
        env=child_environment(told(), launch.env),
        stdout=output,
        stderr=output,
        keeps=(fd,),
    )
