"""The folder of requests, which every member of the group may write to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.daemons import Daemon

from povwatch.service import requests as spooling
from povwatch.service.requests import Answer, RequestSpool

GO = '{"verb": "go", "clip": "b", "options": {}}'

ODD = {
    "too long for its answer": "x" * 247,
    "escapes": "\x1b[31m\u202e",
    "a line break": "a\n2026-01-01 done",
    "no UTF-8": os.fsdecode(b"\xff\xfe"),
    "a dot": ".",
}
"""Names that no povwatch gives a request; without their suffix."""


@pytest.fixture
def spool(tmp_path):
    made = RequestSpool(tmp_path)
    made.prepare()
    return made


@pytest.fixture
def folder(spool, tmp_path):
    return tmp_path / "requests"


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
@pytest.mark.parametrize("content", ["{", GO], ids=["bad", "good"])
def test_odd_name_is_no_request(spool, folder, name, content):
    """A file with an odd name is neither taken nor changed."""
    (folder / f"{name}.request").write_text(content)
    asked = spool.ask("go", "b")
    assert spool.take() == [asked]
    spool.answer(asked, Answer(done=True, text=""))
    assert spool.take() == []
    assert (folder / f"{name}.request").read_text() == content


@pytest.mark.parametrize("content", ["{", GO], ids=["bad", "good"])
def test_unanswerable_request_is_done_once(spool, folder, content):
    """A request whose answer cannot be left is done once."""
    (folder / "0.request").write_text(content)
    (folder / "0.answer").mkdir()
    (folder / "0.answer.part").mkdir()
    for request in spool.take():
        with pytest.raises(IsADirectoryError):
            spool.answer(request, Answer(done=True, text=""))
    assert spool.take() == []


def test_unremovable_request_is_done_once(spool, folder, monkeypatch):
    """A request that cannot be removed is done once."""
    (folder / "0.request").write_text(GO)

    def refuse(*_, **__):
        raise PermissionError

    (request,) = spool.take()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        spool.answer(request, Answer(done=True, text=""))
    assert spool.take() == []


def test_flood_is_taken_bit_by_bit(spool, folder):
    """Of a flood of requests only so many are taken at once."""
    for n in range(spooling.AT_ONCE + 5):
        (folder / f"{n:04}.request").write_text(GO)
    first = spool.take()
    assert len(first) == spooling.AT_ONCE
    for request in first:
        spool.answer(request, Answer(done=True, text=""))
    assert len(spool.take()) == 5


def test_huge_request_is_not_read_whole(spool, folder):
    """A huge request is refused without reading it whole."""
    with (folder / "0.request").open("wb") as file:
        file.write(b'{"verb": "go", "clip": "')
        file.truncate(2**40)
    assert spool.take() == []
    assert "cannot be read" in json.loads((folder / "0.answer").read_text())["text"]


def test_too_long_name_is_refused(spool, folder):
    """A name that is longer than any path is refused."""
    (folder / "0.request").write_text(json.dumps({"verb": "go", "clip": "a" * 5000, "options": {}}))
    assert spool.take() == []
    assert "longer than any path" in json.loads((folder / "0.answer").read_text())["text"]


@pytest.mark.parametrize("what", ["fifo", "link", "folder", "text", "list", "bytes"])
def test_forged_answer_holds_nobody_up(spool, folder, tmp_path, what):
    """A forged answer is not believed, and the wait for the real one goes on."""
    asked = spool.ask("go", "a")
    answer = folder / f"{asked.token}.answer"
    if what == "fifo":
        os.mkfifo(answer)
    elif what == "link":
        (tmp_path / "elsewhere").write_text('{"done": true, "text": "forged"}')
        answer.symlink_to(tmp_path / "elsewhere")
    elif what == "folder":
        answer.mkdir()
    else:
        answer.write_bytes({"text": b"hello", "list": b"[1]", "bytes": b"\xff"}[what])
    assert spool.wait(asked, 0.01) is None


def test_nothing_there_ends_the_daemon(tmp_path):
    """Nothing in the folder of requests ends the daemon, and its log stays printable lines."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as here:
        here.start()
        folder = here.state / "requests"
        for name in ODD.values():
            (folder / f"{name}.request").write_text("{")
        (folder / "0.request").write_text("{")
        (folder / "0.answer").mkdir()
        (folder / "1.request").write_text(GO)
        (folder / "1.answer").mkdir()
        os.mkfifo(folder / "2.request")
        (folder / "3.request").symlink_to("/dev/zero")
        (folder / "4.request").write_text('{"verb": "\\ud800\\u001b[31m", "clip": "\\u202e\\ud800", "options": {}}')
        (folder / "5.request").write_text('{"verb": "hold", "clip": "\\u202e\\u009b\\ud800", "options": {}}')
        here.clip()
        here.wait_for("grace", clip="a.mp4")
        assert here.ask("hold", "a.mp4").done
        here.wait_for("request", count=3)  # those of one look come in any order
        assert len(here.events("unanswered")) == 1
        assert {line["clip"] for line in here.events("request")} == {"b", r"\u202e\x9b\ud800", "a.mp4"}
        assert here.events("unforeseen") == []
        here.stop()
        for line in here.text().encode("utf-8", "surrogateescape").splitlines():
            assert json.loads(line)["message"].isprintable()
