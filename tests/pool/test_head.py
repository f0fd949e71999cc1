"""The cluster's head is lost, and all of the cluster with it."""

from __future__ import annotations

import pytest
from support.ray_cluster import RayCluster

from povwatch.process import protocol

from .conftest import Here, nothing_left, toys
from .test_bridge import busy

PATIENT_FOR = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
"""Ray's own patience with a head that is away; a minute by default."""


@pytest.fixture
def own_cluster(tmp_path, monkeypatch):
    """A cluster that no other test uses."""
    for name, value in PATIENT_FOR.items():
        monkeypatch.setenv(name, value)
    made = RayCluster()
    made.switches = tmp_path / "switches"
    made.switches.mkdir()
    made.add(**toys(made.switches), POVWATCH_NODE_STATE=str(made.switches / "node"))
    yield made
    made.close()


def test_a_lost_head_is_told(tmp_path, own_cluster):
    """The daemon sees the bridge go, another bridge comes and says why nobody works, and no worker is left."""
    here = Here(tmp_path, own_cluster)
    daemon = here.start_daemon()
    here.start_pool(**PATIENT_FOR)
    try:
        worker, _, _ = busy(here)
        own_cluster.head.kill_gcs_server()
        with pytest.raises(AssertionError, match="closed"):
            worker.wait(protocol.Ended, where=lambda one: one.reason not in {"node", "network", "actor"})
        nothing_left(own_cluster)
        here.pool.says("bridge-died")
        daemon.control = None
        daemon.meet(wanted=protocol.Wanted(1, here.engine, {}, {}))
        report = daemon.control.wait(protocol.PoolReport, where=lambda one: one.problems)
        assert "Nobody listens" in report.problems[0]
    finally:
        here.close()
