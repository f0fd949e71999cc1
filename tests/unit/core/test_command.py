"""Commands that are shown can be pasted."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
from support.sources import files, name_of, parsed

from povwatch.cli.app import VERBS
from povwatch.core import command as module
from povwatch.core.command import command, use
from povwatch.core.lookup import find


@pytest.fixture(autouse=True)
def _as_before():
    before = list(module._words)
    yield
    use(*before)


@pytest.mark.parametrize(
    ("clip", "text"),
    [
        (b"d/a.mp4", "povwatch go d/a.mp4"),
        ("a.mp4", "povwatch go a.mp4"),
        (b"my clip.mp4", "povwatch go 'my clip.mp4'"),
        (b"-rf.mp4", "povwatch go -- -rf.mp4"),
        (b"- it's.mp4", """povwatch go -- '- it'"'"'s.mp4'"""),
        (b"d/-a.mp4", "povwatch go d/-a.mp4"),
        (b"$(reboot).mp4", "povwatch go '$(reboot).mp4'"),
        (b"caf\xe9\n.mp4", r"povwatch go 'caf\xe9\n.mp4'"),
    ],
)
def test_clip_name_is_quoted_for_a_shell(clip, text):
    assert command("go", clip=clip) == text


def test_options_go_before_the_clip():
    assert command("retry", "--force", clip=b"-a.mp4") == "povwatch retry --force -- -a.mp4"
    assert command("jobs") == "povwatch jobs"


def test_begins_as_povwatch_is_called_here():
    """A command begins as povwatch was called, with --config."""
    use("/my disk/script/povwatch", "--config", "my.toml")
    assert command("why", clip=b"a.mp4") == "'/my disk/script/povwatch' --config my.toml why a.mp4"


@pytest.mark.parametrize(
    "clip", [b"a b.mp4", b"-a.mp4", b"caf\xe9.mp4", b"x\ny.mp4", b"inputs/a.mp4", b"#1.mp4", b"'.mp4"]
)
def test_pasted_command_means_that_clip(clip):
    word = shlex.split(command("go", clip=clip))[-1]
    others = [b"a.mp4", b"b.mp4", b"1.mp4", b"caf.mp4"]
    assert find([*others, clip], word) == [clip]


def test_worker_is_told_how_it_is_called():
    """A worker's commands begin as the daemon's do."""
    use("/my disk/script/povwatch", "--config", "my.toml")
    variables = module.worker_environment()
    use("povwatch")
    module.use_environment(variables)
    assert command("prefetch") == "'/my disk/script/povwatch' --config my.toml prefetch"
    module.use_environment({})  # by whoever starts a worker by hand
    assert command("prefetch") == "'/my disk/script/povwatch' --config my.toml prefetch"


NOT_TYPED = {
    "Do it as povwatch's own user: sudo -u povwatch povwatch clean",  # where it is installed, as povwatch
    "Another povwatch prefetch is fetching the same file.",
    "Hold every clip that has no result, until povwatch go.",  # a help text, as in README
    "found again by povwatch rebuild",
    "`povwatch rebuild` held it (",
    "`povwatch hold` asked for it",
    "`povwatch cancel` asked for it",
}
"""What tells of a command, and is not to be typed."""

TYPED_ELSEWHERE = {
    "results/manifest.py",  # lies in outputs/ for good, for whoever reads it there
    "core/events.py",  # fills in the commands that it has in braces
}


def test_no_message_says_plain_povwatch():
    """No message has a fixed `povwatch` where something else has to be typed."""
    typed = re.compile(rf"\bpovwatch ({'|'.join(VERBS)})\b")
    found = [
        (name, node.value)
        for file in files()
        if (name := name_of(file)) not in TYPED_ELSEWHERE
        for node in messages(parsed(file))
        if typed.search(node.value) and node.value not in NOT_TYPED
    ]
    assert found == []


def messages(tree):
    """Every text that is no docstring."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node
