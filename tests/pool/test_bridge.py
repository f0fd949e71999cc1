"""`povwatch pool` between a daemon and a Ray cluster, both of this machine: what the daemon sees of it."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pytest
from support.ray_cluster import actors, processes_of_actors

from povwatch.process import protocol

CONFIG = {"a": 1}

_run_ids = (f"run-{n}" for n in itertools.count())


def wanted(machine, workers, **rests):
    return protocol.Wanted(workers, machine.engine, CONFIG, rests)


def generate(machine, job_id=1):
    """A job whose clip is in the machine's folder."""
    run_id = next(_run_ids)
    staging = machine.folder / "outputs/.povwatch"
    work, chunks = staging / f"{job_id}.{run_id}", staging / f"{job_id}" / "chunks"
    for one in (staging, work, chunks.parent, chunks):
        one.mkdir(mode=0o700, exist_ok=True)
    (work / "working.mp4").write_bytes(b"a clip" * 1000)
    job = {"id": job_id, "name": "generated", "video": f"{work}/working.mp4", "frames": 3, "spec": {}}
    return protocol.Generate(job, run_id, str(work), str(chunks))


def load(worker):
    worker.send(protocol.Load(CONFIG))
    worker.wait(protocol.Hello)
    return worker.wait(protocol.Loaded).capabilities


def loaded(machine, number=1):
    """So many workers, loaded one after the other; each with its offer."""
    machine.daemon.meet(wanted=wanted(machine, number))
    found = []
    for _ in range(number):
        worker, offer = machine.daemon.offered()
        load(worker)
        found.append((worker, offer))
    return found


def busy(machine):
    """A worker that has a job, with its offer and the job."""
    ((worker, offer),) = loaded(machine)
    request = generate(machine)
    worker.send(request)
    worker.wait(protocol.Progress)
    return worker, offer, request


def go(machine):
    (machine.cluster.switches / "go").touch()


def test_a_job_goes_there_and_back(machine):
    worker, offer, request = busy(machine)
    assert (offer.config, offer.capabilities, offer.engine) == (None, None, machine.engine)
    go(machine)
    assert worker.wait(protocol.Generated).artifact["path"] == f"{request.workdir}/out.mp4"
    report = machine.daemon.control.wait(protocol.PoolReport, where=lambda one: one.placed)
    assert [(node["gpus"], node["workers"], node["id"]) for node in report.nodes if node["gpus"]] == [
        (1, 1, offer.node)
    ]
    worker.send(protocol.Shutdown())
    ended = worker.wait(protocol.Ended)
    assert (ended.reason, ended.returncode) == ("stopped", 0)


def test_a_killed_worker_is_told(machine):
    worker, offer, _ = busy(machine)
    os.kill(offer.pid, signal.SIGKILL)
    ended = worker.wait(protocol.Ended)
    assert (ended.reason, ended.returncode) == ("exited", -signal.SIGKILL)
    _, new = machine.daemon.offered()  # it is still wanted
    assert new.pid != offer.pid
    assert new.worker != offer.worker


def test_a_killed_actor_is_told(machine):
    worker, _, _ = busy(machine)
    (actor,) = actors(machine.cluster.switches)
    os.kill(actor, signal.SIGKILL)
    assert worker.wait(protocol.Ended).reason == "actor"


def test_a_silent_actor_is_given_up(machine):
    worker, _, _ = busy(machine)
    (actor,) = actors(machine.cluster.switches)
    os.kill(actor, signal.SIGSTOP)
    assert worker.wait(protocol.Ended).reason == "network"


def test_a_stopped_worker_is_killed_at_once(machine):
    """Whether its node answers or not."""
    worker, offer, _ = busy(machine)
    os.kill(offer.pid, signal.SIGSTOP)
    worker.send(protocol.Signal(signal.SIGKILL))
    assert worker.wait(protocol.Ended, within=5).reason == "stopped"


def test_signals_reach_the_worker(machine):
    """As the one that has it print its stacks."""
    worker, _, _ = busy(machine)
    worker.send(protocol.Signal(signal.SIGUSR1))
    worker.wait(protocol.Output, where=lambda one: any("Thread" in line for line in one.lines))


def test_a_lost_node_is_told(machine, node):
    """It joins while a worker is asked for in vain, and dies as by a power cut."""
    machine.daemon.meet(wanted=wanted(machine, 2))
    load(machine.daemon.offered()[0])
    machine.daemon.control.wait(protocol.PoolReport, where=lambda one: (one.asked, one.placed) == (2, 1))
    joined = node()
    worker, offer = machine.daemon.offered()
    assert offer.node == joined.node_id
    load(worker)
    worker.send(generate(machine))
    worker.wait(protocol.Progress)
    machine.cluster.remove(joined, killed=True)
    ended = worker.wait(protocol.Ended)
    assert ended.reason in {"node", "network"}
    machine.daemon.control.wait(
        protocol.PoolReport, where=lambda one: offer.node not in {node["id"] for node in one.nodes}
    )


