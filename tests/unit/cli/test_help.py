"""What --help says, of povwatch and of each verb."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from povwatch.cli import main
from povwatch.cli.app import VERBS, app
from povwatch.core import command


@pytest.fixture(autouse=True)
def _as_before():
    before = list(command._words)
    yield
    command.use(*before)


@pytest.fixture
def said(monkeypatch):
    """The help of a verb, or of povwatch itself."""
    monkeypatch.setenv("COLUMNS", "100")

    def said(*verb):
        done = CliRunner().invoke(app, [*verb, "--help"])
        assert done.exit_code == 0
        return done.stdout

    return said


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_everything_is_explained(said, verb):
    """No help shows a Python type, and every parameter is explained."""
    text = said(*verb)
    assert not re.search(r"<\w+|\[\[", text), text
    group = get_command(app)
    context = group.make_context("povwatch", ["jobs"])
    named = group.get_command(context, *verb) if verb else group
    for param in named.get_params(context):
        assert param.help.endswith("."), param.name


@pytest.mark.parametrize(
    ("verb", "usage"),
    [
        ("go", "go [OPTIONS] {CLIP}"),
        ("retry", "retry [OPTIONS] [CLIP]"),
        ("run", "run [OPTIONS] [CLIP]..."),
        ("check", "check [OPTIONS] [FILE]..."),
        ("specs", "specs [OPTIONS] [FOLDER]"),
        ("prompts", "prompts [OPTIONS] {list|show} [TEMPLATE]"),
    ],
)
def test_arguments_as_in_the_readme(said, verb, usage):
    """Arguments are called as in the README."""
    assert re.search(rf"Usage: \S+ {re.escape(usage)} *\n", said(verb))


def test_options_as_in_the_readme(said):
    """Options are called as in the README."""
    assert re.search(r"--engine +KIND +auto, cosmos, diffusers or preview", said("run"))
    assert re.search(r"--grace +D +", said("run"))
    assert re.search(r"--once +Drain", said("run"))
    assert re.search(r"--state +STATE +Only jobs in this state: arriving, grace, queued", said("jobs"))
    assert re.search(r"--config +FILE +", said())


def test_usage_error_can_be_pasted(monkeypatch, capsys):
    """A usage error begins with the command as it was typed."""
    monkeypatch.setattr("sys.argv", ["/srv/my checkout/.venv/bin/povwatch", "go"])
    for typed, begins in (("script/povwatch", "script/povwatch"), ("", "'/srv/my checkout/.venv/bin/povwatch'")):
        monkeypatch.setenv("POVWATCH_COMMAND", typed)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert f"Try '{begins} go -h' for help." in capsys.readouterr().err.replace("\n", " ")
