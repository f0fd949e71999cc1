"""Who holds a clip, and what to do about it."""

from __future__ import annotations

import dataclasses

from povwatch.core.job import Job, JobState
from povwatch.core.layout import beside
from povwatch.spec.holding import held_by

JOB = Job(id=1, path=b"d/my a.mp4", base=b"my a", state=JobState.GRACE)
FILES = beside(JOB.path, JOB.base)
GO = "povwatch go 'd/my a.mp4'"


def by(job=JOB, *, marker=False, go=False, start=None):
    return held_by(job, FILES, marker=marker, go=go, start=start)


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
