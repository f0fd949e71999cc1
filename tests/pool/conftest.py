"""One Ray cluster for all tests of this folder, because starting one takes seconds: see tests/conftest.py."""

from __future__ import annotations

import importlib.util
import json
import os
import time

import pytest
from support.pool_daemon import PoolDaemon
from support.ray_cluster import Pool, RayCluster, processes_of_actors

from povwatch.config.load import load_config
from povwatch.remote.address import socket_path

GONE = 20
"""Seconds until nothing may be left of an actor that was killed."""


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec("ray") is None:
        for item in items:
            if item.path.parent.name == "pool":
                item.add_marker(pytest.mark.skip(reason="Ray is not installed: script/bootstrap --dev"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster of a head without GPU and a node with one. A test removes what else it adds."""
    made = RayCluster()
    made.switches = tmp_path_factory.mktemp("switches")
    made.add(
        **toys(made.switches),
        POVWATCH_NODE_STATE=str(made.switches / "node"),
    )
    yield made
    made.close()


def toys(switches):
    """The variables of the toy engines."""
    return {"TOY_GO": str(switches / "go"), "TOY_RUNS": str(switches / "runs"), "TOY_SECONDS": "3.0"}


@pytest.fixture
def node(cluster):
    """A further node of the test's own, which is gone after it."""
    made = []

    def node(**options):
        state = str(cluster.switches / f"node-{len(made)}")
        made.append(cluster.add(**toys(cluster.switches), POVWATCH_NODE_STATE=state, **options))
        return made[-1]

    yield node
    for one in made:
        if one in cluster.nodes:
            cluster.remove(one)


def nothing_left(cluster):
    """Wait until no worker, nothing that one has started, and no actor is left."""
    deadline = time.monotonic() + GONE
    while left := processes_of_actors(cluster.switches):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


class Here:
    """This machine: a folder with a config.toml, the daemon's end of the socket, and `povwatch pool`."""

    def __init__(self, folder, cluster, **options):
        self.folder = folder
        self.cluster = cluster
        self.config_file = folder / "config.toml"
        self.pool = self.daemon = None
        self.configure(**options)

    def configure(self, *, engine="waits", address=None, disk="1MB", **pool):
        from support.daemons import toy  # noqa: PLC0415 - it imports the whole command line

        for name in ("inputs", "outputs", "state"):
            (self.folder / name).mkdir(exist_ok=True)
        said = {"kind": "ray", "address": address or self.cluster.address, "max": 4} | pool
        lines = [f"{key} = {json.dumps(value)}" for key, value in said.items()]
        self.engine = toy(engine)
        self.config_file.write_text(
            f'[paths]\nstate = "state"\n[engine]\nkind = "{self.engine}"\nworkers = 0\n'
            f'[disk]\nreserve = "{disk}"\n[pool]\n' + "\n".join(lines)
        )
        with pytest.MonkeyPatch.context() as environment:
            for name in [name for name in os.environ if name.startswith("POVWATCH_SUITE")]:
                environment.delenv(name)
            self.config = load_config(self.config_file)

    def start_daemon(self):
        self.daemon = PoolDaemon(socket_path(self.config))
        return self.daemon

    def start_pool(self, **options):
        self.pool = Pool(self.config_file, self.folder / "pool.log", **options)
        return self.pool

    def finish_daemon(self):
        if self.daemon is not None:
            self.daemon.close()
        self.daemon = None

    def close(self):
        if self.pool is not None:
            self.pool.close()
        self.finish_daemon()


@pytest.fixture
def here(tmp_path, cluster):
    """A machine of the test's own."""
    machine = Here(tmp_path, cluster)
    yield machine
    machine.close()
    nothing_left(cluster)


@pytest.fixture(scope="session")
def shared_machine(tmp_path_factory, cluster):
    machine = Here(tmp_path_factory.mktemp("shared"), cluster, idle="2s")
    machine.start_pool(silence=5)
    yield machine
    machine.close()


@pytest.fixture
def machine(shared_machine, cluster):
    """A machine whose bridge runs, with a daemon of the test's own."""
    for switch in ("go", "runs"):
        (cluster.switches / switch).unlink(missing_ok=True)
    shared_machine.start_daemon()
    yield shared_machine
    if shared_machine.daemon.control is not None:
        shared_machine.daemon.dismiss()
    shared_machine.finish_daemon()
    nothing_left(cluster)
