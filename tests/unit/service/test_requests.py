from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from povwatch.core.errors import PovwatchError
from povwatch.service.requests import Answer, RequestSpool


@pytest.fixture
def spool(tmp_path):
    made = RequestSpool(tmp_path)
    made.prepare()
    return made


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "requests").iterdir())


def test_request_and_answer_once(spool, tmp_path):
    """A request is taken, its answer is read once, and no file is left."""
    asked = spool.ask("retry", "d/a.mp4", force=True)
    (taken,) = spool.take()
    assert taken == asked
    assert (taken.verb, taken.clip, taken.options) == ("retry", "d/a.mp4", {"force": True})
    spool.answer(taken, Answer(done=True, text="it runs."))
    assert spool.take() == []
    assert spool.wait(asked, 1) == Answer(done=True, text="it runs.")
    assert files(tmp_path) == []


def test_request_stays_until_answered(spool):
    spool.ask("go", "a.mp4")
    assert spool.take() == spool.take() != []


def test_requests_in_the_order_they_came(spool):
    asked = [spool.ask("go", str(n)) for n in range(5)]
    assert spool.take() == asked


def test_clip_name_keeps_its_bytes(spool):
    word = os.fsdecode(b"caf\xe9\n.mp4")
    spool.ask("go", word)
    assert os.fsencode(spool.take()[0].clip) == b"caf\xe9\n.mp4"


def test_nobody_answers_in_time(spool):
    """A request without an answer in time gets none."""
    assert spool.wait(spool.ask("go", "a"), 0) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"verb": "rm", "clip": "a", "options": {}}',
        b'{"verb": "go", "clip": 1, "options": {}}',
        b'{"verb": "go", "clip": "a", "options": []}',
        b"\xff",
        b"[" * 70_000,
    ],
)
def test_bad_request_is_answered_so(spool, tmp_path, content):
    """What is no request is answered so, and holds up no other."""
    (tmp_path / "requests/0.request").write_bytes(content)
    asked = spool.ask("go", "a")
    assert spool.take() == [asked]
    answer = json.loads((tmp_path / "requests/0.answer").read_text())
    assert answer["done"] is False
    assert answer["text"].startswith("the request cannot be read: ")


def test_special_file_holds_nobody_up(spool, tmp_path):
    """A folder, a FIFO or a link that is named like a request holds up no other."""
    folder = tmp_path / "requests"
    (folder / "0.request").mkdir()
    os.mkfifo(folder / "1.request")
    (tmp_path / "elsewhere").write_text('{"verb": "go", "clip": "a", "options": {}}')
    (folder / "2.request").symlink_to(tmp_path / "elsewhere")
    asked = spool.ask("go", "a")
    assert spool.take() == [asked]


def test_answer_never_follows_a_link(spool, tmp_path):
    asked = spool.ask("go", "a")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / f"requests/{asked.token}.answer.part").symlink_to(tmp_path / "precious")
    spool.answer(asked, Answer(done=True, text=""))
    assert (tmp_path / "precious").read_text() == "precious"
    assert spool.wait(asked, 1) == Answer(done=True, text="")


def test_half_written_request_is_not_seen(spool, tmp_path):
    (tmp_path / "requests/1.request.part").write_text("{")
    assert spool.take() == []


def test_old_answers_are_swept(spool, tmp_path):
    """Old answers and halves are swept; requests stay."""
    spool.answer(spool.ask("go", "a"), Answer(done=True, text=""))
    (tmp_path / "requests/x.part").touch()
    spool.ask("hold", "b")
    now = (tmp_path / "requests/x.part").stat().st_mtime
    spool.sweep(now + 60)
    assert len(files(tmp_path)) == 3
    spool.sweep(now + 3601 + 60)
    (left,) = files(tmp_path)
    assert left.endswith(".request")


def test_where_no_daemon_ever_ran(tmp_path):
    """Where no daemon ever ran, a request says so."""
    with pytest.raises(PovwatchError, match=r"There is no .*requests: no daemon ever ran here\. Start it"):
        RequestSpool(tmp_path).ask("go", "a")


def test_folder_is_made_later(tmp_path, monkeypatch):
    """A folder that could not be made at the start is made later."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = RequestSpool(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        spool.prepare()
        assert spool.take() == []
    assert spool.take() == []
    spool.ask("go", "a.mp4")
    assert [request.verb for request in spool.take()] == ["go"]
