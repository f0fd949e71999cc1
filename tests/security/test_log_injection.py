"""Texts that somebody else chose, on every way out: one printable line, in no other line's or field's place."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
import structlog
from support.daemons import Daemon, toy
from typer.testing import CliRunner

from povwatch.cli import app
from povwatch.core import command
from povwatch.core.errors import PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.journal import open_reader
from povwatch.service import log

TEXTS = {
    "a line of ours": "a.mp4\n09:00:00 b.mp4: done in 3 s",
    "escapes": "\x1b[2J\x1b]0;title\x07\x1b[31m",
    "escapes of one character": "\x9b31m\x9d0;title\x9c",
    "a cursor that moves": "a\rb\b\b\x7f\v\f",
    "a null character": "a\0b",
    "line ends of Unicode": "a\u2028b\u2029c\x85d",
    "bidirectional": "gpj.\u202e4pm\u2066x\u2069",
    "invisible": "a\u200bb\ufeffc\u00ad",
    "no UTF-8": os.fsdecode(b"\xff\xfe\x80"),
    "half a character": "\ud800",
    "a journal's field": "a\nJOB=1\nMESSAGE=forged",
    "formats": "{clip} %s {0.__class__} ${HOME}",
    "markup": "[red]a[/red] [link=http://x]y[/link]",
}


@pytest.fixture(autouse=True)
def _plain_again():
    yield
    structlog.reset_defaults()


class Stream(io.TextIOWrapper):
    """As strict about UTF-8 as a terminal or a file is."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="strict")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("utf-8")


FORMS = {
    "text": lambda text: text,
    "bytes": lambda text: text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape"),
    "path": Path,
    "error": ValueError,
    "list": lambda text: [text, 1],
    "object": lambda text: {text: text},
    "nested": lambda text: {"a": [(text,)]},
}
"""What a field of a log line may be."""


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_line_is_one_line(text, form):
    """Any text in the log stays one printable line, and valid JSON where no terminal is."""
    if form is Path and ("\ud800" in text or "\0" in text):
        pytest.skip("no path holds this")
    for terminal in (False, True):
        stream = Stream(terminal=terminal)
        log.configure(stream)
        job = Job(id=7, path=os.fsencode(text.replace("\ud800", "?")), base=b"", state=JobState.RUNNING)
        say("failed", job, problem=form(text))
        (line,) = stream.text().removesuffix("\n").split("\n")
        if terminal:
            for ours in ("\x1b[2m", "\x1b[31m", "\x1b[0m"):
                line = line.replace(ours, "")
        assert line.isprintable()
        assert terminal or json.loads(line)["event"] == "failed"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_traceback_forges_no_line(text):
    """A traceback with any text forges no line of its own."""
    for terminal in (False, True):
        stream = Stream(terminal=terminal)
        log.configure(stream)
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - our own
            _raise(text)
        say("unforeseen", where="here", problem="it", exc_info=caught.value)
        first, *others = stream.text().removesuffix("\n").removesuffix("\x1b[0m").split("\n")
        assert "povwatch itself failed" in first
        assert all(line.startswith("    ") and line.isprintable() for line in others)


def _raise(text):
    raise ValueError(text)


