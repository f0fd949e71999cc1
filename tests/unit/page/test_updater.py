"""The part of the daemon that keeps the page up to date: the daemon as production builds it, on a clock set by hand."""

from __future__ import annotations

import json
import re
import time
from fractions import Fraction

import pytest
from structlog.testing import capture_logs
from support.clips import make_clip
from support.put import put

from povwatch.core.blockers import Blocker
from povwatch.core.job import JobState, Waiting
from povwatch.page import updater

pytestmark = pytest.mark.usefixtures("forked_media_children")


class Paged:
    """A daemon of which only the page has turns."""

    def __init__(self, built):
        self.built, self.app, self.page = built, built.app, built.app.page
        self.outputs = built.outputs
        self.index = built.outputs / "index.html"

    def turns(self):
        """Give the page turns until it is up to date, or says that it waits."""
        deadline = time.monotonic() + 60
        while True:
            self.page.tick(self.app.clock.now)
            due = self.page.next_deadline()
            if self.page._background.idle and (due is None or due > self.app.clock.now):
                return
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def passes(self, seconds=updater.WRITE_EVERY):
        self.app.clock.now += seconds
        self.turns()

    def add(self, *names, look="", **to):
        jobs = self.app.store.add([(name, b"") for name in names], look=look)
        return [put(self.app.store, job, **to) if to else job for job in jobs]

    def publish(self, name, *, look="", **manifest):
        """A job that is done, with its result and manifest."""
        kind = f"{look}_aug" if look else "aug"
        path = f"{name}/{name}_{kind}"
        (self.outputs / name).mkdir(exist_ok=True)
        make_clip(self.outputs / f"{path}.mp4", frames=3)
        text = {
            "run_id": f"run-{name}{look}",
            "kind": "aug",
            "source": {"codec": "h264", "constant": True},
            "output": {"frames": 3},
        }
        text |= manifest
        (self.outputs / f"{path}.json").write_text(json.dumps(text))
        (job,) = self.add(f"{name}.mp4".encode(), look=look)
        info = json.dumps(text["source"])
        return put(
            self.app.store,
            job,
            state=JobState.DONE,
            source_stat=None,
            source_info=info,
            output=f"{path}.mp4",
            engine="toy",
        )

    def data(self, file="data"):
        text = (self.outputs / f"index_files/{file}.js").read_text()
        return json.loads(re.fullmatch(rf"/\*.*\*/\npovwatch\.{file}\((.*)\);\n", text, re.DOTALL)[1])

    def cards(self):
        return {(card["clip"], card.get("look", "")): card for card in self.data()["jobs"]}


@pytest.fixture
def here(build):
    return Paged(build())


def test_card_for_each_look(here):
    """The page has the newest job of each look of each clip, and is written again after a change alone."""
    here.add(b"a.mp4", b"b.mp4")
    here.add(b"a.mp4", look="night")
    here.turns()
    assert set(here.cards()) == {("a.mp4", ""), ("b.mp4", ""), ("a.mp4", "night")}
    assert "a.mp4 (night)" in here.index.read_text()
    before = here.index.stat().st_ino
    assert here.page.next_deadline() is None
    here.passes()
    assert here.index.stat().st_ino == before
    put(here.app.store, here.built.newest(), state=JobState.FAILED, error="It broke. Mend it.")
    here.passes()
    assert here.cards()["a.mp4", ""]["problem"] == "It broke. Mend it."
    assert len(here.data()["jobs"]) == 3


def test_written_at_most_every_few_seconds(here):
    """However much changes, the page is written once in WRITE_EVERY."""
    here.turns()
    written = set()
    for turn in range(8):
        here.add(b"%d.mp4" % turn)
        here.passes(updater.WRITE_EVERY / 4)
        written.add(here.index.stat().st_ino)
    assert len(written) <= 3


def test_reads_a_few_jobs_in_a_turn(here):
    """A turn of the loop reads READ_AT_ONCE jobs, and the page is written when all are read."""
    here.add(*(b"%d.mp4" % number for number in range(3 * updater.READ_AT_ONCE)))
    for turn in (1, 2):
        here.page.tick(here.app.clock.now)
        assert len(here.page._cards) == turn * updater.READ_AT_ONCE
        assert here.page.next_deadline() <= here.app.clock.now
        assert not here.index.exists()
    here.turns()
    assert len(here.data()["jobs"]) == 3 * updater.READ_AT_ONCE


def test_oldest_are_left_out(here, monkeypatch):
    """Beyond JOBS_MAX the oldest jobs are left out, and the page says how many."""
    monkeypatch.setattr(updater, "JOBS_MAX", 3)
    here.add(*(b"%d.mp4" % number for number in range(5)))
    here.turns()
    assert [card["clip"] for card in here.data()["jobs"]] == ["4.mp4", "3.mp4", "2.mp4"]
    assert here.data()["hidden"] == 2


