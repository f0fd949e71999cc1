"""A Ray cluster on this machine, with logical GPUs. Its nodes are processes that a test adds, kills and removes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STORE = 80 * 1024 * 1024
"""Bytes of each node's object store: the least that Ray takes."""

PATIENCE = 60

IMPATIENT = Path(__file__).parents[1] / "doubles/impatient_pool.py"


class RayCluster:
    """A cluster with a head that has no GPU."""

    def __init__(self):
        import ray  # noqa: F401, PLC0415 - a test is skipped where it is missing
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - as above

        self._cluster = Cluster()
        self.head = self._cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=STORE, include_dashboard=False)
        self.nodes = []

    @property
    def address(self):
        return self._cluster.address

    def add(self, gpus=1, **environment):
        """Add a node; the environment is that of its workers."""
        with _environment(environment):
            node = self._cluster.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=STORE)
        self.nodes.append(node)
        return node

    def remove(self, node, *, killed=False):
        """Take a node out of the cluster; with `killed`, as a power cut does."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=not killed)

    def clear(self):
        """Take all nodes out but the head."""
        for node in list(self.nodes):
            self.remove(node)

    def close(self):
        self._cluster.shutdown()


@contextlib.contextmanager
def _environment(changes):
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def processes_of_actors(switches):
    """Every actor, worker, what workers have started, and reapers, of the nodes whose environment names a folder.

    Returns:
        The pid of each to its command line.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes()
                theirs = b"POVWATCH_ACTOR=" in environment or "process/reaper.py" in command or _is_actor(command)
                if theirs and bytes(switches) in environment:
                    found[int(entry.name)] = command
    return found


def actors(switches):
    """The pids of all actors that are Hosts."""
    return [pid for pid, command in processes_of_actors(switches).items() if _is_actor(command)]


def _is_actor(command):
    return command.startswith("ray::Host")


def _outside():
    """The environment without what is the tests' own, which no povwatch knows."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "POVWATCH_SUITE"))}


class Pool:
    """`povwatch pool` as people start it, or the bridge alone."""

    def __init__(self, config, log, *, silence=None, **environment):
        """Start it with a config.toml; its output goes to the file `log`.

        With a `silence` (seconds) it is the bridge without its supervisor, and gives up a silent node after so long.
        """
        program = ["-m", "povwatch"] if silence is None else [str(IMPATIENT), str(silence)]
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *program, "--config", str(config), "pool"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_outside() | environment,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def bridge(self):
        """The pid of the process that is Ray's driver, where it has a supervisor."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0])

    def wait(self):
        return self._process.wait(PATIENCE)

    def text(self):
        return self.log.read_text()

    def says(self, text):
        """Wait until it has logged something."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text():
            assert self._process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def kill(self):
        """Kill it as a power cut would; its child dies with it."""
        self._process.kill()
        self._process.wait()

    def close(self):
        """Stop it as Ctrl-C does; its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(PATIENCE)
        finally:
            if self._process.poll() is None:
                self.kill()
