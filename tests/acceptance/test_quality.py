"""Results that are judged: another seed after a bad one, the best of several, and kills in between."""

from __future__ import annotations

import csv
import io
import json

import pytest
from support.daemons import Daemon, toy
from support.waiting import newest, sound


class Seeds(Daemon):
    """A daemon whose engine makes the best result with one seed."""

    def __init__(self, folder, monkeypatch, *, good, fails=(), waits=(), **settings):
        super().__init__(folder / "pov", engine={"kind": toy("better_by_seed"), "attempts": 1}, **settings)
        self.told = folder
        (folder / "good").write_text(json.dumps({"seed": good, "fails": list(fails), "waits": list(waits)}))
        monkeypatch.setenv("BETTER_BY_SEED", str(folder))

    @property
    def generated(self):
        """The seeds that the engine was asked for, in order."""
        return [int(line) for line in (self.told / "seeds").read_text().split()]

    def manifest(self, name="a"):
        return json.loads((self.outputs / f"{name}/{name}_aug.json").read_text())

    def edit(self, **fields):
        """Replace fields of the JSON, as an editor does it."""
        spec, new = self.inputs / "a.json", self.inputs / ".a.new"
        new.write_text(json.dumps(json.loads(spec.read_text()) | fields))
        new.replace(spec)

    def put(self, **own):
        """A clip whose JSON asks for something of povwatch."""
        self.start()
        self.clip(frames=6)
        self.until((self.inputs / "a.json").exists)
        self.edit(povwatch=own)
        self.ask("go", "a.mp4")


def test_gate_tries_the_next_seed(tmp_path, monkeypatch):
    """A result that fails a rule is followed by the next seed; the first that passes is published."""
    with Seeds(tmp_path, monkeypatch, good=2, quality={"edge_f1": 0.8, "keep_rejected": True}) as here:
        here.start()
        here.clip(frames=6)
        here.wait_for("done")
        assert here.generated == [0, 1, 2]
        assert [(line["seed"], line["next"]) for line in here.events("try-over")] == [(0, 1), (1, 2)]
        assert "3 of 4 seeds tried; seed 2 is published: passes" in here.events("judged")[0]["message"]
        manifest = here.manifest()
        told = manifest["quality"]
        assert (manifest["seed"], manifest["spec"]["seed"], told["passed"]) == (2, 2, True)
        assert [one["published"] for one in told["tries"]] == [False, False, True]
        assert [one["file"] for one in told["tries"][:2]] == ["seed_0.mp4", "seed_1.mp4"]
        assert here.published() == [
            "a/a_aug.json",
            "a/a_aug.mp4",
            "a/a_aug_rejected/seed_0.mp4",
            "a/a_aug_rejected/seed_1.mp4",
        ]
        assert "done already" not in here.call("why", "a.mp4").stdout
        here.stop()
        sound(here)


def test_best_is_marked_as_not_passed(tmp_path, monkeypatch):
    """If no seed passes, the best is published and marked: here an earlier one than the last."""
    with Seeds(tmp_path, monkeypatch, good=1, quality={"edge_f1": 1.0, "tries": 3}) as here:
        here.start()
        here.clip(frames=6)
        here.wait_for("done")
        assert here.generated == [0, 1, 2]
        told = here.manifest()["quality"]
        assert told["passed"] is False
        assert [one["seed"] for one in told["tries"] if one["published"]] == [1]
        assert here.manifest()["seed"] == 1
        assert "no seed passes" in here.events("judged-bad")[0]["message"]
        shown = json.loads(here.call("show", "a.mp4", "--json").stdout)
        assert (shown["seed"], shown["json_seed"], shown["spec"]["seed"]) == (1, 0, 1)
        judged = shown["quality"]
        assert (judged["passed"], [one["seed"] for one in judged["tries"]]) == (False, [0, 1, 2])
        told = here.call("why", "a.mp4").stdout.replace("\n", " ")
        assert "3 of 3 tried; seed 0: edge_f1 0." in told
        assert "seed 1 is published and does not pass" in told
        assert "It does not pass: edge_f1 0." in here.call("report").stdout.replace("\n", " ")
        here.call("report", "--report", str(here.folder / "r.csv"))
        (row,) = csv.DictReader(io.StringIO((here.folder / "r.csv").read_text()))
        assert (row["tries"], row["passed"]) == ("3", "False")
        here.stop()
        sound(here)


def test_best_of_several(tmp_path, monkeypatch):
    """All seeds that a JSON asks for are made, and the best is published with the figures of all."""
    with Seeds(tmp_path, monkeypatch, good=1, grace={"period": "1h"}) as here:
        here.put(best_of=3, by="blur_ssim")
        here.wait_for("done")
        told = here.manifest()["quality"]
        assert here.generated == [0, 1, 2]
        assert (told["passed"], told["by"]) == (None, "blur_ssim")
        assert [one["published"] for one in told["tries"]] == [False, True, False]
        assert all("blur_ssim" in one["scores"] for one in told["tries"])
        here.stop()
        sound(here)


