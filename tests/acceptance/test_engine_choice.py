"""Which engine runs, said and kept to."""

from __future__ import annotations

import json

import pytest
from support.daemons import Daemon, toy
from support.put import advance
from support.waiting import newest

from povwatch.core.job import JobState
from povwatch.gpu import nvml as gpu
from povwatch.journal import Journal

pytestmark = pytest.mark.skipif(bool(gpu.read_gpus().found), reason="is about a machine without a GPU")


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov", engine={"kind": "auto"}) as daemon:
        yield daemon


def ran_once(daemon, engine, *, clip=b"old.mp4"):
    """A journal in which an engine has published a clip."""
    way = (JobState.GRACE, JobState.QUEUED, JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING, JobState.DONE)
    daemon.state.mkdir()
    with Journal.open(daemon.state) as journal:
        (job,) = journal.add([(clip, b"")], 1.0)
        for state in way:
            job = advance(journal, job, "waiting", 2.0, state=state, engine=engine, waiting_on=None)


def test_auto_is_the_preview_here(here):
    """Without a GPU, auto takes the preview and gives the reason why each real engine cannot run."""
    here.clip(frames=9)
    done = here.once()
    assert done.returncode == 0, done.stderr
    (chosen,) = [json.loads(line) for line in done.stderr.splitlines() if '"engine-chosen"' in line]
    assert chosen["engine"] == "preview"
    assert "not a generated one" in chosen["message"]
    assert "Cosmos cannot: " in chosen["message"]
    assert "Diffusers cannot: " in chosen["message"]
    assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
    manifest = json.loads((here.outputs / "a/a_preview.json").read_text())
    assert (manifest["kind"], manifest["engine"]["name"]) == ("preview", "preview")
    assert manifest["output"]["frames"] == 9
    assert here.peek("a.mp4")["engine"] == "preview"


def test_auto_never_steps_down(here):
    """Where a real engine has run, auto waits for it and makes no previews unless they are asked for by name."""
    ran_once(here, "cosmos")
    here.clip()
    done = here.once()
    assert done.returncode == 3, done.stderr
    assert here.published() == []
    job = here.peek("a.mp4")
    assert (job["state"], job["waiting_on"]) == ("queued", "engine-unavailable")
    assert "The engine is not available: there is no NVIDIA driver here." in done.stderr
    assert "previews do not take its place" in done.stderr
    # whoever wants previews all the same says so
    assert here.once("--engine", "preview").returncode == 0
    assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]


def test_named_engine_is_waited_for(here):
    """A clip waits for a real engine that is asked for by name, and why and status give the reason."""
    here.start("--engine", "cosmos")
    here.clip()
    unavailable = here.wait_for("engine-unavailable")
    assert "there is no NVIDIA driver here" in unavailable["message"]
    here.until(lambda: (job := newest(here)) and job.waiting_on == "engine-unavailable")
    assert "there is no NVIDIA driver here" in here.call("why", "a.mp4").stdout
    assert "there is no NVIDIA driver here" in here.call("status").stdout
    assert here.stop() == 0


def test_previews_are_run_again_for_real(here):
    """retry --previews takes in every previewed clip once a real engine runs, and each of them once."""
    here.clip()
    assert here.once().returncode == 0
    here.start()
    refused = here.call("retry", "--previews")
    assert refused.returncode == 1
    assert "the engine here is the preview" in refused.stdout
    here.stop()
    here.configure(engine={"kind": toy("real")})
    here.start()
    answer = here.call("retry", "--previews")
    assert (answer.returncode, answer.stdout) == (0, "1 previewed clip(s) are taken in again.\n")
    here.wait_for("done", clip="a.mp4")
    assert here.call("retry", "--previews").stdout == "0 previewed clip(s) are taken in again.\n"
    here.stop()
    assert [name for name in here.published() if "_aug" in name] == ["a/a_aug.json", "a/a_aug.mp4"]
    assert "note" not in json.loads((here.outputs / "a/a_aug.json").read_text())


def test_real_file_engine_is_kept(here):
    """An engine that is given as a file and says it is real runs on under auto."""
    here.configure(engine={"kind": toy("real")})
    here.clip()
    assert here.once().returncode == 0
    here.configure(engine={"kind": "auto"})
    here.clip("b.mp4")
    done = here.once()
    assert done.returncode == 0, done.stderr
    assert "previews do not take its place" in done.stderr
    assert [name for name in here.published() if name.startswith("b/")] == ["b/b_aug.json", "b/b_aug.mp4"]


def test_unreal_file_engine_is_replaced(here):
    """An engine that is given as a file and is no real one is replaced by the preview under auto."""
    here.configure(engine={"kind": toy("copies")})
    here.clip()
    assert here.once().returncode == 0
    here.configure(engine={"kind": "auto"})
    here.clip("b.mp4")
    assert here.once().returncode == 0
    assert [name for name in here.published() if name.startswith("b/")] == ["b/b_preview.json", "b/b_preview.mp4"]
