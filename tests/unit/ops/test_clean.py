"""What povwatch clean takes for left over, and what it leaves alone: real folders, a real journal."""

from __future__ import annotations

import os

import pytest
from support.put import advance

from povwatch.config.settings import Config, Paths
from povwatch.core.job import JobState
from povwatch.journal import Journal
from povwatch.ops.clean import answer, find, judge, remove
from povwatch.service.requests import RequestSpool
from povwatch.spec.inputs_folder import InputsFolder

NOW = 2e9


@pytest.fixture
def here(tmp_path):
    """A povwatch with four clips: one done, one failed and deleted, one queued, one running."""
    paths = Paths(inputs=tmp_path / "inputs", outputs=tmp_path / "outputs", state=tmp_path / "state")
    for folder in (paths.inputs / "d", paths.outputs):
        folder.mkdir(parents=True)
    config = Config(paths=paths)
    with Journal.open(paths.state) as journal:
        jobs = journal.add([(name, b"s") for name in (b"done.mp4", b"gone.mp4", b"queued.mp4", b"running.mp4")], 1.0)
        for job, *way in zip(jobs, JobState, strict=False):
            del way
            (paths.inputs / os.fsdecode(job.path)).touch()
        for job, end in zip(jobs, (JobState.DONE, JobState.FAILED, JobState.QUEUED, JobState.RUNNING), strict=True):
            states = [JobState.GRACE, JobState.QUEUED, JobState.RUNNING]
            states += [JobState.CHECKING, JobState.PUBLISHING, JobState.DONE] if end is JobState.DONE else []
            states = states[: states.index(end) + 1] if end in states else [JobState.FAILED]
            for state in states:
                job = advance(journal, job, "waiting", 2.0, state=state)  # noqa: PLW2901 - it is that job
        (paths.inputs / "gone.mp4").unlink()
        yield config, journal


def room(config, name):
    folder = config.paths.outputs / ".povwatch" / name
    folder.mkdir(parents=True)
    (folder / "working.mp4").write_bytes(b"x" * 1000)
    return f".povwatch/{name}"


def clean(here, *, dry=False):
    config, journal = here
    found = judge(find(config, NOW), journal)
    kept = [] if dry else remove(config, found)
    said = answer(found, kept, dry=dry)
    return sorted(os.fsdecode(left.path) for left in found), (said.text, list(said.lines))


def test_folders_of_ended_jobs_go(here):
    """The folders of jobs that ended are removed; those of live jobs and of others stay."""
    config, _ = here
    left = [room(config, name) for name in ("1.r1", "1", "2.r2", "99.r9")]
    kept = [room(config, name) for name in ("3.ahead", "3", "4.r4", "4", "somebody's")]
    assert clean(here, dry=True)[0] == sorted(left)
    found, (text, lines) = clean(here)
    assert found == sorted(left)
    assert text == "4 removed, 4.0 kB."
    assert "staging of job 99: .povwatch/99.r9, 1.0 kB" in lines
    there = {f".povwatch/{path.name}" for path in (config.paths.outputs / ".povwatch").iterdir()}
    assert there == set(kept)
    assert clean(here) == ([], ("nothing is left over.", []))


def test_copies_of_looks(here):
    """The copies that a clip's looks share stay while any job has not ended."""
    config, journal = here
    left = room(config, f"clip.{'0' * 32}")
    assert clean(here)[0] == []
    for job in journal.active():
        advance(journal, job, "cancelled", 3.0, state=JobState.CANCELLED, run_id=None)
    assert clean(here)[0] == [left]
    assert not (config.paths.outputs / left).exists()


def test_error_files_of_looks(here):
    """The error file of a look stays while its clip is there, and is removed with the clip."""
    config, journal = here
    folder = InputsFolder(config.paths.inputs)
    for base in ("done.night", "gone.night", "queued.rain"):
        folder.write_error(f"{base}.error.txt".encode(), "something is wrong")
    journal.add([(b"queued.mp4", b"s")], 3.0, look="rain")
    (config.paths.inputs / "queued.mp4").unlink()  # its job has not ended: the daemon sees to it
    assert clean(here)[0] == ["gone.night.error.txt"]


def test_error_files_of_gone_clips(here):
    """Error files of clips that are gone are removed; those of a user or a live job stay."""
    config, journal = here
    inputs = config.paths.inputs
    folder = InputsFolder(inputs)
    errors = ["gone", "done", "queued", "d/never", "d/x.mov", "d/y"]
    for base in errors:
        folder.write_error(f"{base}.error.txt".encode(), "something is wrong")
    (inputs / "mine.error.txt").write_text("a user's own")
    (inputs / "gone.json").touch()
    (inputs / "d/x.MOV").touch()
    (inputs / "d/y.mp4").touch()
    (inputs / "queued.mp4").unlink()  # its job has not ended: the daemon sees to it
    assert clean(here)[0] == ["d/never.error.txt", "d/x.mov.error.txt", "gone.error.txt"]
    assert sorted(path.name for path in inputs.rglob("*.error.txt")) == [
        "done.error.txt",
        "mine.error.txt",
        "queued.error.txt",
        "y.error.txt",
    ]
    journal.add([(b"d/never.mp4", b"s")], 3.0)
    folder.write_error(b"d/never.error.txt", "something is wrong")
    assert clean(here)[0] == [], "it arrives, wherever its file is now"


def test_old_temporary_files_go(here):
    """Temporary files and answers are removed when they are old; requests stay."""
    config, _ = here
    spool = RequestSpool(config.paths.state)
    spool.prepare()
    requests = config.paths.state / "requests"
    old = [config.paths.inputs / "d/.povwatch-1", requests / "1.answer", requests / "2.request.part"]
    young = [config.paths.inputs / ".povwatch-2", requests / "3.answer", requests / "4.part"]
    for file in (*old, *young):
        file.touch()
    os.utime(asked := requests / f"{spool.ask('go', 'a.mp4').token}.request", (1, 1))
    for file in old:
        os.utime(file, (NOW - 4000, NOW - 4000))
    for file in young:
        os.utime(file, (NOW - 3000, NOW - 3000))
    assert clean(here)[0] == ["1.answer", "2.request.part", "d/.povwatch-1"]
    assert all(file.exists() for file in (*young, asked))
    assert not any(file.exists() for file in old)


def test_missing_folder_is_nothing(here):
    assert clean(here)[0] == []
