"""What a daemon knows about times when it starts, and what a job adds to it."""

from __future__ import annotations

import pytest

from povwatch.attempt.attempt import Workpiece
from povwatch.journal import Journal
from povwatch.run.estimates import Experience

INFO = {"frames": 93, "display_width": 1280, "display_height": 704}


def piece(frames: int = 93, **artifact) -> Workpiece:
    return Workpiece("", INFO | {"frames": frames}, {"num_steps": 35}, artifact=artifact)


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield journal


def test_what_one_job_took_is_known_after_a_restart(journal):
    experience = Experience(journal, "diffusers")
    assert experience.expect(piece(), "X") is None
    learned = experience.learn(piece(), "X", 300.0)
    assert experience.expect(piece(185), "X") == pytest.approx(600)
    (job,) = journal.add([(b"a.mp4", b"sig")], 0.0)
    journal.note(job, "generated", 1.0, {"took": "5m", "learned": learned})
    journal.note(job, "generated", 2.0, {"took": "of a journal from before"})
    again = Experience(journal, "diffusers")
    assert again.expect(piece(), "X") == pytest.approx(300)
    assert again.expect(piece(), "Y") is None
    assert Experience(journal, "cosmos").expect(piece(), "X") is None


def test_a_job_that_went_on_in_the_middle_teaches_nothing(journal):
    experience = Experience(journal, "diffusers")
    assert experience.learn(piece(chunks_resumed=2), "X", 10.0) is None
    assert experience.expect(piece(), "X") is None
    assert experience.learn(piece(chunks_resumed=0), "X", 10.0) is not None