def test_a_resting_node_gets_no_worker(machine):
    ((worker, offer),) = loaded(machine)
    machine.daemon.control.send(wanted(machine, 1, **{offer.node: 3.0}))
    worker.send(protocol.Signal(signal.SIGKILL))
    worker.wait(protocol.Ended)
    began = time.monotonic()
    assert machine.daemon.offered()[1].node == offer.node  # once it has rested
    assert time.monotonic() - began > 2


def test_a_new_daemon_takes_workers_over(machine):
    """With the engine that they have loaded; the job under way is left."""
    worker, offer, _ = busy(machine)
    machine.finish_daemon()
    daemon = machine.start_daemon()
    daemon.meet(wanted=wanted(machine, 1))
    worker, again = daemon.offered()
    assert (again.worker, again.pid, again.config) == (offer.worker, offer.pid, CONFIG)
    assert again.capabilities["name"] == "waits"
    worker.send(generate(machine, job_id=2))
    assert worker.wait(protocol.Progress).job_id == 2


def test_an_idle_worker_ends(machine):
    ((worker, _),) = loaded(machine)
    machine.daemon.control.send(wanted(machine, 0))
    assert worker.wait(protocol.Ended).reason == "stopped"


def test_loads_are_staggered(machine, node):
    """The second worker of a node is offered once the first has loaded."""
    node(gpus=2)
    machine.daemon.meet(wanted=wanted(machine, 3))
    offers = [machine.daemon.offered() for _ in range(2)]  # one of each node
    assert len({offer.node for _, offer in offers}) == 2
    assert machine.daemon.none_offered(1.0)
    for worker, _ in offers:
        load(worker)
    third = machine.daemon.offered()[1]
    assert third.node in {offer.node for _, offer in offers}


def test_nothing_is_left_by_a_killed_bridge(here):
    """The daemon sees its connections break, and another bridge goes on; beside it, it would not have begun."""
    here.start_daemon()
    pool = here.start_pool()
    worker, _, _ = busy(here)
    assert here.daemon.hello.pid == pool.bridge
    second = type(pool)(here.config_file, here.folder / "second.log")  # one is enough
    assert second.wait() == 2
    assert f"pid {pool.pid}" in second.text()
    pool.kill()
    with pytest.raises(AssertionError, match="closed"):
        worker.wait(protocol.Ended)
    deadline = time.monotonic() + 20
    while processes_of_actors(here.cluster.switches):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    here.daemon.control = None
    here.start_pool(silence=5)
    load(loaded_again := here.daemon.meet(wanted=wanted(here, 1)) and here.daemon.offered()[0])
    assert loaded_again


def test_a_node_without_engine_is_refused(here):
    here.configure(runtime="/nowhere/bin/python")
    here.start_daemon()
    here.start_pool(silence=5)
    here.daemon.meet(wanted=wanted(here, 1))
    here.daemon.control.wait(
        protocol.PoolReport, where=lambda one: "/nowhere/bin/python is not there" in str(one.problems)
    )
    assert here.daemon.none_offered(1.0)


def test_a_silent_address_is_told(here):
    here.configure(address="127.0.0.1:1")
    here.start_daemon()
    here.start_pool(silence=5)
    here.daemon.meet(wanted=wanted(here, 1))
    report = here.daemon.control.wait(protocol.PoolReport, where=lambda one: "listens" in str(one.problems))
    assert "Nobody listens at 127.0.0.1:1 (Connection refused)." in report.problems[0]


def test_files_are_streamed(here):
    """The node has its own copies; chunks come as they are finished, and another node goes on with them."""
    here.configure(engine="keeps_chunks", files="stream")
    (here.cluster.switches / "runs").unlink(missing_ok=True)
    (here.cluster.switches / "go").unlink(missing_ok=True)
    here.start_daemon()
    here.start_pool(silence=5)
    worker, offer, request = busy(here)
    chunk = Path(request.checkpoint_dir, "chunk-0")
    deadline = time.monotonic() + 20
    while not chunk.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert chunk.read_bytes() == b"latents"
    os.kill(offer.pid, signal.SIGKILL)
    worker.wait(protocol.Ended)
    worker, _ = here.daemon.offered()
    load(worker)
    second = generate(here)
    assert second.checkpoint_dir == request.checkpoint_dir
    worker.send(second)
    worker.wait(protocol.Progress)
    go(here)
    done = worker.wait(protocol.Generated)
    deadline = time.monotonic() + 20
    assert done.artifact["path"] == f"{second.workdir}/out.mp4"
    assert Path(second.workdir, "out.mp4").read_bytes() == b"a clip" * 1000
    assert (here.cluster.switches / "runs").read_text() == "1 new\n1 resumed\n"
    jobs = here.cluster.switches / "node/scratch/jobs"
    while list(jobs.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


WITHOUT_POVWATCH = """
import sys

class Without:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "povwatch":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Without())
"""


def test_a_node_without_povwatch_is_refused(machine, node, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_POVWATCH)
    good = machine.cluster.nodes[0].node_id
    node(PYTHONPATH=str(tmp_path))
    machine.daemon.meet(wanted=wanted(machine, 1, **{good: 60.0}))
    machine.daemon.control.wait(
        protocol.PoolReport, where=lambda one: "No module named 'povwatch'" in str(one.problems)
    )
    assert machine.daemon.none_offered(0.5)
