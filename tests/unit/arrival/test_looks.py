"""A clip arrives once for all of its looks, whenever their JSONs come and go."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs
from support.clips import make_clip
from support.looks import PERIOD, Looks

from povwatch.core.changes import ArrivesAgain, Failed, Queued, Started
from povwatch.core.job import JobState
from povwatch.daemon.drain import is_drained, outcome, summarise
from povwatch.daemon.requests import Requests
from povwatch.daemon.status import StatusFacts

pytestmark = pytest.mark.usefixtures("forked_media_children")


@pytest.fixture
def here(tmp_path):
    made = Looks(tmp_path)
    yield made
    made.close()
    made.no_bug()


def test_one_arrival_for_twenty_looks(here):
    """Twenty looks of a clip cost one arrival; each has a grace of its own."""
    names = [f"look{number}" for number in range(20)]
    here.inputs.joinpath("a.json").touch()
    for name in names:
        here.write(name)
    here.write()
    here.copy()
    assert here.states() == dict.fromkeys(["", *names], "grace")
    assert here.events("arrived") == [""]
    assert sorted(here.events("joined")) == sorted(names)
    assert here.events("spec-written") == []
    own = here.jobs()[""]
    for job in here.jobs().values():
        assert (job.source_hash, job.source_info, job.base) == (own.source_hash, own.source_info, b"a")
    here.until(60)
    here.write("look7", seed=9)
    here.until(PERIOD - 50)
    assert here.states() == dict.fromkeys(["", *names], "queued") | {"look7": "grace"}
    here.until(60)
    assert set(here.states().values()) == {"queued"}


def test_looks_wait_for_their_clip(here):
    """The looks of a clip that never arrives make no job; nor do those without a clip."""
    clip = here.inputs / "a.mp4"
    clip.write_bytes(b"\0\0\0\x18ftypisom" + bytes(4000))
    here.write("night")
    here.write("night", clip="gone.mp4")
    here.rescan()
    here.arrive()
    assert here.states() == {"": "arriving"}
    assert here.jobs(b"gone.mp4") == {}
    here.copy()
    assert here.states() == {"": "grace", "night": "grace"}


def left(here):
    """The JSONs that the log says belong to no clip."""
    return sorted(event.data["spec"] for _, event in here.app.journal.events_named("spec-left"))


def comes(here, *beside):
    """A clip that still arrives, with the JSONs of these looks beside it."""
    for look in beside:
        here.write(look)
    clip = make_clip(here.inputs / "a.mp4", frames=3, size=(64, 48))
    here.rescan()
    here.give_turns(here.app.arrival, here.clock.now + 2)
    assert here.states() == {"": "arriving"}
    return clip


def test_renamed_while_it_arrives(tmp_path):
    """The JSONs of a clip that is renamed while it arrives go along, also those of looks over the limit."""
    here = Looks(tmp_path, spec={"variants_max": 1})
    comes(here, "", "night", "rain").rename(here.inputs / "b.mp4")
    here.rescan()
    here.arrive()
    here.until(10)
    here.rescan()
    assert here.states(b"b.mp4") == {"": "grace", "night": "grace"}
    assert here.states() == {"": "cancelled"}
    for look in ("", ".night", ".rain"):
        assert json.loads((here.inputs / f"b{look}.json").read_text())["video_path"] == "b.mp4"
    assert left(here) == []
    here.close()


def test_renamed_while_it_grows(here):
    """Which file a clip was that grew since its rename is not known: the log says which JSONs belong to no clip."""
    clip = comes(here, "", "night").rename(here.inputs / "b.mp4")
    with clip.open("ab") as file:
        file.write(b"\0\0\0\x08free")
    here.rescan()
    here.arrive()
    here.until(10)
    here.rescan()
    here.rescan()
    assert here.states(b"b.mp4") == {"": "grace"}
    assert left(here) == ["a.json", "a.night.json"]


def test_renamed_beside_another_clip(here):
    """A look's JSON does not become the JSON of a clip that has that name; the log says that it was left."""
    here.copy("b.night.mp4")
    (here.inputs / "b.night.json").unlink()
    here.copy()
    here.write("night")
    here.write("rain")
    here.rescan()
    (here.inputs / "a.mp4").rename(here.inputs / "b.mp4")
    here.rescan()
    here.arrive()
    here.until(10)
    here.rescan()
    assert here.states(b"b.mp4") == {"": "grace", "rain": "grace"}
    assert json.loads((here.inputs / "b.night.json").read_text())["video_path"] == "b.night.mp4"
    assert left(here) == ["a.night.json"]