class Journal:
    """Stands in for systemd.journal: what it is sent, as the journal's own protocol has it."""

    def __init__(self) -> None:
        self.fields: list[dict[str, str]] = []

    def send(self, message, **fields):
        self.fields.append({"MESSAGE": message} | {key: str(value) for key, value in fields.items()})


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_journal_entry_has_its_fields_only(text, monkeypatch, tmp_path):
    """An entry for systemd's journal has the fields that it should, whatever the text."""
    made = Journal()
    monkeypatch.setitem(sys.modules, "systemd", type(sys)("systemd"))
    sys.modules["systemd"].journal = made
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure(stream)
        job = Job(id=7, path=os.fsencode(text.replace("\ud800", "?")), base=b"", state=JobState.RUNNING)
        say("failed", job, problem=text, more={text: [text]})
    (fields,) = made.fields
    assert fields.keys() == {
        *("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "JOB", "VIDEO", "STATE", "EVENT"),
        *("POVWATCH_PROBLEM", "POVWATCH_MORE", "POVWATCH_LEVEL"),
    }
    assert all(value.isprintable() for value in fields.values())


GROUPS = ["".join(list(TEXTS.values())[n::4]) for n in range(4)]
"""All of them in few clips: each clip costs two processes."""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A daemon that met every one of those texts: as a clip's name, in its JSON, and in an engine's error."""
    with Daemon(tmp_path_factory.mktemp("told") / "pov") as here:
        here.configure(grace={"period": "0s"}, engine={"kind": toy("repeats_the_prompt"), "attempts": 1})
        made = here.clip("made.mp4").rename(here.folder / "made.mp4")
        for number, text in enumerate(GROUPS):
            name = text.replace("\0", "").replace("\ud800", "?").replace("/", "")
            clip = here.inputs / f"{number}{name}.mp4"
            os.link(made, clip)
            spec = {"name": text, "video_path": clip.name, "prompt": f"x{text}", "edge": {}}
            if number % 2:
                spec[text] = text  # nobody knows this key
            (here.inputs / f"{number}{name}.json").write_text(json.dumps(spec))
        (here.inputs / "diary\x1b[31m\u202e.mp4").write_text("Dear \x1b[2J diary.\n" * 30)
        here.start()
        here.until(lambda: len(judged(here)) == len(GROUPS) + 1, "all are judged")
        here.stop()
        yield here


def judged(here):
    with open_reader(here.state) as reader:
        return [job for job in reader.jobs() if job.ended or job.waiting_on is Waiting.INVALID_SPEC]


def called(here, *arguments):
    """What a command prints, in this process: to start one for each takes most of a test's time."""
    try:
        done = CliRunner().invoke(app, ["--config", str(here.folder / "config.toml"), *arguments])
    finally:
        command.use("povwatch")
    assert done.exception is None or isinstance(done.exception, (SystemExit, PovwatchError)), done.exception
    return done.output


def printable(text):
    lines = text.encode("utf-8", "surrogateescape").decode("utf-8").split("\n")
    assert [line for line in lines if not line.isprintable()] == []


def test_daemon_log_is_printable_lines(told):
    printable(told.text())
    for line in told.text().splitlines():
        json.loads(line)


def test_error_files_are_printable_lines(told):
    files = list(told.inputs.glob("*.error.txt"))
    assert len(files) == len(GROUPS) + 1
    for file in files:
        printable(os.fsdecode(file.read_bytes()))


@pytest.mark.parametrize("verb", [("status",), ("jobs",), ("report",), ("jobs", "--json"), ("check",)])
def test_lists_are_printable_lines(told, verb):
    """What status, jobs, report and check print is printable lines."""
    printable(called(told, *verb))


@pytest.mark.parametrize("verb", ["why", "show", "go"])
def test_answers_on_a_clip_are_printable(told, verb):
    """What why, show and go print of one clip is printable lines."""
    for job in judged(told):
        printable(called(told, verb, f"#{job.id}"))


def test_typed_name_comes_back_printable(told):
    for name in ("\x1b[31m\u202e\x9b", os.fsdecode(b"\xff\n")):
        done = told.call("show", os.fsencode(name))
        assert "Traceback" not in done.stderr
        printable(done.stdout + done.stderr)


def test_journal_takes_one_entry():
    """What systemd-python puts on the wire for the worst of them: one entry, each field once."""
    journal = pytest.importorskip("systemd.journal")
    sent = []
    text = log.one_line("".join(TEXTS.values()))
    original, journal.sendv = journal.sendv, lambda *fields: sent.append(fields)
    try:
        journal.send(text, VIDEO=text)
    finally:
        journal.sendv = original
    (fields,) = sent
    assert not any(b"\n" in field for field in map(os.fsencode, fields))
