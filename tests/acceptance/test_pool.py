"""Workers on other machines, through a double of the bridge: whatever is lost, each clip is done once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter

import pytest
from support.daemons import ENGINES
from support.pooled import Pooled
from support.waiting import sound

from povwatch.journal import open_reader

POISON = {"name": "poison", "video_path": "poison.mp4", "prompt": "hands", "edge": {}, "seed": 666}


def at_work(here):
    """The clips that `status` finds with a worker on another machine."""
    with open_reader(here.state) as reader:
        workers = (reader.fact("daemon") or {}).get("workers", [])
        return {os.fsdecode(reader.job(one["job"]).path) for one in workers if one["job"] and one["node"]}


def done_once(here, *clips):
    """Every clip is done, and generated and published once."""
    for clip in clips:
        here.wait_for("done", clip=clip)
    with open_reader(here.state) as reader:
        for job in [job for job in reader.jobs() if os.fsdecode(job.path) in clips]:
            happened = Counter(event.event for event in reader.events(job.id))
            assert (happened["generated"], happened["done"]) == (1, 1), job
    here.until(lambda: idle(here))
    sound(here)


def idle(here):
    """Nothing is left in the private folder but what jobs under way have."""
    with open_reader(here.state) as reader:
        return not [job for job in reader.jobs() if not job.ended] and list(here.outputs.glob(".povwatch/*")) == []


def test_clips_of_a_pool(tmp_path):
    """Clips are done on other machines, which the log, status and why name; the daemon ends in good order."""
    with Pooled(tmp_path / "pov") as here:
        here.start()
        here.clips("a.mp4", "b.mp4", "c.mp4")
        away = here.wait_state("a.mp4", "queued", waiting_on="workers-away")
        assert "The bridge to the pool does not run" in away["detail"]
        bridge = here.bridge("gpu-01", "gpu-02")
        here.wait_for("started", count=2)
        assert sorted(bridge.workers.values()) == ["gpu-01", "gpu-02"]
        here.until(lambda: len(here.runs) == 2)
        here.until(lambda: at_work(here) == {"a.mp4", "b.mp4"})
        status = here.call("status").stdout
        node = next(line["on"] for line in here.events("started", clip="a.mp4"))
        assert f"worker 1 on node {node} (NVIDIA X): generates a.mp4" in status
        assert "Pool at head:6379" in status
        assert "2 of 2 wanted workers, on 2 of 2 nodes" in status
        assert f"worker 1 on node {node}" in here.call("why", "a.mp4").stdout
        assert f"(worker 1 on node {node})" in here.events("started", clip="a.mp4")[0]["message"]
        here.let_go()
        done_once(here, "a.mp4", "b.mp4", "c.mp4")
        assert here.stop() == 0


def generating(here, *clips):
    """Clips are being generated on other machines."""
    here.clips(*clips)
    for clip in clips:
        here.wait_for("progress", clip=clip)


def charges(here, clip="a.mp4"):
    """Attempts and crashes that count against a clip."""
    job = here.peek(clip)
    return job["attempts"], job["crashes"]


@pytest.fixture
def here(tmp_path):
    with Pooled(tmp_path / "pov", pool={"max": 1}) as here:
        yield here


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_bridge_gone_charges_nothing(here, how):
    """A bridge that dies or hangs costs nobody anything, and what it does later counts no more."""
    here.start()
    first = here.bridge("gpu-01")
    generating(here, "a.mp4")
    if how == "killed":
        first.kill()
    else:
        first.signal(signal.SIGSTOP)
    here.wait_for("bridge-gone")
    here.wait_for("released", clip="a.mp4")
    assert charges(here) == (0, 0)
    here.let_go()
    if how == "stopped":
        first.signal(signal.SIGCONT)  # it finds that it was hung up on, and offers its worker anew
        here.wait_for("remote-taken-over")
        assert len(first.said("started")) == 1
    else:
        here.bridge("gpu-01")
    done_once(here, "a.mp4")


def test_second_bridge_is_refused(here):
    here.start()
    first = here.bridge("gpu-01")
    generating(here, "a.mp4")
    second = here.bridge("gpu-02")
    here.until(lambda: second.said("refused"))
    assert f"Another bridge (pid {first.process.pid})" in second.said("refused")[0]["why"]
    here.let_go()
    done_once(here, "a.mp4")
    assert second.workers == {}
    assert here.events("bridge-gone") == []
    first.kill()
    here.wait_for("bridge-here", pid=second.process.pid)


def test_silent_worker_is_lost(here):
    """A worker of which nothing is heard is lost; the death counts, the attempt does not, and its answers do not."""
    here.start()
    bridge = here.bridge("gpu-01")
    generating(here, "a.mp4")
    (lost,) = bridge.workers
    bridge.order("mute", pid=lost)
    died = here.wait_for("worker-died", clip="a.mp4")
    assert "Worker 1 on node gpu-01 said nothing for" in died["problem"]
    assert charges(here) == (0, 1)
    here.until(lambda: bridge.said("ended", pid=lost))
    here.let_go()
    done_once(here, "a.mp4")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_new_daemon_takes_workers_over(here, how):
    """A new daemon takes over the workers that have their engine loaded, and loads none anew."""
    here.start()
    bridge = here.bridge("gpu-01")
    generating(here, "a.mp4")
    if how == "killed":
        here.kill()
    else:
        assert here.stop() == 0
        assert charges(here) == (0, 0)
    here.let_go()
    here.start().wait_for("remote-taken-over")
    done_once(here, "a.mp4")
    assert len(bridge.said("started")) == len(here.events("engine-ready")) == 1
    assert here.stop() == 0
    here.start().clips("b.mp4")
    done_once(here, "b.mp4")
    assert len(bridge.said("started")) == 1


def test_changed_configuration_loads_anew(tmp_path):
    """A worker whose engine was loaded for another configuration ends, and another one loads."""
    with Pooled(tmp_path / "pov", engine="short_jobs", pool={"max": 1}) as here:
        here.start()
        bridge = here.bridge("gpu-01")
        here.clips("a.mp4")
        done_once(here, "a.mp4")
        (old,) = bridge.workers
        here.stop()
        shutil.copyfile(ENGINES / "short_jobs.py", here.folder / "other.py")
        here.configure_pool(engine=f"{here.folder / 'other.py'}:Engine")
        here.start().clips("b.mp4")
        done_once(here, "b.mp4")
        assert bridge.said("ended", pid=old)
        assert len(bridge.said("started")) == len(here.events("engine-ready")) == 2


def test_poisonous_clip_among_good_ones(tmp_path):
    """A clip that was under way in three deaths fails with their nodes and reasons; the others are done once."""
    with Pooled(tmp_path / "pov", engine="poison") as here:
        here.start()
        here.bridge("gpu-01", "gpu-02")
        (here.inputs / "poison.json").write_text(json.dumps(POISON))
        here.clips("poison.mp4", "a.mp4", "b.mp4", "c.mp4")
        failed = here.wait_state("poison.mp4", "failed")
        done_once(here, "a.mp4", "b.mp4", "c.mp4")
        assert (failed["attempts"], failed["crashes"]) == (0, 3)
        assert "under way 3 times when its worker was lost" in failed["error"]
        assert failed["error"].count("was killed by SIGKILL") == 3
        assert failed["error"].count("on node gpu-0") == 3
        assert "It last printed: about to swallow it" in failed["error"]
        assert here.events("node-rests") == []


def test_place_with_four_deaths_rests(tmp_path):
    """A node whose workers cannot load, four in a row, gets none for a while; clips wait and are charged nothing."""
    with Pooled(tmp_path / "pov", engine="exits_in_load", pool={"max": 1}) as here:
        here.start()
        bridge = here.bridge("gpu-01")
        here.clips("a.mp4")
        rests = here.wait_for("node-rests")
        assert (rests["node"], rests["many"]) == ("gpu-01", 4)
        here.until(lambda: bridge.workers == {})
        assert len(bridge.said("started")) <= 5, "one may have been on its way"
        assert charges(here) == (0, 0)
        here.until(lambda: "node gpu-01 gets no worker: it rests" in here.call("status").stdout)
        assert "on node gpu-01" in here.call("why", "a.mp4").stdout
