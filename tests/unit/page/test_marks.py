"""povwatch marks import: what the page has exported comes beside the results. The command itself, in this process."""

from __future__ import annotations

import json

import pytest
from support.put import put
from typer.testing import CliRunner

from povwatch.cli.app import app
from povwatch.core import command
from povwatch.core.job import JobState
from povwatch.page.files import identity

EARLY, LATE = "2026-11-30T08:00:00.000Z", "2026-11-30T09:00:00.000Z"


class Marked:
    """A folder with a clip and its look night, and a page."""

    def __init__(self, built, folder):
        self.outputs, self.folder = built.outputs, folder
        (folder / "config.toml").write_text("[paths]\nstate = 'state'\n")
        store = built.app.store
        for look in ("", "night"):
            (job,) = store.add([(b"kitchen/a.mp4", b"")], look=look)
            put(store, job, state=JobState.DONE, output=f"kitchen/a/a{look and '_night'}_aug.mp4", source_stat=None)
        self.name = identity(built.outputs)

    def mark(self, **fields):
        path = fields.pop("path", b"kitchen/a.mp4").hex()
        return {
            "path_hex": path,
            "look": "",
            "mark": "accept",
            "note": "",
            "at": LATE,
            "output": "kitchen/a/a_aug.mp4",
        } | fields

    def brought(self, *marks, **whole):
        """Import marks; returns the exit code and what was said."""
        text = {"povwatch_marks": 1, "folder": self.name, "title": "Hands", "marks": list(marks)} | whole
        return self.brought_text(json.dumps(text))

    def brought_text(self, text):
        file = self.folder / "marks.json"
        file.write_text(text)
        done = CliRunner().invoke(app, ["--config", str(self.folder / "config.toml"), "marks", "import", str(file)])
        error = "" if done.exception is None or isinstance(done.exception, SystemExit) else str(done.exception)
        return done.exit_code, done.output + error

    def files(self):
        return {
            str(path.relative_to(self.outputs)): json.loads(path.read_text())
            for path in sorted(self.outputs.rglob("*_marks*.json"))
        }


@pytest.fixture
def here(build, tmp_path):
    before = list(command._words)
    yield Marked(build(), tmp_path)
    command.use(*before)


def test_beside_each_look(here):
    """A mark comes beside its result, one of a look beside that of the look."""
    code, said = here.brought(
        here.mark(note="the left hand: ✋"), here.mark(look="night", mark="reject", output="kitchen/a/a_night_aug.mp4")
    )
    assert code == 0, said
    files = here.files()
    assert list(files) == ["kitchen/a/a_marks.json", "kitchen/a/a_night_marks.json"]
    assert (files["kitchen/a/a_marks.json"]["mark"], files["kitchen/a/a_marks.json"]["note"]) == (
        "accept",
        "the left hand: ✋",
    )
    assert (files["kitchen/a/a_night_marks.json"]["mark"], files["kitchen/a/a_night_marks.json"]["look"]) == (
        "reject",
        "night",
    )
    assert "kitchen/a.mp4@night: reject, written: kitchen/a/a_night_marks.json" in said
    assert said.endswith("2 written.\n")


def test_of_a_later_version(here):
    code, _ = here.brought(here.mark(output="kitchen/a/a_aug_v3.mp4"))
    assert code == 0
    assert list(here.files()) == ["kitchen/a/a_marks_v3.json"]


def test_second_import(here):
    """The newest mark counts, whatever the order of the imports; the same one again changes nothing."""
    assert here.brought(here.mark(at=LATE))[0] == 0
    assert here.brought(here.mark(at=LATE))[1] == "1 there already.\n"
    code, said = here.brought(here.mark(at=EARLY, mark="reject"))
    assert code == 0
    assert "1 older than what is there." in said
    assert here.files()["kitchen/a/a_marks.json"]["mark"] == "accept"
    here.brought(here.mark(at="2026-12-01T08:00:00Z", mark=None))
    assert here.files()["kitchen/a/a_marks.json"]["mark"] is None


def test_unknown_clip_is_named(here):
    """A clip that is not here is named, the others are written, and the exit code says so."""
    code, said = here.brought(here.mark(path=b"gone\n.mp4"), here.mark())
    assert code == 1
    assert "gone\\n.mp4: no clip here is called that" in said
    assert said.endswith("1 written, 1 left out.\n")
    assert len(here.files()) == 1


def test_marks_of_another_folder(here):
    """Marks of another folder are refused in words, though its clips have the same names."""
    code, said = here.brought(here.mark(), folder="0" * 16)
    assert code != 0
    assert 'are of another folder ("Hands")' in said
    assert here.files() == {}


def test_folder_without_a_page(here):
    (here.outputs / "index_files/folder.txt").unlink()
    code, said = here.brought(here.mark())
    assert code != 0
    assert "has no page" in said


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[" * 99999, '{"povwatch_marks": 2, "folder": "x", "marks": []}', '{"povwatch_marks": 1}'],
)
def test_no_file_of_marks(here, text):
    code, said = here.brought_text(text)
    assert code != 0
    assert "marks.json" in said
    assert "Export marks" in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": b"../a.mp4"},
        {"mark": "maybe"},
        {"at": "yesterday"},
        {"at": "2026-11-30T08:00:00"},
        {"note": "x" * 20_001},
    ],
)
def test_wrong_mark_writes_nothing(here, wrong):
    """One mark that cannot be used refuses the file: nothing is half imported."""
    code, said = here.brought(here.mark(), here.mark(**wrong))
    assert code != 0
    assert "marks.json" in said
    assert here.files() == {}


def test_foreign_file_stays(here):
    """A file of that name that is not povwatch's stays, and the others are written."""
    theirs = here.outputs / "kitchen/a/a_marks.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    code, said = here.brought(here.mark(), here.mark(look="night"))
    assert code == 1
    assert "is not povwatch's own, and stays as it is" in said
    assert theirs.read_text() == "{}"
    assert "kitchen/a/a_night_marks.json" in here.files()


def test_no_link_is_followed(here, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (here.outputs / "kitchen").mkdir()
    (here.outputs / "kitchen/a").symlink_to(tmp_path / "elsewhere")
    assert here.brought(here.mark())[0] == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []
