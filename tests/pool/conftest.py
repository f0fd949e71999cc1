"""One Ray cluster for all tests of this folder, because starting one takes seconds: see tests/conftest.py."""

from __future__ import annotations

import importlib.util
import json
import time

import pytest
from support.pool_daemon import PoolDaemon
from support.ray_cluster import Pool, RayCluster, actors, descendants_of_actors

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
def _cluster():
    cluster = RayCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(_cluster):
    """The cluster, with a head alone; what a test adds is removed, and nothing may be left of it."""
    yield _cluster
    _cluster.clear()
    nothing_left()


def nothing_left():
    """Wait until no worker, nothing that one has started, and no actor is left."""
    deadline = time.monotonic() + GONE
    while left := descendants_of_actors() | dict.fromkeys(actors(), "an actor"):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


class Here:
    """This machine: a folder with a config.toml, the daemon's end of the socket, and `povwatch pool`."""

    def __init__(self, folder, cluster):
        self.folder = folder
        self.cluster = cluster
        self.config_file = folder / "config.toml"
        self.pool = self.daemon = None
        self.configure()

    def configure(self, *, engine="copies", address=None, disk="1MB", **pool):
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
        self.config = load_config(self.config_file)

    def start_daemon(self):
        self.daemon = PoolDaemon(socket_path(self.config))
        return self.daemon

    def start_pool(self, **environment):
        self.pool = Pool(self.config_file, self.folder / "pool.log", **environment)
        return self.pool

    def close(self):
        if self.pool is not None:
            self.pool.close()
        if self.daemon is not None:
            self.daemon.close()


@pytest.fixture
def here(tmp_path, cluster):
    machine = Here(tmp_path, cluster)
    yield machine
    machine.close()