def test_unknown_score_in_a_json(tmp_path, monkeypatch):
    with Seeds(tmp_path, monkeypatch, good=0, grace={"period": "1h"}) as here:
        here.put(best_of=2, by="edges")
        here.until((here.inputs / "a.error.txt").exists)
        text = (here.inputs / "a.error.txt").read_text()
        assert "povwatch.by" in text
        assert "no score" in text
        assert "blur_ssim" in text


def test_unknown_rule_is_refused(tmp_path, monkeypatch):
    with Seeds(tmp_path, monkeypatch, good=0, quality={"edge_f2": 0.6}) as here:
        refused = here.once()
        assert refused.returncode != 0
        assert "edge_f2" in refused.stderr
        assert "did you mean 'edge_f1'?" in refused.stderr


def test_seed_that_fails_costs_no_result(tmp_path, monkeypatch):
    """A later seed that fails for good leaves the best of the others."""
    with Seeds(tmp_path, monkeypatch, good=5, fails=[1], quality={"edge_f1": 1.0}) as here:
        here.start()
        here.clip(frames=6)
        here.wait_for("done")
        assert here.generated == [0, 1]
        told = here.manifest()["quality"]
        assert [one["seed"] for one in told["tries"]] == [0]
        assert "this seed does not work" in told["ended"]
        here.stop()
        sound(here)


@pytest.mark.parametrize("event", ["try-over", "generated"])
def test_kill_between_seeds(tmp_path, monkeypatch, event):
    """A kill while a result is judged, or after, generates no seed twice and loses none."""
    with Seeds(tmp_path, monkeypatch, good=5, quality={"edge_f1": 1.0, "tries": 3}) as here:
        here.start()
        here.clip(frames=6)
        here.wait_for(event)
        here.kill()
        here.start()
        here.wait_for("done")
        generated = here.generated
        assert sorted(set(generated)) == [0, 1, 2]
        assert generated.count(0) == 1
        assert newest(here).state == "done"
        assert len(here.manifest()["quality"]["tries"]) == 3
        here.stop()
        sound(here)


def test_kill_in_each_of_four_seeds(tmp_path, monkeypatch):
    """A seed that came out proves that the clip is not why povwatch ends: only crashes since then count."""
    waits = [0, 1, 2, 3]
    with Seeds(tmp_path, monkeypatch, good=2, waits=waits, quality={"edge_f1": 1.0}) as here:
        here.start()
        here.clip(frames=6)
        for seed in range(4):
            here.until(lambda: (here.told / "seeds").exists() and seed in here.generated)  # noqa: B023
            here.kill()
            waits.remove(seed)
            (here.told / "good").write_text(json.dumps({"seed": 2, "waits": waits}))
            here.start()
        here.wait_for("done")
        assert here.generated == [0, 0, 1, 1, 2, 2, 3, 3]
        told = here.manifest()["quality"]
        assert ([one["seed"] for one in told["tries"]], told.get("ended")) == ([0, 1, 2, 3], None)
        assert here.peek("a.mp4")["crashes"] == 1, "those of the last seed"
        here.stop()
        sound(here)


def test_third_kill_in_one_seed_ends_it(tmp_path, monkeypatch):
    """A seed that is under way at three kills is the last one: the best of those before it is published."""
    with Seeds(tmp_path, monkeypatch, good=5, waits=[1], quality={"edge_f1": 1.0}) as here:
        here.start()
        here.clip(frames=6)
        for kills in range(1, 4):
            here.until(lambda: (here.told / "seeds").exists() and here.generated.count(1) == kills)  # noqa: B023
            here.kill()
            here.start()
        here.wait_for("done")
        told = here.manifest()["quality"]
        assert [one["seed"] for one in told["tries"]] == [0]
        assert "went down 3 times" in told["ended"]
        here.stop()
        sound(here)


def test_edit_begins_anew(tmp_path, monkeypatch):
    """A JSON that was edited between two seeds is another run, whose seeds count from its own on."""
    with Seeds(tmp_path, monkeypatch, good=5, waits=[1], quality={"edge_f1": 1.0, "tries": 2}) as here:
        here.start()
        here.clip(frames=6)
        here.wait_for("try-over")
        here.kill()
        here.edit(seed=40)
        here.start()
        here.wait_for("done")
        assert here.generated[-2:] == [40, 41]
        assert [one["seed"] for one in here.manifest()["quality"]["tries"]] == [40, 41]
        here.stop()
        sound(here)


def test_cancel_between_seeds(tmp_path, monkeypatch):
    """Nothing of a cancelled clip's seeds is left."""
    with Seeds(tmp_path, monkeypatch, good=5, quality={"edge_f1": 1.0, "tries": 50}) as here:
        here.start()
        here.clip(frames=6)
        here.wait_for("try-over", count=2)
        assert " of 50 tried; seed 0: edge_f1 0." in here.call("why", "a.mp4").stdout.replace("\n", " ")
        here.ask("cancel", "a.mp4")
        here.wait_for("cancelled")
        here.until(lambda: list((here.outputs / ".povwatch").iterdir()) == [])
        assert here.published() == []
        here.stop()
        sound(here)
