"""Commands that are shown can be pasted."""

from __future__ import annotations

import shlex

import pytest

from povwatch import command as module
from povwatch.command import command, use
from povwatch.lookup import find


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
def test_a_clips_name_is_written_for_a_shell(clip, text):
    assert command("go", clip=clip) == text


def test_options_go_before_the_clip():
    assert command("retry", "--force", clip=b"-a.mp4") == "povwatch retry --force -- -a.mp4"
    assert command("jobs") == "povwatch jobs"


def test_it_begins_as_povwatch_is_called_here():
    use("/my disk/script/povwatch", "--config", "my.toml")
    assert command("why", clip=b"a.mp4") == "'/my disk/script/povwatch' --config my.toml why a.mp4"


@pytest.mark.parametrize(
    "clip", [b"a b.mp4", b"-a.mp4", b"caf\xe9.mp4", b"x\ny.mp4", b"inputs/a.mp4", b"#1.mp4", b"'.mp4"]
)
def test_what_is_pasted_means_that_clip(clip):
    word = shlex.split(command("go", clip=clip))[-1]
    others = [b"a.mp4", b"b.mp4", b"1.mp4", b"caf.mp4"]
    assert find([*others, clip], word) == [clip]
