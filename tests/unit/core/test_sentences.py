"""Messages that are made of several parts: each part ends, and what is to be copied can be."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from povwatch.core import errors
from povwatch.core import events as voice
from povwatch.core.command import command
from povwatch.core.sentences import ended, joined
from povwatch.engines.port import EngineFailure
from povwatch.service.log import configure

FINISH = command("retry", clip="a.mp4")


@pytest.mark.parametrize(
    ("part", "end"),
    [
        ("It is full.", "It is full."),
        ("It is full", "It is full."),
        ("Is it mounted?", "Is it mounted?"),
        ("It says 'no.'", "It says 'no.'"),
        ("It said so (no.)", "It said so (no.)"),
        ("It is away (no such folder)", "It is away (no such folder)."),
        ("It cannot be opened: Permission denied", "It cannot be opened: Permission denied."),
        ("It is kept: /out/a/b c.mp4", "It is kept: `/out/a/b c.mp4`."),
        ("It failed: /out/a is full", "It failed: /out/a is full."),
        ("A second povwatch runs", "A second povwatch runs."),
        ("Look into /out", "Look into `/out`."),
        (f"To finish it: {FINISH}", f"To finish it: `{FINISH}`."),
        (f"Run {FINISH}", f"Run `{FINISH}`."),
        ("As its user: mkdir -m 700 /out/.povwatch", "As its user: `mkdir -m 700 /out/.povwatch`."),
        ("With `nvidia-smi`", "With `nvidia-smi`."),
        ("It is `/out`", "It is `/out`."),
        ("The clip has 30/1 frames a second", "The clip has 30/1 frames a second."),
        ("", ""),
    ],
)
def test_part_ends_before_another_begins(part, end):
    """A part gets its full stop once, and what is to be copied gets marks."""
    assert ended(part) == end
    assert ended(end) == end


def test_parts_are_joined():
    """Parts are joined as sentences, and the last one is left as it is."""
    kept = "What was generated is kept: /out/preview.mp4"
    assert joined("It is full", "", kept) == f"It is full. {kept}"
    assert joined(kept, "Next try 12:00") == "What was generated is kept: `/out/preview.mp4`. Next try 12:00"
    assert joined("", "") == ""


@pytest.mark.parametrize("kind", [errors.DiskFull, lambda *parts: EngineFailure("error", *parts)])
def test_error_and_advice_are_two_sentences(kind):
    """An error and what to do about it are two sentences."""
    assert str(kind("It is kept: /out/p.mp4", "Free some.")) == "It is kept: `/out/p.mp4`. Free some."
    assert str(kind("It is kept: /out/p.mp4", "")) == "It is kept: /out/p.mp4"
    assert str(kind("It is full", "Free some.")) == "It is full. Free some."


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        (
            "queue-paused",
            {"problem": "Make it by hand: mkdir /out", "at": "12:00"},
            "the queue waits: Make it by hand: `mkdir /out`. Next try 12:00",
        ),
        (
            "hook-failed",
            {"clip": "a.mp4", "hook": "mano", "problem": "It left no file", "follows": "The clip fails."},
            "a.mp4: hook mano failed: It left no file. The clip fails.",
        ),
        (
            "rejected",
            {"clip": "a.mp4", "problem": "It is no video", "error_file": "a.error.txt"},
            "a.mp4: rejected: It is no video. See a.error.txt",
        ),
        ("request", {"verb": "go", "clip": "My clip.mp4", "answer": "it starts"}, "go My clip.mp4: it starts"),
        (
            "move-failed",
            {"clip": "a.mp4", "to": "/x", "problem": "No"},
            "a.mp4: done, but the clip could not be moved to /x: No",
        ),
    ],
)
def test_log_line_has_its_full_stops(event, fields, said):
    """No line of the log lacks the full stop between two sentences."""
    stream = io.StringIO()
    configure(stream)
    try:
        voice.say(event, **fields)
    finally:
        structlog.reset_defaults()
    assert json.loads(stream.getvalue())["message"] == said
