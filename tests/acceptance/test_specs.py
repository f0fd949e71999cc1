"""povwatch specs and prompts: the JSON files, without a daemon."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from support.daemons import Daemon

from povwatch.spec.choices import draw
from povwatch.spec.prompts import load_templates


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov", spec={"templates": "mine"}) as daemon:
        (daemon.folder / "mine").mkdir()
        yield daemon


def prompt(file):
    return json.loads(file.read_text())["prompt"]


def test_json_files_for_a_folder(here):
    """specs writes the JSONs of a folder, and with --force anew; what somebody wrote is kept aside."""
    (here.folder / "mine" / "timed.toml").write_text('prompt = "{duration} of {stem}, {folder}, {date}"\n')
    here.configure(
        spec={
            "templates": "mine",
            "folders": {"cars/**": {"template": "timed", "negative_prompt": "no {stem}"}},
        }
    )
    here.clip("a.mp4", frames=75, fps=25)
    car = here.clip("cars/b.mp4", frames=75, fps=25)
    os.utime(car, (1_780_000_000, 1_780_000_000))
    (here.inputs / "cars" / "broken.mp4").write_bytes(b"no video")
    a, b = here.inputs / "a.json", here.inputs / "cars" / "b.json"

    done = here.call("specs", "--dry-run")
    assert "a.json: would be written, template hand_manipulation" in done.stdout
    assert not a.exists()
    done = here.call("specs", "cars")
    assert done.returncode == 1
    assert "cars/b.json: written, template timed" in done.stdout
    assert "broken.json: not written: template timed has {duration}, and the clip is no whole video" in done.stdout
    assert not a.exists()
    assert prompt(b).startswith("3 seconds of b, cars, 2026-05-2")
    assert json.loads(b.read_text())["negative_prompt"] == "no b"
    (here.inputs / "cars" / "broken.mp4").unlink()
    assert here.call("specs").stdout.endswith("1 written, 1 there already.\n")

    # What nobody touched is replaced; what somebody wrote is kept; a second time there is nothing to do.
    a.write_text(a.read_text().replace('seed": 0', 'seed": 7'))
    edited = a.read_text()
    done = here.call("specs", "--force", "--template", "kitchen")
    assert "a.json: written anew, template kitchen; what somebody wrote there is kept as .a.json.old" in done.stdout
    assert "cars/b.json: written anew, template kitchen\n" in done.stdout
    assert (here.inputs / ".a.json.old").read_text() == edited
    assert prompt(a) == prompt(b) == load_templates(None)["kitchen"].prompt
    assert sorted(file.name for file in (here.inputs / "cars").iterdir()) == ["b.json", "b.mp4"]
    assert "0 written, 2 there already" in here.call("specs", "--force", "--template", "kitchen").stdout
    a.write_text("{")
    assert "kept as .a.json.old2" in here.call("specs", "--force").stdout
    (here.inputs / ".a.json.swp").touch()
    left = here.call("specs", "--force", "--template", "driving").stdout
    assert "a.json: left as it is: it is open in an editor" in left


def test_drawn_looks(here):
    """specs draws for the clip's content, whatever the clip is called, and replaces an untouched JSON alone."""
    (here.folder / "mine" / "looks.toml").write_text('prompt = "{light: sun|overcast|lamp}, {stem}"\n')
    clip = here.clip("a.mp4")
    (here.inputs / "b.mp4").write_bytes(clip.read_bytes())
    (here.inputs / "c.mp4").write_bytes(b"no video")
    done = here.call("specs", "--template", "looks")
    assert "c.json: not written: template looks has choices, which are drawn for the clip's content" in done.stdout
    a, b = (json.loads((here.inputs / name).read_text()) for name in ("a.json", "b.json"))
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    drawn = draw({"light": ("sun", "overcast", "lamp")}, seed=0, digest=digest, look="")
    assert a["povwatch"] == b["povwatch"] == {"drawn": drawn}
    assert (a["prompt"], b["prompt"]) == (f"{drawn['light']}, a", f"{drawn['light']}, b")
    done = here.call("specs", "--template", "objects", "--force")
    assert "a.json: written anew, template objects\n" in done.stdout
    told = here.call("check", "--engine", "diffusers", str(here.inputs / "a.json")).stdout
    assert "seg.control_path is missing, and IDEA-Research/grounding-dino-base, which computes seg" in told
    assert "seg.mask_path names a file that is not there" in told


def test_done_clip_keeps_its_json(here):
    """specs --force leaves the JSON of a clip that is done."""
    here.clip()
    assert here.once().returncode == 0
    done = here.call("specs", "--force", "--template", "kitchen")
    assert "a.json: left as it is: the clip is done" in done.stdout
    assert prompt(here.inputs / "a.json") == load_templates(None)["hand_manipulation"].prompt


def test_errors_come_before_the_work(here):
    """A wrong template, variable or folder is told before anything is written."""
    bad = here.folder / "mine" / "bad.toml"
    bad.write_text('prompt = "{stm}"\n')
    for command in (["specs"], ["run", "--once"], ["prompts", "list"]):
        done = here.call(*command)
        assert done.returncode in {1, 2}, command
        assert "bad.toml, line 1: prompt: {stm} is no variable; there are {stem}, " in done.stderr + done.stdout, (
            command
        )
    bad.unlink()
    here.configure(spec={"folders": {"a": {"negative_prompt": "no {stm}"}}})
    done = here.call("run", "--once")
    assert done.returncode == 2
    assert 'spec.folders."a": negative_prompt: {stm} is no variable' in done.stderr
    here.configure()
    assert here.call("specs", "--template", "kichen").stderr.endswith("Did you mean 'kitchen'?\n")
    for folder in ("nowhere", "/", ".."):
        done = here.call("specs", folder)
        assert done.returncode == 2
        assert f"{folder} is no folder in " in done.stderr


def test_prompts_are_listed_and_shown(here):
    """prompts lists and shows all templates; what is shown can be used as a template."""
    (here.folder / "mine" / "kitchen.toml").write_text(
        'prompt = "my \x1b[31mkitchen"\ndescription = "Mine."\n'.replace("\x1b", "\\u001b")
    )
    listed = here.call("prompts", "list").stdout
    for name, ours in (load_templates(None) | {"kitchen": None}).items():
        (line,) = [line for line in listed.splitlines() if line.split()[:1] == [name]]
        assert line.split()[1] == ("povwatch" if ours else "yours")
        assert line.endswith(ours.description if ours else "Mine.")
    assert "{duration}" in listed
    assert "povwatch  edge 1, vis 0.6, seg 0.4 (mask)  [5 looks] Another place" in listed
    assert "# {light}: soft morning sun from a window | " in here.call("prompts", "show", "lighting").stdout
    assert here.call("prompts", "show", "kitchen").stdout.startswith('prompt = "my ')
    shown = here.call("prompts", "show", "driving").stdout
    (here.folder / "mine" / "again.toml").write_text(shown)
    assert load_templates(here.folder / "mine")["again"].prompt == load_templates(None)["driving"].prompt
    assert here.call("prompts", "show").returncode == 2
    assert "no template" in here.call("prompts", "show", "nothing").stderr
