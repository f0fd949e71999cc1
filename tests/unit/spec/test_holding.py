"""Who holds a clip, and what to do about it."""

from __future__ import annotations

import dataclasses

from povwatch.core.job import Job, JobState
from povwatch.core.layout import beside
from povwatch.journal.reader import Event
from povwatch.spec.holding import held_by, holder

JOB = Job(id=1, path=b"d/my a.mp4", base=b"my a", state=JobState.GRACE)
FILES = beside(JOB.path, JOB.base)
GO = "povwatch go 'd/my a.mp4'"


def by(job=JOB, *, marker=False, go=False, start=None, holder=""):
    return held_by(job, FILES, marker=marker, go=go, start=start, holder=holder)


def events(*named):
    return [Event(float(at), name, None, "grace", None, dict(data)) for at, (name, data) in enumerate(named)]


def test_nobody_holds_it():
    """Without a hold, nobody is named."""
    assert by() == by(go=True) == by(start="now") == ""


def test_hold_file_has_to_be_removed():
    """A clip that a file holds is let go by removing that file, and by no command."""
    for text in (by(marker=True), by(marker=True, go=True)):
        assert text == "d/my a.hold is there; remove that file to let the clip go"


def test_file_and_command_both_hold():
    """Where a file and a command hold, both are told."""
    text = by(dataclasses.replace(JOB, hold=True), marker=True)
    assert text == f"d/my a.hold is there, and `povwatch hold` asked for it; remove that file, and then: {GO}"


def test_command_is_taken_back_by_go():
    assert by(dataclasses.replace(JOB, hold=True), start="hold").endswith(f"{GO} lets it go")


def test_json_gives_way_to_go():
    text = by(start="hold")
    assert '"start": "hold"' in text
    assert text.endswith(GO)
    assert by(start="hold", go=True) == ""


def test_rebuild_holds_it():
    """What `povwatch rebuild` held says so, with its reason, until somebody asks for something else."""
    rebuilt = ("rebuilt", {"why": "it has no result, and --hold was given"})
    text = by(dataclasses.replace(JOB, hold=True), holder=holder(events(("seen", {}), rebuilt)))
    assert text == f"`povwatch rebuild` held it (it has no result, and --hold was given), and only {GO} lets it go now"
    assert holder(events(rebuilt, ("request", {}))) == holder(events(("rebuilt", {"manifest": "a_aug.json"}))) == ""


def test_holder_goes_with_a_renamed_clip():
    """A clip that was renamed while it was held says who held it under its former name."""
    text = holder(events(("held-before", {"marker": "b.hold"})))
    says = f"b.hold held it under its name before, and only {GO} lets it go now"
    assert by(dataclasses.replace(JOB, hold=True), holder=text) == says
    before = "`povwatch rebuild` held it (it has no result)"
    assert holder(events(("held-before", {"holder": before}))) == before
