"""What a hook did in inputs/: what is seen of it, and what is nobody's fault."""

from __future__ import annotations

import os

import pytest

from povwatch.core.job import Job, JobState
from povwatch.hooks.run import changes_in_inputs, look_at_inputs

JOB = Job(1, b"f/a.mp4", b"a", JobState.QUEUED)


NOT_ITS = ("b.mp4", "a2.mp4", "ab.mp4", "a.error.txt", "a.go", "a_x.part")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "f"
    made.mkdir()
    for name in ("a.mp4", "a.json", "a_old.txt"):
        (made / name).write_text("text")
    return made


@pytest.mark.parametrize(
    ("does", "seen"),
    [
        (lambda _: None, ""),
        (lambda f: (f / "a.mp4").write_text("other text"), "the clip changed"),
        (lambda f: (f / "a.mp4").unlink(), "the clip went away"),
        (lambda f: (f / "a.json").write_text("other text"), "a.json changed"),
        (lambda f: (f / "a.json").unlink(), "a.json went away"),
        (lambda f: (f / "a_overlay.mp4").touch(), "a_overlay.mp4 appeared"),
        (lambda f: [(f / f"a.mp4.{n}").touch() for n in range(5)], "a.mp4.0, a.mp4.1, a.mp4.2 and 2 more appeared"),
        (lambda f: [(f / "a.mp4").unlink(), (f / "a_x").touch()], "the clip went away, a_x appeared"),
        # Somebody else's clips, our own files, unfinished copies, and what changes no byte.
        (
            lambda f: [(f / name).touch() for name in ("b.mp4", "a2.mp4", "ab.mp4", "a.error.txt", "a.go", "a_x.part")],
            "",
        ),
        (lambda f: [(f / "a.mp4").chmod(0o600), os.link(f / "a.mp4", f / "b")], ""),
    ],
)
def test_what_is_other_than_before(folder, does, seen):
    """What a hook changed beside its clip is told; what others do is not."""
    before = look_at_inputs(folder.parent, JOB)
    does(folder)
    assert changes_in_inputs(before, look_at_inputs(folder.parent, JOB), JOB) == seen


def test_folder_away_tells_nothing(folder):
    before = look_at_inputs(folder.parent, JOB)
    folder.rename(folder.parent / "g")
    assert look_at_inputs(folder.parent, JOB) is None
    assert changes_in_inputs(before, None, JOB) == ""
