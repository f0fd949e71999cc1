"""Three machines of network namespaces: script/run on the first, script/pool-node on two more, one of which is lost."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
from support import machines
from support.clips import make_clip
from support.daemons import toy

from povwatch.journal import open_reader

CLIPS = [f"{number}.mp4" for number in range(10)]

FIRST = """
[paths]
outputs = "{outputs}"
[arrival]
settle = "200ms"
rescan = "1s"
[grace]
period = "0s"
[disk]
reserve = "1MB"
[page]
enabled = false
[quality]
scores = false
[publish]
sheet = false
[engine]
kind = "{engine}"
workers = 0
[pool]
kind = "ray"
"""


pytestmark = pytest.mark.timeout(300)  # three machines start Ray


@pytest.fixture
def network(tmp_path):
    machines.usable()
    made = machines.Network(tmp_path)
    yield made
    made.close()


def test_a_machine_is_lost_in_the_midst(network, tmp_path):
    """Two commands, ten clips, one of two machines loses its power: each clip is done once. Ctrl-C leaves nothing."""
    outputs = tmp_path / "share"
    outputs.mkdir()
    engine = toy("short_jobs")
    first = network.machine("first", FIRST.format(outputs=outputs, engine=engine))
    run = first.start("script/run")
    run.says("pool-head")
    nodes = {}
    for name, seconds in {"second": "300", "third": "2"}.items():  # the one that is lost has not done its clip by then
        machine = network.machine(name, TOY_SECONDS=seconds, TOY_RUNS=str(tmp_path / "runs"))
        (machine.folder / ".povwatch").mkdir()
        shutil.copy(first.folder / ".povwatch/pool.token", machine.folder / ".povwatch/pool.token")
        nodes[name] = machine, machine.start("script/pool-node", first.address, "--engine", engine, "--gpus", "1")
    for _, node in nodes.values():
        node.says("node-works")
    well = [line for line in first.ask("script/povwatch", "doctor").splitlines() if line.startswith("ok")]
    for about in ("pool         script/povwatch pool runs", "token        ", "cluster      10.77.0.1:6379, with Ray"):
        assert [line for line in well if line[4:].startswith(about)], well
    assert [line for line in well if "room for 2 worker(s)" in line]
    for name in nodes:
        assert [line for line in well if line[4:].startswith(f"node         {name}: 1 GPU(s), povwatch ")], well
    make_clip(tmp_path / "one.mp4", frames=4, size=(64, 48))
    for name in CLIPS:
        shutil.copyfile(tmp_path / "one.mp4", first.folder / "inputs" / name)

    lost, stays = nodes["second"][0], nodes["third"]
    run.until(lambda: any("second" in label for label in under_way(run)), "a clip on the second machine")
    run.says('"event": "done"', count=2)
    lost.kill()
    run.says('"event": "done"', count=len(CLIPS))

    assert sorted(path.parent.name for path in outputs.glob("*/*.mp4")) == [name.removesuffix(".mp4") for name in CLIPS]
    with open_reader(first.folder / ".povwatch") as reader:
        for job in reader.jobs():
            happened = Counter(event.event for event in reader.events(job.id))
            assert (happened["generated"], happened["done"]) == (1, 1), job
    (died,) = logged(run, "worker-died")
    assert "second" in died["message"]

    assert run.interrupt() == 0
    assert first.alive == {}
    assert stays[1].interrupt() == 0
    assert stays[0].alive == {}


def logged(run, event):
    """The lines of an event."""
    lines = [json.loads(line) for line in run.text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def under_way(run):
    """Where clips are being generated, as the log names it."""
    over = {line["clip"] for name in ("generated", "worker-died") for line in logged(run, name)}
    return [line.get("where", "") for line in logged(run, "started") if line["clip"] not in over]
