"""go, hold, cancel and retry, by marker and by command."""

from __future__ import annotations

import pytest
from support.daemons import Corner, Daemon
from support.waiting import Waiting

from povwatch.service.requests import RequestSpool


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Waiting(tmp_path_factory.mktemp("shared") / "pov", load=False, grace={"period": "1h"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, request.node.name)


@pytest.fixture
def alone(tmp_path):
    """A daemon of its own, not yet started."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as daemon:
        yield daemon


def test_markers_hold_and_let_go(here):
    """The markers hold and let go, and hold goes before go."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    hold, go = here.inputs / "a.hold", here.inputs / "a.go"
    hold.touch()
    held = here.wait_for("held", clip="a.mp4")
    assert held["by"] == f"{here.name}/a.hold is there; remove that file to let the clip go"
    assert "povwatch go" not in held["message"]  # which would not help
    go.touch()
    hold.touch()
    answer = here.call("go", "a.mp4")
    assert answer.returncode == 1
    assert "a.hold" in answer.stdout
    assert here.peek("a.mp4")["waiting_on"] == "held"
    hold.unlink()
    here.wait_for("queued", clip="a.mp4")


def test_commands_hold_and_let_go(alone):
    alone.clip("a.mp4")
    alone.start().wait_for("grace", clip="a.mp4")
    answer = alone.call("hold", "a")
    assert (answer.returncode, "held" in answer.stdout) == (0, True)
    held = alone.wait_for("held", clip="a.mp4")
    assert held["message"] == "a.mp4: held: `povwatch hold` asked for it; povwatch go a.mp4 lets it go"
    assert alone.call("go", "inputs/a.mp4").returncode == 0
    alone.wait_for("queued", clip="a.mp4")


def test_hold_survives_a_restart(alone):
    """A hold by file or by command survives a kill, and go ends it."""
    alone.configure(grace={"period": "1s"})
    (alone.inputs / "a.hold").touch()
    (alone.inputs / "b.hold").touch()
    alone.clip("a.mp4")
    alone.clip("b.mp4")
    alone.start().wait_for("held", clip="a.mp4")
    alone.ask("hold", "b.mp4")
    (alone.inputs / "b.hold").unlink()
    alone.until(lambda: alone.peek("b.mp4")["detail"].startswith("`povwatch hold` asked for it"))
    alone.kill()
    alone.start().wait_for("held", clip="a.mp4", start=2)
    alone.wait_for("held", clip="b.mp4", start=2)
    alone.ask("go", "b.mp4")
    alone.wait_for("queued", clip="b.mp4")
    assert alone.peek("a.mp4")["waiting_on"] == "held"


def test_go_while_it_still_arrives(alone):
    """A go before the clip has arrived is kept."""
    alone.configure(arrival={"settle": "1s"}, grace={"period": "1h"})
    alone.clip("a.mp4")
    alone.start().wait_for("seen", clip="a.mp4")
    answer = alone.ask("go", "a.mp4")
    assert answer.done
    alone.wait_for("queued", clip="a.mp4")


def test_cancel_and_retry_in_the_grace(here):
    """A clip can be cancelled once, and retried, in its grace."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    assert here.ask("cancel", "a.mp4").done
    here.wait_for("cancelled", clip="a.mp4")
    again = here.ask("cancel", "a.mp4")
    assert (again.done, "cancelled already" in again.text) == (False, True)
    assert here.ask("retry", "a.mp4").done
    here.wait_for("grace", clip="a.mp4", count=2)
    here.ask("go", "a.mp4")
    here.wait_for("queued", clip="a.mp4")


def test_cancelled_clip_stays_cancelled(alone):
    """A cancelled clip stays cancelled over rescans and restarts."""
    alone.clip("a.mp4")
    alone.start().wait_for("grace", clip="a.mp4")
    alone.ask("cancel", "a.mp4")
    alone.wait_for("cancelled", clip="a.mp4")
    alone.clip("b.mp4")
    alone.wait_for("grace", clip="b.mp4")
    alone.kill()
    alone.start()
    alone.clip("c.mp4")
    alone.wait_for("grace", clip="c.mp4")
    assert len(alone.events("seen", clip="a.mp4")) == 1
    assert alone.peek("a.mp4")["state"] == "cancelled"


def test_clip_is_cancelled_while_it_runs(tmp_path):
    with Waiting(tmp_path / "pov") as here:
        here.clip("a.mp4")
        here.start()
        here.until(lambda: here.runs)
        assert here.ask("cancel", "a.mp4").done
        here.let_go()
        here.wait_for("cancelled", clip="a.mp4")
        assert here.published() == []


def test_words_that_fit_several_or_none(alone):
    """A name that fits several clips lists them; one that fits none does nothing."""
    alone.clip("x/a.mp4")
    alone.clip("y/a.mp4")
    alone.start()
    alone.wait_for("grace", clip="x/a.mp4")
    alone.wait_for("grace", clip="y/a.mp4")
    several = alone.ask("go", "a.mp4")
    assert not several.done
    assert "x/a.mp4" in several.text
    assert "y/a.mp4" in several.text
    for verb in ("why", "show"):
        said = alone.call(verb, "a").stderr
        assert f"Take one: povwatch {verb} x/a.mp4 or povwatch {verb} y/a.mp4\n" in said
    assert not alone.ask("hold", "zebra").done
    assert alone.ask("go", "y/a.mp4").done
    alone.wait_for("queued", clip="y/a.mp4")
    assert alone.peek("x/a.mp4")["state"] == "grace"


def test_retry_of_a_done_clip_needs_force(alone):
    alone.configure(grace={"period": "100ms"})
    alone.clip("a.mp4")
    alone.start().wait_for("done", clip="a.mp4")
    plain = alone.ask("retry", "a.mp4")
    assert not plain.done
    assert "--force" in plain.text
    assert alone.ask("retry", "a.mp4", force=True).done
    alone.wait_for("done", clip="a.mp4", count=2)
    videos = [name for name in alone.published() if name.endswith(".mp4")]
    assert videos in (["a/a_preview.mp4"], ["a/a_preview.mp4", "a/a_preview_v2.mp4"])
    assert len(alone.events("started")) == 2


@pytest.mark.parametrize("word", ["9" * 23, "²", "#", "-1", ""])
def test_no_word_ends_the_daemon(shared, word):
    """A request that cannot be met is answered: it must not be there to end the next start as well."""
    spool = RequestSpool(shared.state)
    answer = spool.wait(spool.ask("go", word), 20)
    assert answer is not None
    assert "no clip here is called" in answer.text
    # It goes once its answer is there: an answer may be given twice, never not at all.
    shared.until(lambda: not list((shared.state / "requests").glob("*.request")), f"the request for {word!r} to go")
