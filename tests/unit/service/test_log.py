from __future__ import annotations

import errno
import io
import json
import os
import sys
from types import SimpleNamespace

import pytest
import structlog

from povwatch.core.events import say
from povwatch.core.job import Job, JobState
from povwatch.service import log

JOB = Job(id=7, path=b"d/caf\xe9\n.mp4", base=b"caf", state=JobState.RUNNING)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _plain_again():
    yield
    structlog.reset_defaults()


def configured(stream, **options):
    log.configure(stream, **options)
    return stream


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json():
    """Where no terminal is, a line is JSON with the job's fields and a sentence."""
    stream = configured(io.StringIO())
    say("done", JOB, took="3 s", output="/out/x.mp4")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "done",
        "level": "info",
        "clip": r"d/caf\xe9\n.mp4",
        "job": 7,
        "state": "running",
        "took": "3 s",
        "output": "/out/x.mp4",
        "message": r"d/caf\xe9\n.mp4: done in 3 s: /out/x.mp4",
    }


def test_line_is_written_at_once():
    """Two programs with one log, as script/run starts them with a pool, do not mix their lines."""
    written = []
    stream = SimpleNamespace(write=written.append, flush=lambda: None, isatty=lambda: False, fileno=lambda: -1)
    configured(stream)
    structlog.get_logger().info("plain")
    (line,) = written
    assert json.loads(line)["event"] == "plain"
    assert line.endswith("}\n")


def test_line_on_a_terminal():
    """On a terminal a line is a sentence in colour, with control characters escaped."""
    stream = configured(Terminal())
    say("failed", JOB, problem="no\x1b[2Jthing\n")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert r"d/caf\xe9\n.mp4: failed: no\x1b[2Jthing\n. When that is fixed: povwatch retry" in text
    assert "\x1b[2J" not in text
    assert "\x1b[31m" in text
    assert "{" not in text


def test_command_in_a_line_can_be_pasted():
    stream = configured(io.StringIO())
    odd = Job(id=7, path=b"- my clip.mp4", base=b"- my clip", state=JobState.GRACE)
    say("grace", odd, deadline="12:00:00", spec=b"- my clip.json")
    assert lines(stream)[0]["message"].endswith(
        "(now: povwatch go -- '- my clip.mp4', later: povwatch hold -- '- my clip.mp4')"
    )


def test_event_without_a_sentence():
    """An event without a sentence shows its fields."""
    stream = configured(Terminal())
    structlog.get_logger().info("worker-gone", pid=12, returncode=-9)
    assert "worker-gone pid=12 returncode=-9" in stream.getvalue()


def test_engine_output_only_when_verbose():
    stream = configured(io.StringIO())
    say("engine-output", line="a")
    assert stream.getvalue() == ""
    stream = configured(io.StringIO(), verbose=True)
    say("engine-output", line="a")
    assert [line["line"] for line in lines(stream)] == ["a"]


def test_missing_field_ends_nothing():
    """A field that nobody gave is a question mark, and no error."""
    stream = configured(io.StringIO())
    say("moved", JOB)
    assert lines(stream)[0]["message"].endswith("was moved to ?")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("héß 🖐", "héß 🖐"),
        ("a\nb\tc\x1b[31m", r"a\nb\tc\x1b[31m"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("a\u202eb\u2028", r"a\u202eb\u2028"),
    ],
)
def test_any_text_on_one_line(text, line):
    assert log.one_line(text) == line


def test_traceback_is_read_in_lines():
    """A traceback is several lines on a terminal, with control characters escaped."""
    stream = configured(Terminal())
    try:
        int("bad \x1b[31m")
    except ValueError as error:
        say("unforeseen", where="here", problem="it", exc_info=error)
    text = stream.getvalue()
    assert "Traceback (most recent call last):\n" in text
    assert "ValueError: invalid literal" in text
    assert "\x1b[31m\n" not in text


class Full(io.StringIO):
    """A disk without room, for a while."""

    full = True

    def write(self, text):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self):
        self.write("")


def test_unwritable_log_costs_its_lines():
    """A log that cannot be written costs its lines, and nothing else."""
    stream = configured(Full())
    say("cancelled", JOB)
    stream.full = False
    say("cancelled", JOB)
    assert [line["job"] for line in lines(stream)] == [7]


def test_full_journal_costs_its_lines(journal, monkeypatch):
    """A systemd journal that takes nothing costs its lines, and nothing else."""
    with monkeypatch.context() as broken:
        broken.setattr(Journal, "send", lambda *_, **__: Full().flush())
        say("cancelled", JOB)
    say("cancelled", JOB)
    assert len(journal.sent) == 1


class Journal:
    """Stands in for systemd.journal: keeps what it is sent."""

    def __init__(self):
        self.sent = []

    def send(self, message, **fields):
        self.sent.append((message, fields))


@pytest.fixture
def journal(monkeypatch, tmp_path):
    """The stream is the journal's own, as under systemd."""
    made = Journal()
    monkeypatch.setitem(sys.modules, "systemd", SimpleNamespace(journal=made))
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configured(stream)
        yield made
    assert (tmp_path / "stderr").read_text() == ""


def test_journal_entry_has_fields(journal):
    """Under systemd a line is an entry with fields."""
    say("done", JOB, took="3 s", output="/out/x.mp4")
    ((message, fields),) = journal.sent
    assert message == r"d/caf\xe9\n.mp4: done in 3 s: /out/x.mp4"
    assert fields == {
        "PRIORITY": 6,
        "SYSLOG_IDENTIFIER": "povwatch",
        "JOB": "7",
        "VIDEO": r"d/caf\xe9\n.mp4",
        "STATE": "running",
        "EVENT": "done",
        "POVWATCH_TOOK": "3 s",
        "POVWATCH_OUTPUT": "/out/x.mp4",
        "POVWATCH_LEVEL": "info",
    }


def test_priorities_are_syslogs(journal):
    for event, priority in (("failed", 3), ("retry", 4), ("done", 6)):
        say(event, JOB)
        assert journal.sent[-1][1]["PRIORITY"] == priority


def test_other_stream_is_not_the_journal(monkeypatch, tmp_path):
    """A stream that is not the journal's own gets JSON lines."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with (tmp_path / "stderr").open("w+") as stream:
        configured(stream)
        say("inputs-back", inputs="x")
        stream.seek(0)
        assert json.loads(stream.read())["event"] == "inputs-back"