def test_undone_change_leaves_no_card(here):
    """A job whose transaction was undone is not on the page."""

    def half():
        with here.app.store.together():
            here.add(b"a.mp4")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    here.turns()
    assert here.data()["jobs"] == []


def test_result_with_its_scores(here):
    """A result's card has its videos, its scores, whatever else is in the manifest, and a picture."""
    make_clip(here.built.inputs / "a.mp4", frames=3)
    control = {"path_hex": b"a/a_aug_control_edge.mp4".hex()}
    outside = {"path_hex": b"../secret.mp4".hex()}
    here.publish("a", scores={"edge_f1": 0.5, "why": "x"}, control_videos={"edge": control, "vis": outside})
    here.turns()
    here.passes()
    card = here.cards()["a.mp4", ""]
    assert card["scores"] == {"edge_f1": 0.5}
    assert [view["what"] for view in card["views"]] == ["input", "control edge", "result"]
    assert [view["at"] for view in card["views"]] == ["../inputs/a.mp4", "./a/a_aug_control_edge.mp4", "./a/a_aug.mp4"]
    assert (here.outputs / card["picture"]).read_bytes().startswith(b"\xff\xd8\xff")


def test_judged_result(here):
    """A result that was judged has its verdict and the seeds that were tried; what is odd is left out."""
    tries = [{"seed": 1, "passed": False}, "odd", {"seed": "x", "passed": 1, "published": True}]
    here.publish("a", quality={"passed": False, "verdict": "edge_f1 is 0.3\nat least 0.6", "tries": tries})
    here.publish("b", quality={"passed": "yes", "tries": 3})
    here.turns()
    here.passes()
    card, other = here.cards()["a.mp4", ""], here.cards()["b.mp4", ""]
    assert (card["passed"], card["verdict"]) == (False, "edge_f1 is 0.3\\nat least 0.6")
    assert card["tries"] == [
        {"seed": 1, "passed": False, "published": False},
        {"seed": None, "passed": False, "published": True},
    ]
    assert not {"passed", "verdict", "tries"} & other.keys()


def test_earlier_result_while_it_runs_again(here):
    """A clip that runs again has its earlier result on its card until the new one is there, or as long as it exists."""
    here.publish("a", scores={"edge_f1": 0.5})
    here.publish("b")
    here.add(b"a.mp4", b"b.mp4")
    (here.outputs / "b/b_aug.mp4").unlink()
    here.turns()
    here.passes()
    card = here.cards()["a.mp4", ""]
    assert (card["job"], card["state"], card["earlier"]["job"]) == (3, "arriving", 1)
    assert "scores" not in card
    assert card["earlier"]["scores"] == {"edge_f1": 0.5}
    assert card["earlier"]["views"][-1] == {"what": "result", "at": "./a/a_aug.mp4", "codec": ""}
    assert "play the earlier one" in here.index.read_text()
    assert "earlier" not in here.cards()["b.mp4", ""]
    put(here.app.store, here.app.store.job(3), state=JobState.DONE, output="a/a_aug_v2.mp4")
    here.passes()
    assert "earlier" not in here.cards()["a.mp4", ""]
    assert here.cards()["a.mp4", ""]["views"][-1]["at"] == "./a/a_aug_v2.mp4"


def test_input_that_has_gone(here):
    """Without its input a result has its own picture, and the card says why the input is not shown."""
    here.publish("a", source={"size": 5})
    here.publish("b", source={"size": 5})
    (here.built.inputs / "b.mp4").write_bytes(b"another")
    here.turns()
    here.passes()
    cards = here.cards()
    assert cards["a.mp4", ""]["input"] == "The input is no longer in inputs/."
    assert cards["b.mp4", ""]["input"] == "The input has been replaced since."
    assert [view["what"] for view in cards["a.mp4", ""]["views"]] == ["result"]
    assert (here.outputs / cards["a.mp4", ""]["picture"]).exists()


def test_moved_input_is_found(build):
    """A clip that publish.source_to has moved is shown from there, in any of its versions."""
    here = Paged(build(publish={"source": "move"}))
    folder = here.built.inputs / ".done"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"an earlier one")
    clip = make_clip(folder / "a_v2.mp4", frames=3)
    here.publish("a", source={"size": clip.stat().st_size})
    here.turns()
    here.passes()
    assert here.cards()["a.mp4", ""]["views"][0]["at"] == "../inputs/.done/a_v2.mp4"


def test_uneven_frames_have_their_times(here):
    """The times of frames at an uneven rate are read from the result."""
    times = [0, 40, 50, 130]
    here.publish("a", source={"constant": False})
    make_clip(here.outputs / "a/a_aug.mp4", frames=4, times=times, time_base=Fraction(1, 1000))
    here.turns()
    here.passes()
    card = here.cards()["a.mp4", ""]
    found = (here.outputs / card["uneven"]).read_text()
    assert json.loads(re.search(r"\((.*)\)", found)[1]) == {"name": "run-a", "times": [1000 * time for time in times]}


