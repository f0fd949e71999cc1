"""One clip, several looks: povwatch vary, an edit of one of them, and the results beside each other."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from support.clips import read_numbers, read_times
from support.daemons import Daemon, toy
from support.waiting import sound

TIMES = [0, 40, 70, 130, 150, 200, 290]
FOUR = [f"kitchen_{what}_s{seed}" for what in ("night", "rain") for seed in (1, 2)]


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov", engine={"kind": toy("real")}) as daemon:
        yield daemon


def spec(here, look):
    return json.loads((here.inputs / f"clip.{look}.json").read_text())


def manifest(here, look):
    return json.loads((here.outputs / f"clip/clip_{look}_aug.json").read_text())


def test_four_looks_of_a_clip(here):
    """A new user copies a clip, asks for four looks, edits one, and has four results with the clip's own frames."""
    here.configure(engine={"kind": toy("real")}, grace={"period": "1h"})
    here.start()
    clip = here.clip("clip.mp4", frames=7, times=TIMES, time_base=Fraction(1, 1000), audio="aac")
    here.wait_for("grace", clip="clip.mp4")
    done = here.call("vary", "clip", "--template", "kitchen_night", "--template", "kitchen_rain", "--seed", "1..2")
    assert done.stdout.splitlines() == [
        "clip.kitchen_night_s1.json: written, template kitchen_night, seed 1",
        "clip.kitchen_night_s2.json: written, template kitchen_night, seed 2",
        "clip.kitchen_rain_s1.json: written, template kitchen_rain, seed 1",
        "clip.kitchen_rain_s2.json: written, template kitchen_rain, seed 2",
        "4 written, 0 there already.",
    ]
    here.wait_for("joined", count=4)
    edited = here.inputs / "clip.kitchen_rain_s2.json"
    edited.write_text(edited.read_text().replace('"guidance": 3', '"guidance": 5'))
    here.wait_for("edited", clip="clip.mp4@kitchen_rain_s2")

    answer = here.call("go", "clip").stdout.splitlines()
    assert answer[0] == "clip: 5 of its 5 looks:"
    assert answer[1] == "clip.mp4: it starts as soon as a worker is free."
    here.wait_for("done", count=5)
    names = ["clip_aug", *(f"clip_{look}_aug" for look in FOUR)]
    assert here.published() == sorted(f"clip/{name}.{end}" for name in names for end in ("json", "mp4"))
    for name in names:
        result = here.outputs / f"clip/{name}.mp4"
        assert read_times(result) == read_times(clip)
        assert read_numbers(result) == list(range(7))
        assert json.loads(result.with_suffix(".json").read_text())["output"]["audio"] == "aac"
    seeds = {look: (manifest(here, look)["look"], manifest(here, look)["seed"]) for look in FOUR}
    assert seeds == {look: (look, int(look[-1])) for look in FOUR}
    assert manifest(here, "kitchen_rain_s2")["guidance"] == 5
    assert len(here.events("arrived")) == 1
    shared = ["shared with another look" in line["message"] for line in here.events("prepared")]
    assert sorted(shared) == [False, True, True, True, True]
    assert list((here.outputs / ".povwatch").iterdir()) == []
    rows = [line.split()[1] for line in here.call("jobs").stdout.splitlines()[1:]]
    assert rows == ["clip.mp4", *(f"clip.mp4@{look}" for look in FOUR)]
    assert here.show("clip")["looks"][0]["output"] == "clip/clip_kitchen_night_s1_aug.mp4"
    whose = here.call("why", "clip.kitchen_rain_s2.json").stdout
    assert "clip.kitchen_rain_s2.json is the look kitchen_rain_s2 of clip.mp4" in whose
    assert here.stop() == 0
    sound(here)


def test_looks_of_every_new_clip(here):
    """spec.variants has looks written for each new clip, and other ones for those of a folder."""
    spec = {"variants": ["kitchen_night"], "folders": {"d/**": {"variants": []}}}
    here.configure(engine={"kind": toy("real")}, spec=spec)
    here.start()
    here.clip("clip.mp4")
    here.clip("d/other.mp4")
    here.wait_for("done", count=3)
    assert here.published() == [
        *("clip/clip_aug.json", "clip/clip_aug.mp4", "clip/clip_kitchen_night_aug.json"),
        *("clip/clip_kitchen_night_aug.mp4", "d/other/other_aug.json", "d/other/other_aug.mp4"),
    ]
    assert here.stop() == 0
    sound(here)


def test_hooks_and_move_of_looks(here):
    """A hook before a clip runs once, one after it for each look; the clip moves after the last look."""
    ran = ["sh", "-c", 'echo "$1" >>ran.$2', "sh", "{job}"]
    hooks = [
        {"name": "mano", "when": "before", "argv": [*ran, "mano"]},
        {"name": "archive", "when": "after", "argv": [*ran, "archive"]},
    ]
    spec = {"variants": ["kitchen_night", "kitchen_rain"]}
    here.configure(engine={"kind": toy("real")}, spec=spec, publish={"source": "move"}, hooks=hooks)
    here.start()
    here.clip("clip.mp4")
    here.wait_for("done", count=3)
    assert len((here.folder / "ran.mano").read_text().split()) == 1
    assert len((here.folder / "ran.archive").read_text().split()) == 3
    assert [line["why"] for line in here.events("hook-skipped")] == ["it has run for another look of this clip"] * 2
    assert len(here.events("moved")) == 1
    assert here.stop() == 0
    names = ["clip.json", "clip.kitchen_night.json", "clip.kitchen_rain.json", "clip.mp4"]
    assert sorted(path.name for path in (here.inputs / ".done").iterdir()) == names
    assert [path.name for path in here.inputs.iterdir()] == [".done"]
    sound(here)


