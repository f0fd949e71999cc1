"""A worker's process: started, read, killed, reaped.

Each worker has a thread that reads its channel, its output and its end, and fills an inbox. The thread owns the
descriptors and closes them when the process is gone. So none is closed while a reader waits, and no zombie stays.
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
from typing import TYPE_CHECKING, Protocol

from povwatch.core.command import worker_environment
from povwatch.process.channel import Channel
from povwatch.process.output import Lines
from povwatch.process.protocol import Message, ProtocolError
from povwatch.process.start import child_environment, kill_group, signal_group, start, worker_command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from povwatch.workers.launch import Launch

SEND_SECONDS = 2.0
"""Seconds without reading after which a worker counts as hung or stopped."""

OUTPUT_BYTES = 65536

LINE_MAX = 4096
"""Bytes kept of one line of output."""

INBOX_MAX = 1000
"""Items that may wait in the inbox; while it is full, lines of output are dropped and counted."""

LAST_READS = 1000
"""Reads of a dead worker's descriptors at most: a program that it left behind may go on printing."""


@dataclass(frozen=True, slots=True)
class Received:
    """The worker sent a message."""

    at: float
    """When it was read, on the clock of the process."""
    message: Message


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of output."""

    line: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """No more messages follow: the worker closed the channel, or sent something that is no message."""

    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone and was waited for. No item follows."""

    returncode: int
    """Its exit status; negative for a signal."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker on another machine is gone, or out of reach. No item follows."""

    why: str
    """For people, as sentences."""
    died: bool
    """Whether it died while it was ours; else it was taken away, and its job is not to blame."""
    broken: bool = False
    """See WorkerLeft."""
    pause: float = 0.0
    """Seconds until the job that it had may be given to another one."""


Item = Received | Printed | HungUp | Exited | Gone


class Process(Protocol):
    """A worker's process, here (WorkerProcess) or on another machine (remote/process.py)."""

    @property
    def pid(self) -> int:
        """Its process id where it runs."""

    def send(self, message: Message) -> bool:
        """See WorkerProcess."""

    def take(self) -> list[Item]:
        """See WorkerProcess."""

    def signal(self, number: int) -> None:
        """See WorkerProcess."""

    def kill(self) -> None:
        """Kill the worker. `Exited` or `Gone` follows."""

    def join(self, timeout: float) -> bool:
        """See WorkerProcess."""


class WorkerProcess:
    """One worker process, which leads a session of its own.

    Its methods are for one thread. `join` waits. `send` waits if the worker does not read, for SEND_SECONDS at most.
    """

    def __init__(self, launch: Launch, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        """Start the process.

        Args:
            clock: Seconds, from any thread; stamps each message.
            wake: Called from the reading thread when there is something to take.

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
        """The worker's process id, which is also its group's."""
        return self._popen.pid

    def send(self, message: Message) -> bool:
        """Send a message; False if the worker does not read any more. Then its end follows, or it has to be killed.

        Raises:
            ProtocolError: The message cannot be a line.
        """
        try:
            self._channel.send(message)
        except OSError:
            return False
        return True

    def take(self) -> list[Item]:
        """The items since the last call, in order. Never waits."""
        items: list[Item] = []
        while self._inbox:
            items.append(self._inbox.popleft())
        return items

    def signal(self, number: int) -> None:
        """Send a signal to the worker and its descendants; nothing happens if they are gone."""
        with self._reaping:
            if self._popen.returncode is None:  # else the number may be another process's
                signal_group(self.pid, number)

    def kill(self) -> None:
        """Kill the worker. `Exited` follows."""
        self.signal(signal.SIGKILL)

    def join(self, timeout: float) -> bool:
        """Wait until the process is gone and its descriptors are closed; return whether that happened."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the listening thread ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        with selectors.PollSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ, self._read_channel)
            selector.register(self._output, selectors.EVENT_READ, self._read_output)
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
        """Read what is available; for each source that was ready, yield whether it was the process's end."""
        for key, _ in selector.select(None if wait else 0):
            ended = key.data is None
            if ended or not key.data():
                selector.unregister(key.fileobj)
            yield ended

    def _read_channel(self) -> bool:
        """Move messages from the channel to the inbox; False when no more will come."""
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

    def _read_output(self) -> bool:
        """Move output to the inbox; False when no more will come."""
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
            kill_group(self.pid)  # its descendants; after the wait, the number may be another process's
            return self._popen.wait()


def _start(launch: Launch, channel: socket.socket, output: int) -> subprocess.Popen[bytes]:
    fd = channel.fileno()
    return start(
        worker_command(launch.python, launch.engine, fd),
        env=child_environment(worker_environment(), launch.env),
        stdout=output,
        stderr=output,
        keeps=(fd,),
    )
