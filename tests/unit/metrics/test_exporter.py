"""What the metrics count: production's parts, on a clock that the test sets."""

from __future__ import annotations

import json
import socket
import stat
import time
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.put import put

from povwatch.core.blockers import Blocker
from povwatch.core.changes import Cancelled, Failed, Passed, Requeued, TryOver
from povwatch.core.job import JobState, Waiting
from povwatch.workers.events import STALLED
from povwatch.workers.pool import Worker
from povwatch.workers.states import SupervisorState

PATIENCE = 30


@pytest.fixture
def here(build, tmp_path):
    made = build(metrics={"textfile": str(tmp_path / "povwatch.prom")})
    made.app.store.listeners = (made.app.metrics,)  # the test plays the stages
    yield made
    made.app.metrics.close()


def turn(here, seconds=11.0):
    """Let the exporter update, and wait until the file is written; the samples by name and label."""
    here.clock.now += seconds
    here.app.metrics.tick(here.clock.now)
    deadline = time.monotonic() + PATIENCE
    while not here.app.metrics._background.idle:
        assert time.monotonic() < deadline
        time.sleep(0.005)
        here.app.metrics._background.handle_results()
    return samples((here.state.parent / "povwatch.prom").read_text())


def samples(text):
    return {
        (sample.name, *(value for key, value in sample.labels.items() if key != "le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


def queued(here, path=b"a.mp4"):
    (job,) = here.app.store.add([(path, b"1")])
    job = put(here.app.store, job, "arrived", state=JobState.GRACE, waiting_on=Waiting.GRACE)
    here.clock.now += 30.0
    return put(here.app.store, job, "queued", state=JobState.QUEUED, waiting_on=Waiting.TURN)


def running(here, job):
    return put(here.app.store, job, "started", state=JobState.RUNNING, waiting_on=None, run_id="r", attempts=1)


def test_jobs_and_waits(here):
    job = queued(here)
    here.app.store.add([(b"b.mp4", b"1")])
    here.app.store.wait(here.app.store.of_path(b"b.mp4"), Waiting.INCOMPLETE, "Part is missing.")
    found = turn(here)
    assert found["povwatch_jobs", "queued"] == found["povwatch_jobs", "arriving"] == 1
    assert found["povwatch_jobs_waiting", "turn"] == found["povwatch_jobs_waiting", "incomplete"] == 1
    assert found["povwatch_stage_duration_seconds_sum", "grace"] == 30.0
    here.app.store.apply(job, Failed(error="No."))
    found = turn(here)
    assert found["povwatch_jobs", "queued"] == found["povwatch_jobs_waiting", "turn"] == 0
    assert found["povwatch_jobs_ended_total", "failed"] == found["povwatch_jobs", "failed"] == 1
    assert found["povwatch_jobs_ended_total", "done"] == 0
    assert found["povwatch_stage_duration_seconds_count", "queued"] == 1
    assert found["povwatch_stage_duration_seconds_sum", "queued"] == 11.0


def test_attempt_steps_and_scores(here):
    job = running(here, queued(here))
    job = put(here.app.store, job, "generated", state=JobState.CHECKING, artifact="{}")
    artifact = json.dumps({"seconds": {"generate": 200.0, "check": 3.0}})
    fields = {"scores": {"edge_f1": 0.75, "temporal_residual": 3.0}}
    here.app.store.apply(job, Passed(fields=fields, run_id="r", promise="{}", artifact=artifact, tries=None))
    found = turn(here)
    assert found["povwatch_step_duration_seconds_sum", "generate"] == 200.0
    assert found["povwatch_step_duration_seconds_sum", "check"] == 3.0
    assert found["povwatch_score_sum", "edge_f1"] == 0.75
    assert found["povwatch_score_count", "temporal_residual"] == 1


def test_retries_by_kind(here):
    job = queued(here)
    for event, kind in (("retry", "charged"), ("released", "uncharged"), ("orphaned", "crashed")):
        job = running(here, job)
        change = Requeued(
            event_name=event,
            fields={"problem": "x", "attempt": 1, "at": "now", "state": "running", "what": "it runs again"},
            waiting=Waiting.TURN,
            detail="",
            not_before=0.0,
            attempts=1,
            crashes=0,
        )
        job = here.app.store.apply(job, change)
        assert turn(here)["povwatch_retries_total", kind] == 1


def test_another_seed_is_counted(here):
    job = put(here.app.store, running(here, queued(here)), "generated", state=JobState.CHECKING, artifact="{}")
    fields = dict.fromkeys(("seed", "why", "next", "number", "most", "scores", "judged"), "x")
    here.app.store.apply(job, TryOver(fields=fields, detail="", tries="{}"))
    assert turn(here)["povwatch_retries_total", "seed"] == 1


def test_workers_gpus_and_blocker(here):
    pool = here.app.pool
    pool.lost[STALLED] += 2
    pool.gpu_seconds, pool.gpu_joules = 12.5, 3000.0
    pool.blocker = Blocker(Waiting.GPU_LOST, "It does not answer.")
    found = turn(here)
    assert found["povwatch_worker_deaths_total", "stalled"] == 2
    assert (found["povwatch_gpu_seconds_total",], found["povwatch_gpu_energy_joules_total",]) == (12.5, 3000.0)
    assert (found["povwatch_blocked", "gpu-lost"], found["povwatch_blocked", "disk-full"]) == (1, 0)
    pool.lost[STALLED] += 1
    pool.blocker = None
    found = turn(here)
    assert found["povwatch_worker_deaths_total", "stalled"] == 3
    assert (found["povwatch_gpu_seconds_total",], found["povwatch_blocked", "gpu-lost"]) == (12.5, 0)
    assert found["povwatch_disk_free_bytes", "outputs"] > 0


def test_other_machines_are_counted(here):
    pool = here.app.pool
    place = pool.places.of("n1", "gpu-01")
    place.died(0.0)
    pool.workers.append(Worker(SimpleNamespace(state=SupervisorState.READY), place=place))
    try:
        found = turn(here)
        place.died(0.0)
        assert (found["povwatch_node_workers", "gpu-01"], found["povwatch_node_deaths_total", "gpu-01"]) == (1, 1)
    finally:
        pool.workers.clear()
    found = turn(here)
    assert found["povwatch_node_deaths_total", "gpu-01"] == 2
    assert ("povwatch_node_workers", "gpu-01") not in found


def test_undone_changes_are_not_counted(here):
    job = queued(here)

    def undone():
        with here.app.store.together():
            here.app.store.apply(job, Failed(error="No."))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    here.app.store.apply(here.app.store.of_path(b"a.mp4"), Cancelled(why="Deleted.", source_stat=None))
    found = turn(here)
    assert (found["povwatch_jobs_ended_total", "failed"], found["povwatch_jobs_ended_total", "cancelled"]) == (0, 1)


def test_observers_error_costs_no_job(here, monkeypatch):
    job = queued(here)
    monkeypatch.setattr(here.app.metrics, "_moved", lambda *_: 1 / 0)
    assert here.app.store.apply(job, Failed(error="No.")).state is JobState.FAILED
    (raised,) = here.unforeseen
    assert isinstance(raised, ZeroDivisionError)
    here.unforeseen.clear()


def test_file_is_for_other_users(here):
    """node_exporter may read it, whatever the umask, and finds no half of one."""
    turn(here)
    folder = here.state.parent
    assert stat.S_IMODE((folder / "povwatch.prom").stat().st_mode) == 0o644
    assert [file.name for file in folder.glob("povwatch.prom*")] == ["povwatch.prom"]


def test_unwritable_file_is_one_line(build, tmp_path, capsys):
    here = build(metrics={"textfile": str(tmp_path / "none/povwatch.prom")})
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            turn(here)
    assert capsys.readouterr().out.count("metrics-unwritten") == 1
    (tmp_path / "none").mkdir()
    here.app.metrics.close()
    assert (tmp_path / "none/povwatch.prom").exists()


def test_port_is_served_on_loopback(build, capsys):
    """A port that another program has is one line, and is taken once it is free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        here = build(metrics={"port": port})
        for _ in range(2):
            here.clock.now += 61.0
            here.app.metrics.tick(here.clock.now)
    said = capsys.readouterr().out
    assert said.count("metrics-unserved") == 1
    assert f"127.0.0.1:{port}" in said
    here.clock.now += 61.0
    here.app.metrics.tick(here.clock.now)
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert samples(answer.read().decode())["povwatch_jobs", "queued"] == 0
    here.app.metrics.close()


def test_off_by_default(build):
    here = build()
    here.app.metrics.tick(here.clock.now + 60.0)
    assert here.app.metrics.next_deadline() is None
    here.app.store.listeners = (here.app.metrics,)
    queued(here)
    assert here.app.metrics._entered == {}
    here.app.metrics.close()