def test_what_vary_writes(here):
    """Without a template, a look says what clip.json says; a dry run writes nothing, and nothing is replaced."""
    here.clip("clip.mp4")
    assert here.call("specs").returncode == 0
    own = here.inputs / "clip.json"
    own.write_text(own.read_text().replace('"guidance": 3', '"guidance": 6'))
    done = here.call("vary", "clip", "--seed", "7,9", "--set", "edge.control_weight=0.25", "--hold", "--dry-run")
    look = "s7_edge-control_weight0-25"
    assert f"clip.{look}.json: would be written, as the clip's own JSON, seed 7" in done.stdout
    assert not (here.inputs / f"clip.{look}.json").exists()
    assert here.call("vary", "clip", "--seed", "7,9", "--set", "edge.control_weight=0.25", "--hold").returncode == 0
    found = spec(here, look)
    assert (found["seed"], found["guidance"], found["edge"]) == (7, 6, {"control_weight": 0.25})
    assert (found["name"], found["povwatch"]) == (f"clip_{look}", {"start": "hold"})
    done = here.call("vary", "clip", "--set", "guidance=null", "--set", "edge.control_weight=null")
    assert "written, as the clip's own JSON, without guidance, without edge.control_weight" in done.stdout
    found = spec(here, "no-guidance_no-edge-control_weight")
    assert ("guidance" in found, found["edge"]) == (False, {})
    prompt = "Hands fold a towel in the morning light."
    assert here.call("vary", "clip", "--set", f"prompt={prompt}").returncode == 0
    (named,) = here.inputs.glob("clip.prompt-*.json")
    assert json.loads(named.read_text())["prompt"] == prompt
    named.unlink()
    (here.inputs / "clip.no-guidance_no-edge-control_weight.json").rename(here.inputs / "clip.aug.json")
    (here.inputs / "clip.wrong.json").write_text(json.dumps(found | {"video_path": "other.mp4"}))
    checked = here.call("check").stdout
    assert f"clip.{look}.json: ok" in checked
    assert 'write "video_path": "clip.mp4"' in checked
    assert 'clip.aug.json: "aug" is no name for a look' in checked
    assert "5 looked at, 2 to be put right." in checked
    (here.inputs / "clip.wrong.json").unlink()
    again = here.call("vary", "clip", "--seed", "7,9", "--set", "edge.control_weight=0.25")
    assert "0 written, 2 there already." in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Nothing says how the looks differ. Give --template, --seed or --set"),
        (["--template", "kichen_night"], "did you mean 'kitchen_night'"),
        (["--seed", "4..1"], "--seed 4..1 names no seeds. Write 7, 1..4 or 1,3,5."),
        (["--seed", "1..1000"], "The clip would have 1000 looks beside its own, and spec.variants_max is 32."),
        (["--set", "guidance"], "--set guidance names no field and value."),
        (["--set", "guidance=11"], "guidance"),
        (["--set", "promt=x"], "promt"),
        (["--set", "povwatch=3", "--hold"], "--set povwatch: it is no object. Write povwatch.priority=5."),
        (["--seed", "1..2", "--set", "seed=4"], "--seed and --set seed both give the seed."),
        (["--set", "name=other"], "--set name: the clip and the look decide it."),
        (["--set", "prompt=a\udcff", "--template", "driving"], "--set prompt: it is no text in UTF-8."),
        (["--set", r'prompt="\ud800"'], "--set prompt: it is no text in UTF-8."),
    ],
)
def test_what_vary_refuses(here, words, said):
    """Whatever cannot be run is told, and nothing is written."""
    here.clip("clip.mp4")
    done = here.call("vary", "clip", *words)
    assert done.returncode in {1, 2}
    assert said.lower() in (done.stdout + done.stderr).lower()
    assert [file.name for file in here.inputs.iterdir()] == ["clip.mp4"]


def test_why_a_look_has_no_job(here):
    """A look whose clip never arrives has no job; why says what it waits for, and show which looks there are."""
    (here.inputs / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(4000))
    (here.inputs / "clip.night.json").write_text("{}")
    here.start()
    here.wait_state("clip.mp4", "arriving", waiting_on="incomplete")
    for word in ("clip@night", "clip.night.json"):
        assert "it is taken in when its clip has arrived (arriving now)" in here.call("why", word).stdout
    (here.inputs / "ghost.night.json").write_text("{}")
    said = here.call("why", "ghost.night.json").stdout
    assert "is the JSON of no clip that was seen: none beside it is called ghost.night or ghost" in said
    done = here.call("show", "clip@night")
    assert 'clip.mp4 has no look "night". It has its own look alone.' in done.stderr


def test_why_a_look_is_over_the_limit(here):
    """A look over the limit waits for that, also once the other looks are done."""
    here.configure(engine={"kind": toy("real")}, spec={"variants": ["kitchen_night"], "variants_max": 1})
    here.start()
    here.clip("clip.mp4")
    here.wait_for("done", count=2)
    (here.inputs / "clip.rain.json").write_text("{}")
    here.wait_for("looks-limit")
    assert "the clip has 1 looks already, and spec.variants_max is 1" in here.call("why", "clip@rain").stdout
    assert "kitchen_night done, rain waits: povwatch why clip.mp4@rain" in here.call("why", "clip").stdout
    left = "1 look is left, not started, as spec.variants_max is 1: clip.rain.json"
    here.stop()
    once = here.once()
    assert once.returncode == 1
    assert left in once.stdout


def test_vary_beside_another_clip(here):
    """A clip of the whole name keeps its JSON: vary says so."""
    here.clip("clip.mp4")
    here.clip("clip.s1.mp4")
    done = here.call("vary", "clip.mp4", "--seed", "1")
    assert "clip.s1.json is the JSON of clip.s1.mp4." in done.stderr
