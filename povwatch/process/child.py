"""A child of ours that takes requests and answers in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
from typing import TYPE_CHECKING, Any

from povwatch.process.start import kill_group, start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READ_BYTES = 65536


class Child:
    """A process with a pipe for each of its three streams; for one thread at a time.

    Its standard input carries our requests and stays open until `close`: the end of the stream tells the child that we
    are gone. Its standard output carries its answers. Its standard error carries whatever the child or a library
    prints.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("a Child needs three pipes")
        self._process = process
        self._requests, self._answers, self._output = process.stdin, process.stdout, process.stderr
        self._rest = b""
        self._selector = selectors.PollSelector()  # which needs no descriptor
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._selector.register(self._output, selectors.EVENT_READ)

    @classmethod
    def start(cls, argv: Sequence[str], *, env: Mapping[str, str]) -> Child:
        """Start a child in a session of its own.

        Raises:
            OSError: See `process.start.start`.
        """
        pipe = subprocess.PIPE
        return cls(start(argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe))

    @property
    def answering(self) -> bool:
        """Whether an answer may still come."""
        return self._answers in self._selector.get_map()

    @property
    def open(self) -> bool:
        """Whether an answer or output may still come."""
        return bool(self._selector.get_map())

    @property
    def unfinished(self) -> int:
        """Bytes of an answer that is not complete."""
        return len(self._rest)

    def send(self, request: object) -> None:
        """Send one request. If the child is gone, nothing happens here; the end of its answers shows it."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()

    def listen(self, seconds: float) -> tuple[list[dict[str, Any]], bytes]:
        """Wait for something to arrive, `seconds` at most; return the answers and the output."""
        answers: list[dict[str, Any]] = []
        output = b""
        for key, _ in self._selector.select(seconds):
            data = os.read(key.fd, READ_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is self._output:
                output = data
            else:
                *lines, self._rest = (self._rest + data).split(b"\n")
                answers += map(json.loads, lines)
        return answers, output

    def wait(self) -> int:
        """Wait for the child to end; return its exit status, negative for a signal."""
        return self._process.wait()

    def close(self) -> None:
        """Kill the child's group if it still runs, reap it, and close the descriptors."""
        if self._process.poll() is None:
            kill_group(self._process.pid)
        self._selector.close()
        for pipe in (self._requests, self._answers, self._output):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()
