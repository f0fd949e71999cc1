"""`povwatch pool` between a daemon and a Ray cluster, both of this machine: what the daemon sees of it."""

from __future__ import annotations

from povwatch.process import protocol

CONFIG = {"a": 1}


def wanted(here, workers, **rests):
    return protocol.Wanted(workers, here.engine, CONFIG, rests)


def generate(folder, job_id=1, run_id="run-1"):
    """A job of a toy, whose clip is in `folder`."""
    work = folder / "outputs/.povwatch" / run_id
    chunks = folder / "outputs/.povwatch" / f"{job_id}/chunks"
    for one in (work, chunks):
        one.mkdir(parents=True, mode=0o700)
    (folder / "outputs/.povwatch").chmod(0o700)
    (work / "working.mp4").write_bytes(b"a clip" * 1000)
    job = {"id": job_id, "name": "generated", "video": f"{work}/working.mp4", "frames": 3, "spec": {}}
    return protocol.Generate(job, run_id, str(work), str(chunks))


def load(worker):
    worker.send(protocol.Load(CONFIG))
    worker.wait(protocol.Hello)
    return worker.wait(protocol.Loaded).capabilities


def test_a_job_goes_there_and_back(here):
    here.cluster.add()
    daemon = here.start_daemon()
    here.start_pool()
    hello = daemon.meet(wanted=wanted(here, 1))
    worker, offer = daemon.offered()
    assert (offer.config, offer.capabilities, offer.engine) == (None, None, here.engine)
    assert load(worker)["a"] == 1
    worker.send(request := generate(here.folder))
    worker.wait(protocol.Started)
    done = worker.wait(protocol.Generated)
    assert done.artifact["path"] == f"{request.workdir}/out.mp4"
    assert done.artifact["pid"] == offer.pid
    report = daemon.control.wait(protocol.PoolReport, where=lambda one: one.placed)
    assert [(node["gpus"], node["workers"]) for node in report.nodes if node["gpus"]] == [(1, 1)]
    assert hello.pid == here.pool.bridge
    worker.send(protocol.Shutdown())
    ended = worker.wait(protocol.Ended)
    assert (ended.reason, ended.returncode) == ("stopped", 0)
