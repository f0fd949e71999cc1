"""Metrics as node_exporter finds them: the real daemon, and a port that another program has."""

from __future__ import annotations

import socket

from prometheus_client.parser import text_string_to_metric_families
from support.daemons import Daemon


def test_batch_leaves_its_figures(tmp_path):
    """A taken port is one line and costs no clip; the file has the figures of the whole batch."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Daemon(tmp_path / "pov", metrics={"textfile": "povwatch.prom", "port": port}) as here:
            here.clip("a.mp4")
            here.clip("b.mp4")
            done = here.once()
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "metrics-unserved" in line]
    assert f"metrics cannot be served at 127.0.0.1:{port}: Address already in use. End the program" in line
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families((here.folder / "povwatch.prom").read_text())
        for sample in family.samples
    }
    assert found["povwatch_jobs_ended_total", "done"] == found["povwatch_jobs", "done"] == 2
    for step in ("prepare", "generate", "finish", "check"):
        assert found["povwatch_step_duration_seconds_count", step] == 2
    for stage in ("arriving", "grace", "queued", "running", "checking", "publishing"):
        assert found["povwatch_stage_duration_seconds_count", stage] == 2
    assert found["povwatch_score_count", "blur_ssim"] == 2
    assert found["povwatch_last_published_time_seconds",] >= found["povwatch_start_time_seconds",] > 0
