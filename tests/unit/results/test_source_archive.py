"""publish.source = "move", cut short between the clip and its JSON."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
from support.clips import make_clip

from povwatch.config.settings import Config, Paths, Publish
from povwatch.core.job import Job, JobState
from povwatch.files.signature import signature
from povwatch.results.source_archive import SourceArchive
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.parse import parse

SPEC = b'{"name": "a", "video_path": "a.mp4", "prompt": "Hands.", "edge": {}}'


class Crash(BaseException):
    """The machine goes down here."""


class Folder(InputsFolder):
    """Goes down before a certain move."""

    def __init__(self, root, moves):
        super().__init__(root)
        self.moves = moves

    def move_aside(self, path, to):
        if self.moves == 0:
            raise Crash
        self.moves -= 1
        super().move_aside(path, to)


@pytest.fixture
def inputs(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    make_clip(inputs / "a.mp4", frames=3)
    (inputs / "a.json").write_bytes(SPEC)
    return inputs


@pytest.fixture
def job(inputs):
    digest = parse(SPEC, clip_name=b"a.mp4", file="").digest()
    stat = signature((inputs / "a.mp4").stat())
    return Job(1, b"a.mp4", b"a", JobState.PUBLISHING, spec_hash=digest, source_stat=stat)


def aside(inputs, moves=9):
    paths = Paths(inputs=inputs, outputs=inputs.parent / "outputs", state=inputs.parent / "state")
    return SourceArchive(Config(paths=paths, publish=Publish(source="move")), Folder(inputs, moves))


def below(inputs):
    return sorted(str(path.relative_to(inputs)) for path in inputs.rglob("*") if path.is_file())


def test_json_follows_at_the_next_start(inputs, job):
    """Where a crash came between the clip and its JSON, the JSON follows at the next start."""
    with pytest.raises(Crash):
        aside(inputs, moves=1).move(job)
    assert below(inputs) == [".done/a.mp4", "a.json"]
    for _ in range(2):
        aside(inputs).move(job)
        assert below(inputs) == [".done/a.json", ".done/a.mp4"]


def test_json_follows_its_clips_version(inputs, job):
    """The JSON follows to the version that its clip has."""
    (inputs / ".done").mkdir()
    (inputs / ".done/a.mp4").write_bytes(b"an older one")
    (inputs / ".done/a.json").write_bytes(b"{}")
    with pytest.raises(Crash):
        aside(inputs, moves=1).move(job)
    aside(inputs).move(job)
    assert below(inputs) == [".done/a.json", ".done/a.mp4", ".done/a_v2.json", ".done/a_v2.mp4"]


def test_json_of_a_new_clip_stays(inputs, job):
    """The JSON of a new clip of that name stays."""
    with pytest.raises(Crash):
        aside(inputs, moves=1).move(job)
    make_clip(inputs / "a.mp4", frames=5)
    aside(inputs).move(job)
    assert below(inputs) == [".done/a.mp4", "a.json", "a.mp4"]


def test_removed_clip_leaves_its_json(inputs, job):
    """A clip that somebody removed leaves its JSON."""
    (inputs / "a.mp4").unlink()
    aside(inputs).move(job)
    assert below(inputs) == ["a.json"]


def test_markers_go_with_their_clip(inputs, job):
    for name in ("a.go", "a.hold", "b.go"):
        (inputs / name).touch()
    aside(inputs).move(job)
    assert below(inputs) == [".done/a.go", ".done/a.hold", ".done/a.json", ".done/a.mp4", "b.go"]


def test_markers_go_without_a_json_too(inputs, job):
    (inputs / "a.json").unlink()
    (inputs / "a.go").touch()
    aside(inputs).move(job)
    assert below(inputs) == [".done/a.go", ".done/a.mp4"]


def test_other_file_system_is_told(inputs, job, monkeypatch):
    """Another file system is told with what to do, and nothing moves."""
    said = []
    monkeypatch.setattr("povwatch.results.source_archive.say", lambda *_, **fields: said.append(fields))
    monkeypatch.setattr(InputsFolder, "move_aside", _crosses)
    aside(inputs).move(job)
    assert said[0]["problem"].startswith("That is on another file system. Name a folder on this one")
    assert below(inputs) == ["a.json", "a.mp4"]


def _crosses(*_):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def of_look(inputs, job, look, state, **fields):
    """The last job of another look of the clip, with its JSON."""
    data = SPEC.replace(b"Hands.", look.encode())
    (inputs / f"a.{look}.json").write_bytes(data)
    (inputs / f"a.{look}.go").touch()
    digest = parse(data, clip_name=b"a.mp4", file="").digest()
    return replace(job, id=2, look=look, state=state, spec_hash=digest, **fields)


def test_moved_with_all_looks(inputs, job):
    """The clip is moved with the JSONs and markers of all of its looks."""
    others = [of_look(inputs, job, "night", JobState.DONE), of_look(inputs, job, "rain", JobState.CANCELLED)]
    aside(inputs, moves=20).move(job, others)
    names = ["a.json", "a.mp4", "a.night.go", "a.night.json", "a.rain.go", "a.rain.json"]
    assert below(inputs) == [f".done/{name}" for name in names]


@pytest.mark.parametrize("state", [JobState.GRACE, JobState.RUNNING, JobState.FAILED, JobState.REJECTED])
def test_stays_while_a_look_is_not_over(inputs, job, state):
    """The clip stays while one of its looks has not ended, or has ended badly: a retry needs it."""
    before = below(inputs)
    aside(inputs).move(job, [of_look(inputs, job, "night", state)])
    assert below(inputs) == sorted([*before, "a.night.go", "a.night.json"])


def test_stays_for_a_look_to_be_taken_in(inputs, job):
    """The clip stays for a look that is still to be taken in; an edited JSON keeps it too."""
    night = of_look(inputs, job, "night", JobState.DONE)
    aside(inputs).move(job)
    (inputs / "a.night.json").write_bytes(SPEC)
    aside(inputs).move(job, [night])
    assert below(inputs) == ["a.json", "a.mp4", "a.night.go", "a.night.json"]


def test_json_of_another_clip_is_no_look(inputs, job):
    """The JSON of a clip that is called like a look keeps the clip in its place only once that clip is gone."""
    make_clip(inputs / "a.night.mp4", frames=3)
    (inputs / "a.night.json").write_bytes(SPEC)
    holders = {b"a.night": b"a.night.mp4"}

    def holder(_folder, base):
        return holders.get(base)

    aside(inputs).move(job, holder=holder)
    assert below(inputs) == [".done/a.json", ".done/a.mp4", "a.night.json", "a.night.mp4"]


def test_stays_for_look_of_a_clip_now_gone(inputs, job):
    """Once the other clip is gone, its JSON is a look of this one, which waits for it."""
    (inputs / "a.night.json").write_bytes(SPEC)
    aside(inputs).move(job, holder=lambda _folder, base: b"a.night.mp4" if base == b"a.night" else None)
    assert below(inputs) == ["a.json", "a.mp4", "a.night.json"]
