"""What `povwatch doctor` says of a pool, on a real cluster."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from povwatch.bridge import token
from povwatch.cli import doctor_pool
from povwatch.cli.doctor_pool import pool

from .conftest import nothing_left


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The variables of the token are as they were afterwards."""
    for name in (token.MODE, token.PATH, "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def said(config):
    """Each finding's verdict, subject and words."""
    return [("no" if f.fatal else "hm" if f.todo else "ok", f.about, f.words) for f in pool(config)]


def test_an_open_cluster_and_a_good_node(here, cluster):
    """Ray, the bridge, the cluster and each node have a line; a cluster that takes everybody is refused."""
    found = {about: (verdict, words) for verdict, about, words in said(here.config)}
    assert found["ray"] == ("ok", importlib.metadata.version("ray"))
    assert found["pool"][0] == "hm"
    assert "the bridge does not run. Start it beside the daemon: povwatch pool" in found["pool"][1]
    assert found["token"][0] == "no"
    assert "takes everybody, without a token. Whoever reaches Ray's ports runs programs" in found["token"][1]
    assert found["cluster"] == ("ok", f"{cluster.address}, with Ray {found['ray'][1]}: room for 1 worker(s)")
    verdict, words = found["node"]
    assert verdict == "ok"
    assert ": 1 GPU(s), povwatch " in words
    assert words.endswith(f"{here.folder}/outputs is the same folder there")
    nothing_left(cluster)


def test_a_node_that_cannot_work(here):
    """A node without the interpreter and with too small a disk has a line that says what to do."""
    here.configure(files="stream", disk="900TB", runtime="/no/such/python")
    (node,) = [words for verdict, about, words in said(here.config) if about == "node" and verdict == "hm"]
    assert "The engine's interpreter /no/such/python is not there. Set it up with script/pool-node" in node
    assert "GB free, 900000.0 GB are needed. Free some; POVWATCH_NODE_STATE names another folder." in node


def test_nobody_listens(here):
    here.configure(address="127.0.0.1:1")
    (cluster,) = [(verdict, words) for verdict, about, words in said(here.config) if about == "cluster"]
    assert cluster[0] == "no"
    assert "Nobody listens at 127.0.0.1:1 (Connection refused)." in cluster[1]


def test_an_open_token_is_named(here):
    token.make(here.config.paths.state)
    (here.config.paths.state / token.NAME).chmod(0o644)
    verdict, about, words = said(here.config)[-1]
    assert (verdict, about) == ("no", "token")
    assert words.endswith(f"whoever has it runs programs here. chmod 600 {here.config.paths.state / token.NAME}")


def test_the_bridge_runs(here):
    """The pid of a bridge that runs is named."""
    running = here.start_pool()
    running.says("bridge-started")
    assert doctor_pool._bridge(here.config).words == f"povwatch pool runs (pid {running.pid})"


def test_ray_is_missing(here, monkeypatch):
    """Without the extra there is one line, which is fatal where no other worker is."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    (line,) = said(here.config)
    assert line[:2] == ("no", "ray")
    assert "is not installed. Install it: script/bootstrap --pool" in line[2]


def test_without_a_pool_ray_is_not_asked(tmp_path):
    """With [pool] kind = "local" there is no line, and doctor never imports Ray."""
    program = "import sys, povwatch.cli.doctor, povwatch.cli.pool; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "False\n"