def test_look_of_a_clip_that_is_done(here):
    """A look that comes long after the clip was done runs without another arrival."""
    here.copy()
    job = here.jobs()[""]
    here.app.store.cancel(job, "no longer wanted")
    here.clock.now += 86400
    here.write("night")
    here.rescan()
    assert here.states() == {"": "cancelled", "night": "grace"}
    assert here.events("arrived") == [""]
    here.until(PERIOD + 1)
    assert here.states()["night"] == "queued"


def test_other_video_in_its_place(here):
    """If the clip is replaced, it arrives once more, and all of its looks wait for that."""
    here.copy()
    here.write("night")
    here.rescan()
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    old = here.jobs()["night"].source_hash
    here.copy(frames=5)
    assert here.states() == {"": "grace", "night": "grace"}
    assert here.events("arrived") == ["", ""]
    assert here.jobs()["night"].source_hash == here.jobs()[""].source_hash != old


def test_deleted_clip_ends_its_looks(here):
    """A clip that is deleted takes its looks along, also if its own run is over."""
    here.copy()
    here.write("night")
    here.write("rain")
    here.rescan()
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    here.until(10)
    assert here.states() == {"": "cancelled", "night": "cancelled", "rain": "cancelled"}
    assert here.jobs()["rain"].detail == "the clip was deleted"


def test_no_video_ends_its_looks(here):
    """If the clip is replaced by what is no video, its looks end with it."""
    here.copy()
    here.write("night")
    here.rescan()
    (here.inputs / "a.mp4").write_text("this is a text and no video at all\n" * 100)
    here.rescan()
    here.arrive()
    assert here.states() == {"": "rejected", "night": "cancelled"}


def test_after_a_kill(here):
    """Looks go on after a kill, and one that was put there meanwhile is taken in."""
    here.copy()
    here.write("night")
    here.rescan()
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    here.write("rain")
    here.restart(away=1)
    here.rescan()
    assert here.states() == {"": "cancelled", "night": "grace", "rain": "grace"}
    assert here.events("arrived") == [""]
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    here.until(10)
    assert set(here.states().values()) == {"cancelled"}


def test_refused_names(here):
    """A look that cannot have its name is rejected, and an error file beside it says why until it is gone."""
    long = "n" * 248
    files = {name: here.write(name) for name in ("aug", "Night", "night", "a b")}
    (here.inputs / f"a.{long}.json").write_text("{}")
    here.copy()
    wrong = dict.fromkeys(["a b", "aug", "night", long], "rejected")
    assert here.states() == {"": "grace", "Night": "grace"} | wrong
    assert "too long: beside this clip it may have 64 bytes" in here.jobs()[long].error
    assert len(list(here.inputs.glob("a.nnn*~*.error.txt"))) == 1
    assert "differ in upper and lower case alone" in (here.inputs / "a.night.error.txt").read_text()
    error = here.inputs / "a.aug.error.txt"
    assert '"aug" is no name for a look' in error.read_text()
    here.rescan()
    assert len(here.events("rejected")) == 4
    files["aug"].unlink()
    here.rescan()
    assert not error.exists()
    here.write("Night", seed=3)
    here.until(PERIOD + 1)
    assert here.states()["Night"] == "queued"


def test_look_renamed_in_case_alone(here):
    """A look whose JSON is renamed to another case runs under the new name once the old one is withdrawn."""
    old = here.write("Night")
    here.copy()
    old.rename(here.inputs / "a.night.json")
    here.rescan()
    assert here.states() == {"": "grace", "Night": "grace"}
    here.until(10)
    here.rescan()
    assert here.states() == {"": "grace", "Night": "cancelled", "night": "grace"}
    assert list(here.inputs.glob("*.error.txt")) == []


def test_look_whose_twin_is_deleted(here):
    """A look that was refused since another differs in case alone is taken in when that one is deleted."""
    other, _ = here.write("Night"), here.write("night")
    here.copy()
    assert here.states() == {"": "grace", "Night": "grace", "night": "rejected"}
    other.unlink()
    here.until(10)
    here.rescan()
    assert here.states() == {"": "grace", "Night": "cancelled", "night": "grace"}
    assert list(here.inputs.glob("*.error.txt")) == []
    here.rescan()
    assert len(here.events("joined")) == 2


