"""Runs the processes of a job on several GPUs, started as torchrun would start them. Python 3.10, standard library.

Each rank is a worker like any other (workers/worker.py, serve.py). Rank 0 is the worker that the daemon knows. It
starts the others with torchrun's variables and gives them their jobs over the same protocol. A pipe carries what rank 0
decides for all, such as to leave the job. torchrun itself is not used: it gives its ranks no descriptor, and restarts
them without the daemon's knowledge.

A rank that waits for another in a collective waits for half an hour. So the death of any rank ends rank 0, and with it
the group; the supervisor starts another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.core.sentences import joined
from povwatch.engines.faults import classify
from povwatch.engines.port import SPOILING, EngineCancelled, EngineFailure
from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.process.start import describe_end, start, worker_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from povwatch.engines.port import Context

HOST = "127.0.0.1"

ALIKE = 20.0
"""Seconds within which ranks that fail of the same cause do so."""

SOON = 0.5
"""Seconds for rank 0 to hand over its result before it ends."""

BROKEN = 4
"""Exit status of rank 0 when another rank is lost."""

END = b"end\n"
"""What rank 0 tells last in a job, where it tells the others what to compute."""

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""torchrun's variables that torch and upstream read."""


class Ranks:
    """The other ranks, as rank 0 sees them; none if one GPU does the job."""

    def __init__(self, engine: str, configs: Sequence[dict[str, Any]]) -> None:
        """Start the other ranks, which begin to load.

        Args:
            engine: their engine, in the form that a worker gets.
            configs: what each is told to load; the key "words" is added, the pipe's descriptor for `Words`.
        """
        self.size = 1 + len(configs)
        self._peers: list[_Peer] = []
        for name in RANK_VARIABLES:  # the daemon's own environment may have them
            os.environ.pop(name, None)
        if self.size == 1:
            return
        port = str(_free_port())
        for rank, config in enumerate(configs, 1):
            self._peers.append(_Peer(rank, engine, _rank_environment(rank, self.size, port), config))
        os.environ.update(_rank_environment(0, self.size, port))

    def wait_until_loaded(self) -> None:
        """Wait for the other ranks. If one fails, this process prints why and ends."""
        for peer in self._peers:
            peer.loaded.wait()

    def notes(self) -> list[str]:
        """What the other ranks said of their machine when they were loaded; see port.Engine.load."""
        return [note for peer in self._peers for note in peer.notes]

    def tell(self, words: bytes) -> None:
        """Send the other ranks something."""
        for peer in self._peers:
            os.write(peer.words, words)

    @contextlib.contextmanager
    def working(self, job: dict[str, Any], context: Context) -> Iterator[None]:
        """Have all ranks do a job.

        Raises:
            EngineFailure: Rank 0 failed, and another rank did not fail of the same cause: it may wait for ever.
        """
        request = protocol.Generate(job, "group", context.workdir, context.checkpoint_dir)
        for peer in self._peers:
            peer.begin(request)
        try:
            yield
        except EngineCancelled:
            self._end()
            raise
        except Exception as error:
            self._end(error)
            raise
        self._end()

    def _end(self, error: Exception | None = None) -> None:
        late = [peer.rank for peer in self._peers if not peer.done.wait(ALIKE)]
        if late:
            what = f"Rank {late[0]} of {self.size} did not end the job with the others"
            kind, *_ = classify(error) if error else ("sticky",)
            raise EngineFailure(
                kind if kind in SPOILING else "sticky",
                f"{what}: {error}" if error else f"{what}.",
                "The group is started anew.",
            ) from error
        for peer in self._peers:
            peer.settle(alike=error is not None)


class Words:
    """What rank 0 tells, as another rank hears it."""

    def __init__(self, descriptor: int) -> None:
        """Take the pipe; `descriptor` is the "words" of the rank's configuration."""
        os.set_inheritable(descriptor, False)  # noqa: FBT003
        self._file = os.fdopen(descriptor, "rb")

    def byte(self) -> bytes:
        """The next byte. Without rank 0, this process ends."""
        return self._file.read(1) or os._exit(0)

    def line(self) -> bytes:
        """The next line. Without rank 0, this process ends."""
        return self._file.readline() or os._exit(0)


def empty_result(context: Context) -> dict[str, str]:
    """The artifact of a rank other than 0: an empty file, because rank 0 has the result."""
    told = Path(context.workdir, f"rank-{os.environ['RANK']}")
    told.touch()
    return {"path": str(told)}


class _Peer:
    """One of the other ranks."""

    def __init__(self, rank: int, engine: str, environment: dict[str, str], config: dict[str, Any]) -> None:
        self.rank = rank
        self.loaded = threading.Event()
        self.done = threading.Event()
        """Set while the rank has no job."""
        self.notes: list[str] = []
        ours, theirs = socket.socketpair()
        read, self.words = os.pipe()
        with theirs:
            self._process = start(
                worker_command(sys.executable, engine, theirs.fileno()),
                env={**os.environ, **environment},  # rank 0's environment was chosen for a worker already
                keeps=(theirs.fileno(), read),
                own_session=False,  # so that ending rank 0's group ends the others too
            )
        os.close(read)
        self._channel = Channel(ours)
        self._doom: threading.Timer | None = None
        self._channel.send(protocol.Load({**config, "words": read}))
        threading.Thread(target=self._listen, name=f"rank-{rank}", daemon=True).start()

    def begin(self, request: protocol.Generate) -> None:
        """Give the rank a job."""
        self.done.clear()
        self._channel.send(request)

    def settle(self, *, alike: bool) -> None:
        """End the job in this rank. If this rank alone failed, the group is not used any more."""
        if self._doom is not None:
            self._doom.cancel()
            if not alike:
                self._doomed(SOON, *self._doom.args)
            self._doom = None

    def _listen(self) -> None:
        try:
            while (messages := self._channel.receive()) is not None:
                for message in messages:
                    self._hear(message)
        except (OSError, protocol.ProtocolError) as error:
            _end_process(f"Rank {self.rank} cannot be heard: {error}")
        status = self._process.wait()
        if self.loaded.is_set() or self._doom is None:
            _end_process(f"Rank {self.rank} is gone ({describe_end(status)}), and the group ends with it.")

    def _hear(self, message: protocol.Message) -> None:
        if isinstance(message, protocol.Loaded):
            self.notes = message.capabilities.get("notes", [])
            self.loaded.set()
            self.done.set()
        elif isinstance(message, protocol.LoadFailed):
            self._doomed(ALIKE, joined(f"Rank {self.rank} could not load the model: {message.message}", message.todo))
        elif isinstance(message, protocol.Failed):
            self._doomed(ALIKE, f"Rank {self.rank} failed: {message.message}")
            self.done.set()
        elif isinstance(message, (protocol.Generated, protocol.Cancelled, protocol.Blocked)):
            self.done.set()

    def _doomed(self, seconds: float, last_words: str) -> None:
        """End the process after a pause, unless rank 0 fails of the same cause, whose report is better."""
        self._doom = threading.Timer(seconds, _end_process, (last_words,))
        self._doom.daemon = True
        self._doom.start()


def _end_process(last_words: str) -> None:
    print(f"\n{last_words}", file=sys.stderr, flush=True)  # noqa: T201 - the log; a progress bar leaves its line open
    os._exit(BROKEN)


def _rank_environment(rank: int, size: int, port: str) -> dict[str, str]:
    values = (str(rank), str(rank), "0", str(size), str(size), HOST, port)
    return dict(zip(RANK_VARIABLES, values, strict=True))


def _free_port() -> int:
    """A port for the ranks to meet at. If another program takes it first, the load fails and is retried."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
