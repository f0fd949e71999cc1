"""povwatch why and status: what holds a clip, what is left of its grace, what is no clip at all, and what to type."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sqlite3

import pytest
from support.daemons import Corner
from support.waiting import Waiting

from povwatch.journal import open_reader


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Waiting(tmp_path_factory.mktemp("shared") / "pov", load=False, grace={"period": "1h"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, re.sub(r"\W", "_", request.node.name))


def why(here, clip, *, code=0):
    done = here.call("why", clip)
    assert done.returncode == code, done.stderr
    return " ".join(done.stdout.split())


def edit(here, **fields):
    spec = here.inputs / "a.json"
    changed = spec.with_suffix(".new")
    changed.write_text(json.dumps(json.loads(spec.read_text()) | fields))
    changed.rename(spec)


def test_each_hold_has_its_way_out(here):
    """why names what holds a clip, by JSON, file or command, and what to type."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    go = f"povwatch go {here.name}/a.mp4"
    edit(here, povwatch={"start": "hold"})
    here.wait_state("a.mp4", "grace", waiting_on="held")
    text = why(here, "a.mp4")
    assert f'hold stops here its JSON says "start": "hold"; take that out, or: {go}' in text
    assert "hold goes before go" not in text
    here.ask("hold", "a.mp4")
    assert f"hold stops here `povwatch hold` asked for it; {go} lets it go" in why(here, "a.mp4")
    (here.inputs / "a.hold").touch()
    here.wait_state("a.mp4", "grace", waiting_on="held")
    text = why(here, "a.mp4")
    assert f"hold stops here {here.name}/a.hold is there, and `povwatch hold` asked for it; remove that" in text
    assert f"remove that file, and then: {go}" in text
    here.ask("go", "a.mp4")
    text = why(here, "a.mp4")
    assert f"hold stops here {here.name}/a.hold is there; remove that file to let the clip go" in text
    assert f"; {go}" not in text.partition("hold stops here")[2]
    (here.inputs / "a.hold").unlink()
    here.wait_state("a.mp4", "queued")
    assert "hold stops here" not in why(here, "a.mp4")


def test_standing_grace_is_not_counted_down(tmp_path):
    """A grace that stands still shows the time that is left, with and without a daemon."""
    with Waiting(tmp_path / "pov", load=False, grace={"period": "1h"}) as here:
        here.clip("a.mp4")
        here.start().wait_for("grace", clip="a.mp4")
        here.ask("hold", "a.mp4")
        here.wait_state("a.mp4", "grace", waiting_on="held")
        backdate(here, 1800)
        stands = r"stands still, about (1 h 00 min|59 min \d+ s) left"
        assert re.search(rf"grace waits {stands}", why(here, "a.mp4"))
        assert re.search(rf"`povwatch hold` asked for it; grace {stands}", " ".join(here.call("status").stdout.split()))
        here.ask("go", "a.mp4")
        here.wait_state("a.mp4", "queued")
        edit(here, seed="x")
        here.wait_state("a.mp4", "grace", waiting_on="invalid-spec")
        assert re.search(r"grace waits stands still, about 1 h 00 min left", why(here, "a.mp4"))
        here.stop()
        text = why(here, "a.mp4")
        assert re.search(r"grace waits stands still, as no daemon runs; about .* left if it is started now", text)
        backdate(here, 100_000)
        assert "about 1 h 00 min left if it is started now" in why(here, "a.mp4")
        backdate(here, 0, waiting_on="grace")
        assert "about 30 s left if it is started now" in why(here, "a.mp4")
        assert "about 30 s left if it is started now" in " ".join(here.call("status").stdout.split())