def test_cancelled_look_keeps_its_name(here):
    """A look that was cancelled by command still has its JSON, so no other may differ from it in case alone."""
    here.write("Night")
    here.copy()
    here.app.store.cancel(here.jobs()["Night"], "no longer wanted")
    here.write("night")
    here.rescan()
    assert here.states() == {"": "grace", "Night": "cancelled", "night": "rejected"}


def test_a_thousand_looks(here):
    """Of more looks than spec.variants_max the first are taken, and the log says how many wait, once."""
    here.copy()
    for number in range(1000):
        here.write(f"n{number:03}")
    with capture_logs() as logs:
        here.rescan()
        here.rescan()
    assert len(here.jobs()) == 33
    (said,) = [line for line in logs if line["event"] == "looks-limit"]
    assert (said["count"], said["most"], said["left"]) == (1000, 32, 968)
    (here.inputs / "a.n005.json").unlink()
    here.until(10)
    here.rescan()
    assert here.states() == {"": "grace"} | {f"n{n:03}": "cancelled" if n == 5 else "grace" for n in range(33)}
    code, said = ended(here)
    assert code == 1
    assert "967 looks are left, not started, as spec.variants_max is 32: a.n033.json, a.n034.json, " in said
    StatusFacts(here.app).tick(here.clock.now)
    assert here.app.journal.fact("daemon")["limited"] in said


def ended(here):
    """The exit code of --once as it stands, and the last line of its log."""
    with capture_logs() as logs:
        code = summarise(outcome(here.app, stopped=False))
    return code, logs[-1]["text"]


@pytest.mark.parametrize("kind", ["symlink", "folder"])
def test_json_that_is_no_file(here, kind):
    """A look's JSON that is a symlink or a folder is refused in words, until a plain file is in its place."""
    here.copy()
    spec = here.inputs / "a.night.json"
    if kind == "symlink":
        here.write("rain").rename(here.inputs.parent / "rain.json")
        spec.symlink_to("../rain.json")
    else:
        spec.mkdir()
    here.rescan()
    here.until(PERIOD + 1)
    assert here.states() == {"": "queued", "night": "grace"}
    assert "not a plain file" in here.jobs()["night"].detail
    assert "Put the file itself there, or move it away." in (here.inputs / "a.night.error.txt").read_text()
    here.rescan()
    spec.unlink() if kind == "symlink" else spec.rmdir()
    here.write("night")
    here.until(PERIOD + 1)
    assert here.states() == {"": "queued", "night": "queued"}
    assert not (here.inputs / "a.night.error.txt").exists()


def test_clip_takes_its_name_back(here):
    """A clip keeps the JSON of its whole name: a look that had the JSON before ends."""
    here.copy()
    here.write("night")
    here.rescan()
    assert here.states() == {"": "grace", "night": "grace"}
    here.copy("a.night.mp4")
    assert here.states() == {"": "grace", "night": "cancelled"}
    assert here.jobs()["night"].detail == "a.night.json is the JSON of a.night.mp4 now"
    assert here.states(b"a.night.mp4") == {"": "grace"}


def test_base_that_the_clip_lost(here):
    """A clip that came back under another base has the looks of that base."""
    here.copy()
    here.write("night")
    here.rescan()
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    here.until(10)
    assert set(here.states().values()) == {"cancelled"}
    here.copy("a.mov")
    assert here.states(b"a.mov") == {"": "grace", "night": "grace"}, "it has the base now, and with it a.night.json"
    here.copy()
    (here.inputs / "a.mp4.night.json").write_text((here.inputs / "a.night.json").read_text().replace("a.mov", "a.mp4"))
    here.rescan()
    assert here.states() == {"": "grace", "night": "grace"}
    assert here.jobs()["night"].stem == b"a.mp4.night"


@pytest.mark.parametrize("word", ["a@aug", "a"])
def test_retry_of_a_refused_name(here, word):
    """A look that cannot have its name does not run after a retry either."""
    here.write("aug")
    here.copy()
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    here.app.spool.prepare()
    asked = here.app.spool.ask("retry", word)
    Requests(here.app).tick(0)
    answer = here.app.spool.wait(asked, 5)
    assert '"aug" is no name for a look' in " ".join([answer.text, *answer.lines])
    here.arrive()
    assert here.states() == {"": "grace" if word == "a" else "cancelled", "aug": "rejected"}


