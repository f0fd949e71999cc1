"""What povwatch does not start with, and what it says then; the verbs that need no daemon."""

from __future__ import annotations

import json

import pytest
from support.clips import make_clip
from support.daemons import Daemon


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov") as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('[paths]\ninputs = "in"\noutputs = "in/out"\n', ["outputs", "inputs", "inside"]),
        ('[paths]\ninputs = "out/in"\noutputs = "out"\n', ["outputs", "inputs", "inside"]),
        ('[paths]\nstate = "inputs/state"\n', ["state", "inside"]),
        ('[grace]\nperiods = "1s"\n', ["config.toml, line 2", "periods", "did you mean 'period'"]),
        ("[grace]\nperiod = 1s\n", ["line 2", "quotes"]),
        ('[spec]\ntemplate = "kitchn"\n', ["kitchn", "hand_manipulation", "Did you mean 'kitchen'"]),
    ],
)
def test_wrong_configuration_is_refused(here, config, words):
    """A wrong configuration is exit 2 with the line and the nearest name, and nothing is made."""
    (here.folder / "config.toml").write_text(config)
    done = here.call("run", "--once")
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert "Traceback" not in done.stderr
    assert not here.state.exists()


def test_messages_name_the_given_file(here):
    """A message names the configuration file that was given, or the variable that is close to it."""
    (here.folder / "mine.toml").write_text('[spec]\nfolders = {"kitchen/**" = "drivin"}\n')
    done = here.call("--config", "mine.toml", "run", "--once")
    assert done.returncode == 2
    assert "mine.toml: spec.folders.\"kitchen/**\" = 'drivin' is no template." in done.stderr
    assert "Did you mean 'driving'?" in done.stderr
    folder = here.call("--config", str(here.folder), "run", "--once")
    assert folder.returncode == 2
    assert f"--config {here.folder}/config.toml" in folder.stderr.replace("\n", "")
    here.env["POVWATCH_GRACE_PERIOD"] = "5s"
    stray = here.call("run", "--once")
    assert stray.returncode == 2
    assert "POVWATCH_GRACE__PERIOD" in stray.stderr


def test_wrong_arguments_are_refused(here):
    for arguments in (["run", "--grace", "soon"], ["run", "--engine", "gpu"], ["fly"], ["--config", "no.toml", "run"]):
        done = here.call(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_second_daemon_is_refused(here):
    """A second daemon is refused with the pid of the first, which goes on."""
    here.start()
    second = here.call("run")
    assert second.returncode == 2
    assert str(here.pid) in second.stderr
    here.clip("a.mp4")
    here.wait_for("seen", clip="a.mp4")
    assert here.running


def test_once_names_what_cannot_move(here):
    """--once ends though clips cannot move, and says why for each of them."""
    here.configure(grace={"period": "200ms"})
    good = here.clip("good.mp4")
    data = good.read_bytes()
    here.copy(good, "held.mp4")
    (here.inputs / "held.hold").touch()
    here.copy(good, "broken.mp4")
    (here.inputs / "broken.json").write_text("{")
    (here.inputs / "cut.mp4").write_bytes(data[: len(data) // 2])
    (here.inputs / "empty.mp4").touch()
    (here.inputs / "text.mp4").write_text("no video\n" * 9)
    here.copy(good, "partial.mp4")
    (here.inputs / "partial.mp4.part").write_bytes(b"x")
    done = here.once()
    assert done.returncode == 1, done.stderr
    summary = [json.loads(line)["message"] for line in done.stderr.splitlines() if '"summary"' in line]
    for clip, fate in {
        "good.mp4": "done",
        "held.mp4": "held",
        "broken.mp4": "invalid-spec",
        "cut.mp4": "incomplete",
        "empty.mp4": "incomplete",
        "text.mp4": "rejected",
        "partial.mp4": "incomplete",
    }.items():
        assert any(line.startswith(f"{clip}: ") and fate in line for line in summary), (clip, summary)
    assert "1 done, 6 not done" in summary[-1]


def test_once_with_nothing_to_do_exits_0(here):
    empty = here.once()
    assert (empty.returncode, "0 done, 0 not done" in empty.stderr) == (0, True)
    here.clip("a.mp4")
    assert here.once("--grace", "0s").returncode == 0
    again = here.once()
    assert (again.returncode, "1 done, 0 not done" in again.stderr) == (0, True)
    assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]


def test_specs_and_check_need_no_daemon(here):
    here.clip("a.mp4")
    here.clip("sub/b.MOV")
    (here.inputs / "c.mp4").write_bytes(b"anything that looks like a clip")
    (here.inputs / "c.json").write_text('{"name": "c",\n "promt": "x", "video_path": "c.mp4"}')
    written = here.call("specs", "--template", "driving")
    assert written.returncode == 0, written.stderr
    assert (here.inputs / "a.json").exists()
    assert (here.inputs / "sub" / "b.json").exists()
    assert "2 written, 1 there already" in written.stdout
    again = here.call("specs")
    assert "0 written" in again.stdout
    checked = here.call("check")
    assert checked.returncode == 1
    assert "prompt" in checked.stdout
    assert "line 2" in checked.stdout
    assert "3 looked at, 1 to be put right" in checked.stdout
    assert "This file goes away" not in checked.stdout  # it is no error file
    one = here.call("check", "inputs/a.json")
    assert (one.returncode, "ok" in one.stdout) == (0, True)
    folder, clip = here.call("check", "inputs"), here.call("check", "inputs/a.mp4")
    assert (folder.returncode, "inputs: a folder." in folder.stdout) == (1, True)
    assert (clip.returncode, "inputs/a.mp4: a clip. Name its JSON, which is beside it: a.json." in clip.stdout) == (
        1,
        True,
    )
    missing = here.call("check", "inputs/zebra.json")
    assert (missing.returncode, "no such file" in missing.stdout) == (1, True)
    assert json.loads(here.call("schema").stdout)["type"] == "object"
    refused = here.call("specs", "--template", "zebra")
    assert (refused.returncode, "zebra" in refused.stderr) == (2, True)


def test_specs_written_before_are_kept(here):
    """run takes a JSON that povwatch specs wrote before, and does not change it."""
    make_clip(here.inputs / "a.mp4")
    here.call("specs")
    before = (here.inputs / "a.json").read_bytes()
    assert here.once("--grace", "0s").returncode == 0
    assert (here.inputs / "a.json").read_bytes() == before
