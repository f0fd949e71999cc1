"""povwatch rebuild as it is typed: what it refuses, what it tells, and the journal that it leaves."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest
from support.spec_texts import text as spec_text
from typer.testing import CliRunner

from povwatch.attempt.attempt import Attempt
from povwatch.cli.app import app
from povwatch.core import command
from povwatch.core.errors import ConfigError
from povwatch.core.job import Job, JobState
from povwatch.journal import Journal, open_reader
from povwatch.media.info import Checked, VideoInfo
from povwatch.publish import Entry
from povwatch.results.manifest import manifest
from povwatch.spec.parse import parse

if TYPE_CHECKING:
    from pathlib import Path


class World:
    """A folder with inputs/ and outputs/, as a daemon left them that lost its journal."""

    def __init__(self, folder: Path) -> None:
        self.inputs, self.outputs, self.state = folder / "inputs", folder / "outputs", folder / "state"
        for made in (self.inputs, self.outputs):
            made.mkdir()
        self.file = folder / "config.toml"
        self.file.write_text('[paths]\nstate = "state"\n')
        self.jobs = 0

    def clip(self, name: str, *, content: str = "", base: str | None = None, **fields) -> None:
        """A clip and its JSON."""
        stem = base or name.rpartition(".")[0]
        (self.inputs / name).write_text(content or name)
        (self.inputs / f"{stem}.json").write_bytes(spec_text(name=stem, video_path=name, **fields))

    def done(self, name: str, *, base: str | None = None, version: str = "", result: str = "the result") -> None:
        """What a run of the clip as it is now published."""
        self.jobs += 1
        stem = base or name.rpartition(".")[0]
        clip = (self.inputs / name).read_bytes()
        spec = parse((self.inputs / f"{stem}.json").read_bytes(), clip_name=name.encode(), file="")
        sha = hashlib.sha256(result.encode()).hexdigest()
        job = Job(
            self.jobs,
            name.encode(),
            stem.encode(),
            JobState.CHECKING,
            run_id=f"r{self.jobs}",
            spec_hash=spec.digest(),
            engine="cosmos",
        )
        folder = self.outputs / stem
        folder.mkdir(exist_ok=True)
        target = folder / f"{stem}_aug{version}.mp4"
        target.write_text(result)
        target.with_suffix(".json").write_bytes(
            manifest(
                job,
                Attempt(
                    folder="",
                    info=VideoInfo(complete=True, sha256=hashlib.sha256(clip).hexdigest(), size=len(clip)).to_json(),
                    spec={},
                    capabilities={"name": "cosmos", "real": True},
                    artifact={"path": ""},
                ),
                spec.upstream(),
                [Entry(b"final.mp4", os.fsencode(target.relative_to(self.outputs)), len(result), sha)],
                Checked(1, 2, 2, "1/1", 1.0, "yuv420p", "h264", None, len(result), sha),
                started_at="2026-01-01T00:00:00+00:00",
                finished_at=f"2026-01-01T00:0{self.jobs}:00+00:00",
            )
        )

    def rebuild(self, *options: str):
        """`povwatch rebuild`; what it raised is in `exception`."""
        return CliRunner().invoke(app, ["--config", str(self.file), "rebuild", *options])


@pytest.fixture
def here(tmp_path):
    yield World(tmp_path)
    command.use("povwatch")


def newest(here, clip):
    with open_reader(here.state) as reader:
        return reader.latest(clip)


def said(done, clip):
    """The line about a clip."""
    (line,) = [line for line in done.output.splitlines() if line.startswith(f"{clip}: ")]
    return line.removeprefix(f"{clip}: ")


def test_every_kind_of_clip(here):
    """Every kind of clip is told and journalled, --dry-run says the same, and no file changes."""
    for name in ("same.mp4", "edited.mp4", "replaced.mp4", "gone.mp4", "taken.mp4", "bare.mp4", "new.mp4"):
        here.clip(name)
    here.clip("same.mov", base="same.mov")
    here.clip("new.mov", base="new.mov")
    for name in ("same.mp4", "edited.mp4", "replaced.mp4", "gone.mp4", "taken.mp4"):
        here.done(name)
    here.done("same.mov", base="same.mov")
    here.clip("edited.mp4", seed=7)
    here.clip("replaced.mp4", content="another video")
    (here.inputs / "gone.mp4").unlink()
    (here.outputs / "taken/taken_aug.mp4").unlink()
    (here.outputs / "bare").mkdir()
    (here.outputs / "bare/bare_aug.mp4").write_text("whose?")
    files = [path for top in (here.inputs, here.outputs) for path in top.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}

    dry = here.rebuild("--dry-run")
    assert dry.exit_code == 1
    assert not here.state.exists()
    done = here.rebuild()
    assert done.exit_code == 1, done.output
    assert dry.output.splitlines()[:9] == done.output.splitlines()[:9]
    assert said(done, "same.mp4") == said(done, "same.mov") == "done"
    assert said(done, "edited.mp4").startswith("runs again: its JSON says something else")
    assert said(done, "gone.mp4") == "not in inputs/ any more; its result stays known"
    assert said(done, "taken.mp4") == "done: taken/taken_aug.mp4 is not there, only its manifest is"
    assert said(done, "bare.mp4").startswith("held: bare/bare_aug.mp4 has no manifest, and may be its result. To")
    assert said(done, "new.mp4") == said(done, "replaced.mp4") == "new, taken in at the next start"
    assert "Look at this: taken/taken_aug.mp4 is not there" in done.output
    assert "Made again: 3 done, 1 edited since, 3 new, 1 held, 1 gone." in done.output

    assert {path: path.read_bytes() for path in before} == before
    states = {name: newest(here, name).state for name in (b"same.mp4", b"same.mov", b"edited.mp4", b"gone.mp4")}
    assert set(states.values()) == {JobState.DONE}
    assert newest(here, b"same.mp4").spec_stat is not None
    assert newest(here, b"edited.mp4").spec_stat is None  # it is looked at again
    assert newest(here, b"replaced.mp4").source_stat is None
    assert newest(here, b"taken.mp4").detail.endswith("taken/taken_aug.mp4 is not there, only its manifest is")
    held = newest(here, b"bare.mp4")
    assert (held.state, held.hold) == (JobState.ARRIVING, True)
    with Journal.open(here.state) as journal:
        (new,) = journal.add([(b"new.mov", b"stat")], 1.0)
        assert new.base == b"new.mov"  # as its JSON has it, though it is the first to come now
        assert journal.real_engine() == "cosmos"


def test_several_results_of_one_clip(here):
    """Every result of a clip is known again."""
    here.clip("a.mp4")
    here.done("a.mp4")
    here.clip("a.mp4", seed=7)
    here.done("a.mp4", version="_v2")
    done = here.rebuild()
    assert done.exit_code == 0, done.output
    assert said(done, "a.mp4") == "done"
    with open_reader(here.state) as reader:
        outputs = [job.output for job in reader.jobs(JobState.DONE)]
    assert outputs == ["a/a_aug.mp4", "a/a_aug_v2.mp4"]


def test_hold_holds_clips_without_a_result(here):
    """--hold holds the clips that have no result."""
    here.clip("a.mp4")
    here.done("a.mp4")
    here.clip("b.mp4")
    done = here.rebuild("--hold")
    assert done.exit_code == 1
    assert newest(here, b"b.mp4").hold
    assert newest(here, b"a.mp4").state is JobState.DONE


def test_used_journal_needs_move_aside(here):
    """A journal that knows anything is moved aside only if that is asked for."""
    here.clip("a.mp4")
    here.done("a.mp4")
    assert here.rebuild().exit_code == 0
    refused = here.rebuild().exception
    assert isinstance(refused, ConfigError)
    assert "rebuild --move-aside moves it to journal.sqlite3.old-1" in str(refused)
    assert here.rebuild("--dry-run").exit_code == 0
    assert not list(here.state.glob("*old*"))
    done = here.rebuild("--move-aside")
    assert f"The journal that was there is {here.state / 'journal.sqlite3.old-1'}." in done.output


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--move-aside"], ["--empty"]])
def test_running_daemon_is_left_alone(here, options):
    """While a daemon runs, rebuild names its pid and changes nothing."""
    here.clip("a.mp4")
    here.done("a.mp4")
    with Journal.open(here.state):
        refused = here.rebuild(*options).exception
    assert isinstance(refused, ConfigError)
    assert f"(pid {os.getpid()})" in str(refused)


def test_nothing_published_no_journal(here):
    """Where nothing was published no journal is made, unless --empty says so."""
    here.clip("a.mp4")
    refused = here.rebuild().exception
    assert isinstance(refused, ConfigError)
    assert "Is its disk mounted?" in str(refused)
    assert not here.state.exists()
    assert here.rebuild("--empty").exit_code == 0
    Journal.open(here.state, fresh=lambda: pytest.fail("it is there")).close()


def test_unusable_manifest_holds_its_clip(here):
    """A manifest that cannot be used is told, and its clip is held."""
    for name in ("a.mp4", "b.mp4"):
        here.clip(name)
        here.done(name)
    file = here.outputs / "a/a_aug.json"
    value = json.loads(file.read_text())
    del value["source"]["base_hex"]
    file.write_text(json.dumps(value))
    done = here.rebuild()
    assert done.exit_code == 1
    assert "Look at this: a/a_aug.json: its source.base_hex cannot be used" in done.output
    assert "a/a_aug.mp4 has no manifest" in said(done, "a.mp4")
    assert said(done, "b.mp4") == "done"


def test_odd_names_stay_on_one_line(here):
    here.clip("a.mp4")
    here.done("a.mp4")
    (here.inputs / "x\x1b[31m\n.mp4").write_text("x")
    done = here.rebuild()
    assert done.exit_code == 0
    assert "\x1b" not in done.output


def test_looks_over_the_limit(here):
    """Looks over spec.variants_max get no job of a rebuild; they wait as before."""
    here.clip("a.mp4")
    for look in ("night", "rain"):
        (here.inputs / f"a.{look}.json").write_bytes((here.inputs / "a.json").read_bytes())
    with here.file.open("a") as file:
        file.write("[spec]\nvariants_max = 1\n")
    here.clip("b.mp4")
    here.done("b.mp4")
    done = here.rebuild("--hold")
    assert [line.partition(":")[0] for line in done.output.splitlines() if ": held" in line] == ["a.mp4", "a.mp4@night"]