def test_cancel_all_while_it_arrives_anew(here):
    """A cancel of the whole clip ends each look once, also while a replaced clip arrives."""
    here.copy()
    here.write("night")
    here.rescan()
    make_clip(here.inputs / "a.mp4", frames=5, size=(64, 48))
    here.rescan()
    assert here.states() == {"": "arriving", "night": "arriving"}
    here.app.spool.prepare()
    asked = here.app.spool.ask("cancel", "a")
    Requests(here.app).tick(0)
    answer = here.app.spool.wait(asked, 5)
    assert answer.done
    assert here.states() == {"": "cancelled", "night": "cancelled"}


def running(here, look):
    """A look that a worker has, as the journal tells."""
    job = here.jobs()[look]
    if job.state is JobState.GRACE:
        job = here.app.store.apply(job, Queued(ahead=0, spec_digest="d", spec_stat=None, spec_hash="s"))
    fields = {"run_id": f"r{job.id}", "attempt": 1, "limit": 3, "worker": 1, "on": ""}
    return here.app.store.apply(job, Started(**fields, spec_json="{}", spec_hash="s", engine="preview"))


def test_replaced_while_its_own_look_runs(here):
    """If the clip is replaced while its own look runs, the others wait, and join the arrival after that run."""
    here.copy()
    here.write("night")
    here.rescan()
    old = here.jobs()["night"].source_hash
    own = running(here, "")
    here.copy(frames=5)
    assert here.states() == {"": "running", "night": "arriving"}
    here.app.store.apply(own, Failed(error="no luck"))
    here.rescan()
    here.arrive()
    assert here.states() == {"": "grace", "night": "grace"}
    assert here.jobs()["night"].source_hash == here.jobs()[""].source_hash != old


@pytest.mark.parametrize("runs", ["", "night"])
def test_replaced_while_the_last_one_runs(here, runs):
    """A clip that is replaced while its last look runs, unseen, is found before --once ends."""
    here.copy()
    here.write("night")
    here.rescan()
    job = running(here, runs)
    here.app.store.cancel(here.jobs()["night" if not runs else ""], "no longer wanted")
    here.rescan()
    make_clip(here.inputs / "a.mp4", frames=5, size=(64, 48))
    here.app.store.apply(job, Failed(error="no luck"))
    here.settle()
    assert not is_drained(here.app)
    here.app.folder_monitor.tick(here.clock.now)
    assert here.states()[""] == "arriving"
    here.arrive()
    assert here.states() == {"": "grace", "night": "grace"}


def test_replaced_while_another_look_runs(here):
    """If the clip is replaced while another look runs, it arrives for its own look meanwhile."""
    here.copy()
    here.write("night")
    here.write("rain")
    here.rescan()
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    night = running(here, "night")
    here.copy(frames=5)
    assert here.states() == {"": "grace", "night": "running", "rain": "grace"}
    here.app.store.apply(night, Failed(error="no luck"))
    assert here.jobs()["rain"].source_hash != night.source_hash
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    here.until(10)
    assert here.states() == {"": "cancelled", "night": "failed", "rain": "cancelled"}


def test_replaced_after_its_looks_ended(here):
    """If the clip is replaced, its looks that have ended run again, too, as its own look does."""
    here.copy()
    here.write("night")
    here.rescan()
    here.app.store.cancel(here.jobs()["night"], "no longer wanted")
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    here.rescan()
    assert here.states() == {"": "cancelled", "night": "cancelled"}
    here.copy(frames=5)
    here.rescan()
    assert here.states() == {"": "grace", "night": "grace"}
    assert len({job.source_hash for job in here.jobs().values()}) == 1


def test_clip_that_comes_back(here):
    """The looks of a clip that was deleted run once it is there again."""
    here.copy()
    here.write("night")
    here.rescan()
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    here.until(10)
    assert here.states() == {"": "cancelled", "night": "cancelled"}
    here.copy()
    here.rescan()
    assert here.states() == {"": "grace", "night": "grace"}


@pytest.mark.parametrize("killed", [False, True])
def test_copy_that_was_another_file(here, killed):
    """If a look's copy is not the file that arrived, the clip arrives anew, and the look joins again."""
    here.copy()
    here.write("night")
    here.rescan()
    here.app.store.cancel(here.jobs()[""], "no longer wanted")
    night = running(here, "night")
    here.app.store.apply(night, ArrivesAgain(problem="It is another file."))
    assert here.states() == {"": "arriving", "night": "arriving"}
    if killed:
        here.restart(away=1)
        here.rescan()
    here.arrive()
    assert here.states() == {"": "grace", "night": "grace"}
    assert here.jobs()["night"].attempts == 0