def backdate(here, seconds, waiting_on=None):
    """As if the last note of the grace were older; it is written anew only every ten seconds."""
    with sqlite3.connect(here.state / "journal.sqlite3") as db:
        db.execute("UPDATE jobs SET grace_saved_at = grace_saved_at - ?", [seconds])
        db.execute("UPDATE jobs SET waiting_on = coalesce(?, waiting_on)", [waiting_on])
    db.close()
    with open_reader(here.state) as reader:
        assert reader.active()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("fifo", "a FIFO (a named pipe), not a plain file: it is left alone. Copy the video itself here."),
        ("socket", "a socket, not a plain file: it is left alone."),
        ("folder", "a folder, not a clip. Ask for a clip in it."),
        (
            "dangling",
            "a symbolic link to nowhere.mp4, which is not there. Links are not followed: put the video itself",
        ),
        ("link to a folder", "a symbolic link to the folder ..; Links are not followed: put the folder itself here."),
        ("below a link", "the folder linked is a symbolic link. Links are not followed: put the folder itself here."),
    ],
)
def test_special_files_are_named(here, kind, words, monkeypatch):
    """why calls a FIFO, a socket, a folder or a link by its kind, and gives advice."""
    at = here.inputs / "odd.mp4"
    asked = "odd.mp4"
    match kind:
        case "fifo":
            os.mkfifo(at)
        case "socket":
            with socket.socket(socket.AF_UNIX) as opened:
                monkeypatch.chdir(here.inputs)  # its path may be too long for a socket
                opened.bind("odd.mp4")
        case "folder":
            at.mkdir()
        case "dangling":
            at.symlink_to("nowhere.mp4")
        case "link to a folder":
            at.symlink_to("..")
        case _:
            (here.folder / "there").mkdir()
            (here.inputs / "linked").symlink_to(here.folder / "there")
            (here.folder / "there/a.mp4").touch()
            asked = "linked/a.mp4"
    text = why(here, asked)
    assert f"file stops here {words.replace('..; ', '... ')}" in text
    assert "not seen yet" not in text


def test_link_is_replaced_not_retried(here):
    """why advises to replace a link to a video, not to retry; the video itself is taken in."""
    made = here.clip("a.mp4")
    made = made.rename(here.folder / "made.mp4")
    (here.inputs / "b.mp4").symlink_to(made)
    here.wait_for("rejected", clip="b.mp4")
    text = why(here, "b.mp4")
    assert "Links are not followed: put the video itself here." in text
    assert "next ok once the video itself is here under this name, it is taken in by itself" in text
    assert "retry" not in text
    config = here.daemon.folder / "config.toml"
    status = here.daemon.call("--config", str(config), "status").stdout.splitlines()
    whole = f"did not come out. Why: povwatch --config {config} report"
    assert any(line.endswith(whole) for line in status), "one line, so that the command can be pasted"
    (here.inputs / "b.mp4").unlink()
    made.rename(here.inputs / "b.mp4")
    here.wait_for("grace", clip="b.mp4")


def test_engine_refusal_is_not_ok(tmp_path):
    """why does not call a JSON ok that the engine refuses."""
    with Waiting(tmp_path / "pov", load=False, grace={"period": "1h"}) as here:
        here.configure(engine={"kind": "cosmos", "guardrails": False}, grace={"period": "1h"})
        here.clip("a.mp4")
        here.start().wait_for("grace", clip="a.mp4")
        edit(here, vis={"control_weight": 0.5})
        here.wait_state("a.mp4", "grace", waiting_on="invalid-spec")
        text = why(here, "a.mp4")
        assert "JSON stops here a.json, line" in text
        assert "See a.error.txt" in text
        assert "JSON ok" not in text
        here.until(lambda: "guardrails are off" in here.call("status").stdout)
        (here.inputs / "a.json").unlink()


def test_odd_names_are_found_as_shown(here):
    """A name is found as it is shown, and the commands in the log can be pasted."""
    plain = here.clip("plain.mp4")
    here.wait_for("grace", clip="plain.mp4")
    for name in ("caf\udce9.mp4", "-x.mp4", "my clip.mp4"):
        here.copy(plain, name)
    here.until(lambda: len(here.events("grace")) == 4)
    for line in here.events("grace"):
        program, *words = shlex.split(re.search(r"\(now: (.*), later: ", line["message"])[1])
        assert program == "povwatch"
        assert here.daemon.call(*words).returncode == 0
    assert here.daemon.call("why", f"{here.name}/caf\\xe9").returncode == 0
    assert here.daemon.call("why", "caf\\xe9").returncode == 0
    assert "queue" in here.daemon.call("why", b"caf\xe9").stdout


@pytest.mark.parametrize("verb", ["go", "hold", "cancel", "retry", "why", "show"])
def test_empty_name_is_refused(shared, verb):
    done = shared.call(verb, "")
    assert done.returncode == 2
    assert "give a clip" in " ".join(done.stderr.split())


@pytest.mark.parametrize("word", ["..", "../config.toml", "/etc/hostname", "."])
def test_nothing_outside_is_looked_at(shared, word):
    """why with a path outside of inputs/ looks at nothing there."""
    done = shared.call("why", word)
    assert (done.returncode, "No clip here is called" in done.stderr) == (1, True)