@pytest.mark.parametrize(
    "text", ["", "[1]", "{" * 9999, '{"scores": [], "source": 3, "output": [], "control_videos": 1}']
)
def test_manifest_of_a_stranger(here, text):
    """A manifest that somebody changed costs nothing but what it would have said."""
    here.publish("a")
    (here.outputs / "a/a_aug.json").write_text(text)
    here.turns()
    here.passes()
    assert here.cards()["a.mp4", ""]["views"][-1]["at"] == "./a/a_aug.mp4"


@pytest.mark.parametrize("constant", [True, False])
def test_pictures_that_hold_nothing_up(here, constant):
    """--once waits for the pictures of its own results, and of a thousand earlier ones only for uneven times."""
    here.publish("a", source={"codec": "h264", "constant": constant})
    assert not here.page.idle
    here.built.restart()
    again = Paged(here.built)
    again.page.tick(again.app.clock.now)
    assert again.page._unseen
    assert again.page.idle is constant
    again.turns()
    again.passes()
    assert "picture" in again.cards()["a.mp4", ""]
    assert again.page.idle


def test_deleted_result(here):
    """A result that was deleted by hand has a card without a picture."""
    here.publish("a")
    (here.outputs / "a/a_aug.mp4").unlink()
    here.turns()
    here.passes()
    assert "picture" not in here.cards()["a.mp4", ""]


def test_foreign_index_stays(here):
    """An index.html of somebody else stays, one line says so, and the page comes when it is moved away."""
    here.index.write_text("<title>mine</title>")
    (here.outputs / "index_files").mkdir()
    (here.outputs / "index_files/page.css").write_text("mine too")
    here.add(b"a.mp4")
    with capture_logs() as logs:
        here.turns()
        for _ in range(3):
            here.passes(updater.AGAIN)
    assert here.index.read_text() == "<title>mine</title>"
    assert [line["event"] for line in logs] == ["page-unwritten"]
    assert "is not povwatch's own, and stays as it is. Move it away" in logs[0]["problem"]
    assert here.page.idle
    here.index.unlink()
    (here.outputs / "index_files/page.css").unlink()
    with capture_logs() as logs:
        here.passes(updater.AGAIN)
    assert [line["event"] for line in logs] == ["page-written"]
    assert "a.mp4" in here.index.read_text()


def test_page_after_a_power_cut(here):
    """Files of the page that a power cut has left empty, or as long in zeros, are written anew."""
    here.turns()
    here.index.write_bytes(b"\0" * 1000)
    for name in ("data.js", "page.css"):
        (here.outputs / "index_files" / name).write_bytes(b"")
    here.built.restart()
    again = Paged(here.built)
    again.turns()
    assert again.index.read_text().strip().endswith("</html>")
    assert again.data()["jobs"] == []
    assert (here.outputs / "index_files/page.css").read_text().startswith("/* povwatch")


def test_nothing_below_a_mount_point(here):
    """While outputs/ is away nothing is written there."""
    here.app.outputs_watch.blocker = Blocker(Waiting.PAUSED, "away")
    here.add(b"a.mp4")
    here.turns()
    assert not list(here.outputs.glob("index*"))
    here.app.outputs_watch.blocker = None
    here.passes()
    assert here.index.exists()


def test_links_are_not_followed(here, tmp_path):
    """A link in the place of a file of the page leads nowhere."""
    victim = tmp_path / "victim"
    victim.write_text("povwatch, but somebody's")
    here.index.symlink_to(victim)
    here.add(b"a.mp4")
    with capture_logs() as logs:
        here.turns()
    assert [line["event"] for line in logs] == ["page-unwritten"]
    assert victim.read_text() == "povwatch, but somebody's"


def test_folder_keeps_its_name(here):
    """Marks know the folder by a name that outlives the page, and a restart."""
    here.turns()
    name = here.data()["folder"]
    here.index.unlink()
    (here.outputs / "index_files/data.js").unlink()
    here.page.close()
    assert here.data()["folder"] == name
    assert re.fullmatch("[0-9a-f]{16}", name)


def test_title_is_escaped(build):
    here = Paged(build(page={"title": "</title><script>alert(1)</script>"}))
    here.turns()
    assert "&lt;/title&gt;&lt;script&gt;" in here.index.read_text()
    assert here.data()["title"] == "</title><script>alert(1)</script>"
    assert "<" not in (here.outputs / "index_files/data.js").read_text()


def test_off(build):
    built = build(page={"enabled": False})
    assert built.app.page is None
    assert "page" not in built.app.parts


def test_says_that_it_has_stopped(here):
    here.turns()
    here.page.close()
    assert here.data("progress")["stopped"]
    assert here.data("progress")["revision"] == here.data()["revision"]
