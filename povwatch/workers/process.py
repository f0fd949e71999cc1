"""A worker's process: started, listened to, killed, reaped.

Each worker has a thread that listens to its channel, its output and its end, and puts what comes into an inbox.
The thread owns the descriptors and closes them when the process is gone: none is closed under a waiting reader, and no
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
from typing import TYPE_CHECKING

from povwatch.core.command import told
from povwatch.process.environment import child_environment
from povwatch.process.output import Lines
from povwatch.process.start import kill_group, signal_group, start
from povwatch.workers.channel import Channel
from povwatch.workers.protocol import Message, ProtocolError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from povwatch.workers.launch import Launch

WORKER = Path(__file__).with_name("worker.py")

SEND_SECONDS = 2.0
"""A worker that does not read for so long hangs, or is stopped."""

OUTPUT_BYTES = 65536

LINE_MAX = 4096
"""Bytes of one line of output that are kept."""

INBOX_MAX = 1000
"""Items that wait to be taken; while there are so many, lines of output are left out and counted."""

LAST_READS = 1000
"""How often a dead worker's descriptors are read at most: a program that it left behind may go on printing."""


@dataclass(frozen=True, slots=True)
class Received:
    """The worker said something."""

    at: float
    """When it was read, on the clock of the process."""
    message: Message


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of output."""

    line: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """Nothing more comes through the channel: the worker closed it, or what came is no message."""

    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone and was waited for. Nothing comes after this."""

    returncode: int
    """Its exit status; negative for a signal."""


Item = Received | Printed | HungUp | Exited


class WorkerProcess:
    """One worker process, which leads a session of its own.

    Its methods are for one thread. `join` waits, and `send` where the worker does not read, for SEND_SECONDS at most.
    """

    def __init__(self, launch: Launch, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        """Start it.

        Args:
            launch: How.
            clock: Seconds, from any thread; each message is stamped with it.
            wake: Called from the listening thread when there is something to take.

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
        """Send a message; False when the worker does not listen any more: then its end follows, or it has to be killed.

        Raises:
            ProtocolError: The message cannot be a line.
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
        """Send a signal to the worker and to what it started; nothing happens if it is gone."""
        with self._reaping:
            if self._popen.returncode is None:  # else the number may be another's by now
                signal_group(self.pid, number)

    def kill(self) -> None:
        """Kill it. Its `Exited` follows."""
        self.signal(signal.SIGKILL)

    def join(self, timeout: float) -> bool:
        """Wait until the process is gone and all of its descriptors are closed; whether that is so."""
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
            for _ in range(LAST_READS):
                if not list(self._listen_once(selector, wait=False)):
                    break
        self._print(self._lines.end())
        self._channel.close()
        os.close(self._output)
        os.close(self._exit)
        self._inbox.append(Exited(returncode))
        self._wake()

    def _listen_once(self, selector: selectors.BaseSelector, *, wait: bool) -> Iterator[bool]:
        """Read what there is; for each source that had something, yield whether it was the process's end."""
        for key, _ in selector.select(None if wait else 0):
            ended = key.data is None
            if ended or not key.data():
                selector.unregister(key.fileobj)
            yield ended

    def _hear(self) -> bool:
        """Put what the channel holds into the inbox; False when nothing more will come."""
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
        """Put the output into the inbox; False when nothing more will come."""
        data = os.read(self._output, OUTPUT_BYTES)
        self._print(self._lines.take(data))
        return bool(data)

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            if len(self._inbox) >= INBOX_MAX:
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
