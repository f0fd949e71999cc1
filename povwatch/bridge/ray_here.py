"""Ray's own processes on this machine: `ray start --block`, below a reaper, so that none of them outlives us.

Ray's files (logs, sockets) are in a folder of their own in /tmp, which is removed at the end. What a killed run has
left there, the next one removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from povwatch.core.sentences import ended
from povwatch.process.child import Child
from povwatch.process.output import Lines
from povwatch.process.start import REAPER, child_environment, describe_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD_PORT = 6379
"""Where the head listens, unless another port is named."""

PORTS = {
    "--node-manager-port": 6380,
    "--object-manager-port": 6381,
    "--runtime-env-agent-port": 6382,
    "--dashboard-agent-grpc-port": 6383,
    "--dashboard-agent-listen-port": 6384,
    "--metrics-export-port": 6385,
    "--min-worker-port": 10002,
    "--max-worker-port": 10999,
}
"""Where every machine of the pool listens. Ray's own choice would be any port, which no firewall can allow."""

STORE = 512 << 20
"""Bytes of the object store at most: blocks of files pass through it where they are streamed."""

PREFIX = "povwatch-ray-"

BEGUN = "Ray runtime started."

KEPT_LINES = 60

RESTARTED = "GCS is not backed by a DB and restarted"

DIED = re.compile(r"(\w+)\s+\[exit code=(-?\d+)\]")
"""What `ray start --block` says of a process of its own that has ended."""

PRINTED_BEFORE = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+\s+\w+ [\w.]+:\d+ -- ")
"""Time and place, before each line."""

ENVIRONMENT = {
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
    # A head that was started anew is another cluster. Ray's own minute is for heads that keep their memory elsewhere.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}

PROGRAM = "from ray.scripts.scripts import main; main()"

END_SECONDS = 10.0
"""Seconds for Ray to end by itself; the reaper ends the rest."""


class RayHere:
    """One `ray start --block`; for one thread at a time."""

    def __init__(self, options: Sequence[str], folder: Path) -> None:
        """Start it.

        Args:
            options: of `ray start`.
            folder: for Ray's files; its path has to be short.

        Raises:
            OSError: it cannot be started.
        """
        ports = [f"{name}={port}" for name, port in PORTS.items()]
        argv = [sys.executable, "-c", PROGRAM, "start", *options, *ports, f"--temp-dir={folder}"]
        argv += ["--block", "--disable-usage-stats", "--num-cpus=1", f"--object-store-memory={STORE}"]
        env = child_environment(ENVIRONMENT)
        self._child = Child.start([sys.executable, "-I", "-S", str(REAPER)], env=env)
        self._child.send({"argv": argv, "cwd": "/", "env": env})
        self._lines = Lines(longest=4096, kept=KEPT_LINES)
        self.begun = False
        """Whether this machine belongs to the cluster."""

    @property
    def last_words(self) -> str:
        """The last lines that it has printed."""
        return "\n".join(self._lines.tail)

    @property
    def why(self) -> str:
        """Why it has ended, as a sentence, from its last words."""
        if RESTARTED in self.last_words:
            return "The head was started anew."
        if died := DIED.search(self.last_words):
            return ended(f"Its {died[1]} {describe_end(int(died[2]))}")
        lines = [PRINTED_BEFORE.sub("", line) for line in self.last_words.splitlines()] or ["It said nothing"]
        return ended(next((line for line in reversed(lines) if "rror" in line), lines[-1]))

    def listen(self, seconds: float) -> bool:
        """Read what it says, for so long at most; whether it still runs."""
        if not self._child.answering:
            return False
        answers, output = self._child.listen(seconds)
        for line in self._lines.take(output):
            self.begun = self.begun or BEGUN in line
        return self._child.answering and not any("status" in one or "error" in one for one in answers)

    def end(self) -> None:
        """End it with all that it has started."""
        deadline = time.monotonic() + END_SECONDS
        self._child.send("end")
        while time.monotonic() < deadline and self.listen(0.2):
            pass
        self._child.close()  # at which the reaper ends whatever is left


@contextlib.contextmanager
def folder_of_ray() -> Iterator[Path]:
    """A folder for Ray's files, which is removed at the end; those that killed runs have left are removed now.

    Raises:
        OSError: it cannot be made.
    """
    for old in Path("/tmp").glob(f"{PREFIX}*"):  # noqa: S108 - a socket's path is short there
        with contextlib.suppress(OSError), _Held(old):
            if old.stat().st_uid == os.geteuid():
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    with _Held(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Held:
    """Holds a folder, so that nobody takes it for one that was left."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
