"""Editors at the JSON of a clip in its grace: one that has it open, one that saves, and one that does neither."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime

import pytest
from support.daemons import Corner, Daemon
from support.programs import Client, Feed, more, run, until
from support.terminal import Terminal

pytestmark = more

PERIOD = 4.0
"""Seconds of grace."""

A_BIT = 1.0
"""Seconds of it, after which there is enough left for a slow machine."""

EARLY = 0.1
"""Seconds that two clocks and the rounding of a log may make of it."""

EDITED = "A hand in a green glove opens a box."


class Desk(Corner):
    """A clip `a.mp4` whose JSON is edited."""

    def __init__(self, daemon, name):
        super().__init__(daemon, name)
        self.spec = self.inputs / "a.json"
        self.hold = self.inputs / "a.hold"
        self.hold.touch()
        self.clip("a.mp4")
        self.wait_for("held", clip="a.mp4")

    def edited(self):
        """The JSON with another prompt."""
        return json.dumps(json.loads(self.spec.read_text()) | {"prompt": EDITED}, indent=2)

    def outlasts(self):
        """Wait until the whole grace of another clip is over, and see that this one's is not."""
        self.clip("b.mp4")
        self.wait_for("queued", clip="b.mp4")
        assert not self.events("queued", clip="a.mp4")

    def ran_once(self, *, edited, edits):
        """See what came of it: one run, with the JSON as it was in the end, a whole grace after the last edit."""
        self.wait_for("done", clip="a.mp4")
        assert len(self.events("started", clip="a.mp4")) == 1
        assert (self.show("a.mp4")["spec"]["prompt"] == EDITED) is edited
        assert len(self.events("edited", clip="a.mp4")) == edits
        assert not (self.inputs / "a.error.txt").exists()
        if edits:  # the line about an edit may come later than it, on a slow machine
            assert self.at("queued") - self.spec.stat().st_mtime >= PERIOD - EARLY

    def at(self, event):
        """When the log said it of the clip last."""
        return when(self.events(event, clip="a.mp4")[-1])


def when(line):
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("editors") / "pov", grace={"period": f"{PERIOD:.0f}s"}) as daemon:
        yield daemon.start()


@pytest.fixture
def desk(daemon, request):
    return Desk(daemon, request.node.name)


def vim(desk):
    """vim, with the JSON open; Debian's defaults."""
    opened = Terminal("vim", desk.spec, home=desk.folder)
    until(lambda: (desk.inputs / ".a.json.swp").exists() or not opened.client.running)
    return opened


def test_vim_holds_and_saves(desk):
    """vim holds the grace while it is open, and a save starts the grace anew."""
    with vim(desk) as opened:
        desk.hold.unlink()
        desk.wait_for("editing", clip="a.mp4")
        desk.outlasts()
        opened.type(f':%s/"prompt": ".*"/"prompt": "{EDITED}"/\r:w\r')
        desk.wait_for("edited", clip="a.mp4")
        desk.wait_state("a.mp4", "grace", waiting_on="editing")
        closed = time.time()
        opened.type(":q\r")
        opened.closes()
    desk.ran_once(edited=True, edits=1)
    assert desk.at("queued") - closed >= PERIOD - EARLY
    assert "without a change" not in desk.events("editor-closed", clip="a.mp4")[-1]["message"]  # it was saved


def test_vim_closed_without_a_change(desk):
    """vim that is closed without a change lets the grace go on."""
    with vim(desk) as opened:
        desk.hold.unlink()
        desk.wait_for("editing", clip="a.mp4")
        opened.type(":q\r")
        opened.closes()
    desk.ran_once(edited=False, edits=0)


def test_killed_vim_holds_for_an_hour(desk):
    """vim that was killed holds the grace until its swap file is an hour old."""
    with vim(desk):
        desk.hold.unlink()
        desk.wait_for("editing", clip="a.mp4")
    desk.outlasts()
    os.utime(desk.inputs / ".a.json.swp", (0, 0))
    desk.ran_once(edited=False, edits=0)


def nano(desk, *options):
    """nano, with the JSON open."""
    opened = Terminal("nano", "--ignorercfiles", *options, desk.spec, home=desk.folder)
    opened.wait_for("a.json")
    return opened


def save_in_nano(desk, opened):
    """Put another text in the place of the whole and save it; nano stays open."""
    opened.type("\x1bt" + desk.edited().replace("\n", ""))
    opened.type("\x0f")  # write out
    opened.wait_for("to Write")  # it has taken all that was typed
    opened.type("\r")


def test_nano_with_locking_holds_the_grace(desk):
    with nano(desk, "--locking") as opened:
        until(lambda: (desk.inputs / ".a.json.swp").exists() or not opened.client.running)
        desk.hold.unlink()
        desk.wait_for("editing", clip="a.mp4")
        desk.outlasts()
        save_in_nano(desk, opened)
        desk.wait_for("edited", clip="a.mp4")
        opened.type("\x18")
        opened.closes()
    desk.ran_once(edited=True, edits=1)
    assert not desk.events("invalid-spec")  # it truncates, then writes


def test_nano_without_locking(desk):
    """nano tells nobody that it is open, but a save starts the grace anew."""
    with nano(desk) as opened:
        save_in_nano(desk, opened)
        desk.wait_for("edited", clip="a.mp4")
        desk.hold.unlink()
        desk.ran_once(edited=True, edits=1)


def test_sed_restarts_only_by_a_change(desk):
    """sed starts the grace anew only where it changes something."""
    desk.hold.unlink()
    since = when(desk.wait_for("unheld", clip="a.mp4"))
    desk.until(lambda: time.time() > since + A_BIT)
    desk.hold.touch()
    desk.wait_for("held", clip="a.mp4", count=2)
    run("sed", "-i", "s/not in there/at all/", desk.spec)
    run("sed", "-i", f's/"prompt": ".*"/"prompt": "{EDITED}"/', desk.spec)
    desk.wait_for("edited", clip="a.mp4")
    let_go = time.time()
    desk.hold.unlink()
    desk.ran_once(edited=True, edits=1)
    assert desk.at("queued") - let_go >= PERIOD - EARLY


def test_truncating_editor_is_waited_for(desk):
    """An editor that truncates and then writes is waited for, and the result runs once."""
    feed = Feed(desk.folder / "keyboard", desk.edited().encode())
    with Client("sh", "-c", 'cat "$0" >"$1"', feed.path, desk.spec) as editor:
        feed.give(0.5, desk.spec)
        desk.wait_state("a.mp4", "grace", waiting_on="invalid-spec")
        desk.hold.unlink()
        desk.outlasts()
        assert (desk.inputs / "a.error.txt").exists()
        feed.end()
        editor.ends()
    desk.wait_for("valid-spec", clip="a.mp4")
    desk.wait_for("done", clip="a.mp4")
    desk.ran_once(edited=True, edits=len(desk.events("edited", clip="a.mp4")))


def test_touch_again_and_again(desk):
    """Touching the JSON again and again starts nothing anew."""
    desk.hold.unlink()

    def queued():
        run("touch", desk.spec)
        return desk.events("queued", clip="a.mp4")

    desk.until(queued)
    desk.ran_once(edited=False, edits=0)
