"""povwatch schema --install: what it writes, and what it leaves alone."""

from __future__ import annotations

import json

import pytest

from povwatch.cli.editor import OURS, install
from povwatch.core.errors import PovwatchError
from povwatch.spec.model import Spec

ENTRY = {"fileMatch": ["/inputs/**/*.json"], "url": "./.vscode/povwatch.schema.json"}


@pytest.fixture
def here(tmp_path):
    (tmp_path / "inputs").mkdir()
    return tmp_path


def settings(here):
    return json.loads((here / ".vscode/settings.json").read_text())


def put(here, text):
    (here / ".vscode").mkdir()
    (here / ".vscode/settings.json").write_text(text)


def test_new_folder_gets_both(here):
    done = install(here / "inputs")
    assert settings(here) == {"json.schemas": [ENTRY]}
    schema = json.loads((here / ".vscode/povwatch.schema.json").read_text())
    assert schema["properties"] == Spec.model_json_schema()["properties"]
    assert done.todo == ""
    assert sorted(file.name for file in here.rglob("*")) == [
        ".vscode",
        "inputs",
        "povwatch.schema.json",
        "settings.json",
    ]


def test_twice_changes_nothing(here):
    install(here / "inputs")
    before = {file: file.stat().st_mtime_ns for file in (here / ".vscode").iterdir()}
    done = install(here / "inputs")
    assert {file: file.stat().st_mtime_ns for file in (here / ".vscode").iterdir()} == before
    assert [line.endswith("is up to date.") for line in done.lines] == [True, True, False]


def test_users_settings_stay(here):
    """Ours is added to the user's own, in their order and with their indentation."""
    other = {"fileMatch": ["/package.json"], "url": "https://example.com/x"}
    old = {"fileMatch": ["/old/*.json"], "url": ENTRY["url"]}
    put(here, json.dumps({"editor.tabSize": 2, "json.schemas": [other, old], "z": "ä"}, indent=2))
    (here / ".vscode/settings.json").chmod(0o640)
    install(here / "inputs")
    text = (here / ".vscode/settings.json").read_text()
    assert json.loads(text) == {"editor.tabSize": 2, "json.schemas": [other, ENTRY], "z": "ä"}
    assert text.startswith('{\n  "editor.tabSize": 2,')
    assert "ä" in text
    assert (here / ".vscode/settings.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    ['{\n  // mine\n  "a": 1\n}', '{"a": 1,}', "[]", '{"json.schemas": {}}', '{"a": 1, "a": 2}', "\ufeff{}"],
)
def test_what_may_lose_something_is_left(here, text):
    """Settings with comments, or in another form, stay to the byte; what to paste is shown."""
    put(here, text)
    done = install(here / "inputs")
    assert (here / ".vscode/settings.json").read_text() == text
    assert json.loads(done.todo.partition("\n\n")[2]) == {"json.schemas": [ENTRY]}
    assert "stays as it is" in done.lines[1]


def test_foreign_schema_stays(here):
    (here / ".vscode").mkdir()
    file = here / ".vscode/povwatch.schema.json"
    file.write_text("{}")
    with pytest.raises(PovwatchError, match="was made by somebody else"):
        install(here / "inputs")
    file.write_text(json.dumps({"$comment": OURS}))
    install(here / "inputs")
    assert "properties" in json.loads(file.read_text())


def test_unwritable_folder_is_told(here):
    (here / ".vscode").write_text("")
    with pytest.raises(PovwatchError, match=r"\.vscode cannot be written: File exists"):
        install(here / "inputs")
