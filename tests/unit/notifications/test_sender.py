"""The spool and its sender, with services that the test plays, on a clock that it sets."""

from __future__ import annotations

import os

import pytest

from povwatch.notifications import digest, spool
from povwatch.notifications.notice import Notice
from povwatch.notifications.sender import Sender, Target
from povwatch.notifications.spool import NoticeSpool


class Played:
    """A service: it takes messages, or gives a problem."""

    name = "Played"

    def __init__(self):
        self.problem = ""
        self.got = []

    def send(self, title, body):
        if not self.problem:
            self.got.append((title, body))
        return self.problem


@pytest.fixture
def folder(tmp_path):
    found = NoticeSpool(tmp_path)
    found.prepare()
    return found


def target(service, *on, entry=1, key="a"):
    return Target(entry, key, frozenset(on or ("failed", "done")), service)


def put(folder, kind="failed", at=1000.0, text="a.mp4: broken", **more):
    return folder.put(Notice(kind, at, text, **more))


def events(said):
    return [one.event for one in said]


def test_sent_once_and_removed(folder):
    service = Played()
    sender = Sender(folder, [target(service)], "lab")
    put(folder)
    assert sender.next_due(1000.0) == 1010.0
    assert sender.turn(1009.0) == []
    (said,) = sender.turn(1010.0)
    assert said.fields == {"service": "Played (notify, entry 1)", "title": "povwatch on lab: 1 clip failed"}
    assert folder.names() == set()
    assert sender.turn(99999.0) == []
    assert len(service.got) == 1


def test_survives_a_restart(folder):
    """What waits is sent by the next sender, in the pace of the one before."""
    service = Played()
    put(folder)
    Sender(folder, [target(service)], "lab").turn(1010.0)
    put(folder, at=1020.0)
    again = Sender(NoticeSpool(folder.folder.parent), [target(service)], "lab")
    assert again.next_due(1030.0) == 1010.0 + digest.PAUSES[0]
    again.turn(1010.0 + digest.PAUSES[0])
    assert len(service.got) == 2


def test_failed_service_alone_is_tried_again(folder):
    """A service that has a message does not get it again because another failed, also across a restart."""
    well, ill = Played(), Played()
    ill.problem = "It is down."
    both = [target(well), target(ill, entry=2, key="b")]
    sender = Sender(folder, both, "lab")
    put(folder)
    said = sender.turn(1010.0)
    assert events(said) == ["notified", "notify-failed"]
    assert said[1].fields["problem"] == "It is down."
    assert len(folder.names()) == 1
    assert sender.next_due(1010.0) == 1070.0
    assert sender.turn(1069.0) == []
    ill.problem = ""
    again = Sender(folder, both, "lab")
    assert events(again.turn(1070.0)) == ["notified"]
    assert (len(well.got), len(ill.got), folder.names()) == (1, 1, set())


def test_kinds_go_where_they_are_wanted(folder):
    first, second = Played(), Played()
    sender = Sender(folder, [target(first, "done"), target(second, "gpu-lost", entry=2, key="b")], "lab")
    for kind in ("done", "gpu-lost", "failed"):
        put(folder, kind)
    sender.turn(1010.0)
    assert [title for title, _ in first.got] == ["povwatch on lab: 1 clip is done"]
    assert [title for title, _ in second.got] == ["povwatch on lab: the GPU is lost"]
    assert folder.names() == set()  # nobody wants to hear of the failure


def test_urgent_kind_waits_for_no_other(folder):
    """The pace of one kind does not hold another up."""
    service = Played()
    sender = Sender(folder, [target(service, "done", "gpu-lost")], "lab")
    put(folder, "done")
    sender.turn(1010.0)
    put(folder, "done", at=1011.0)
    put(folder, "gpu-lost", at=1011.0)
    sender.turn(1021.0)
    assert [title for title, _ in service.got][-1] == "povwatch on lab: the GPU is lost"


def test_flush_sends_what_is_not_due(folder):
    service = Played()
    sender = Sender(folder, [target(service)], "lab")
    put(folder)
    sender.turn(1001.0, flush=True)
    assert len(service.got) == 1


def test_spool_is_bounded(folder, monkeypatch):
    """What has no room is counted with the next notice of its kind."""
    monkeypatch.setattr(spool, "WAITING_MAX", 3)
    assert [put(folder) for _ in range(5)] == [True, True, True, False, False]
    assert put(folder, "done")
    service = Played()
    sender = Sender(folder, [target(service)], "lab")
    sender.turn(1010.0)
    assert put(folder, at=1011.0)
    sender.turn(5000.0)
    assert service.got[-1][0] == "povwatch on lab: 3 clips failed"


def test_old_notices_are_dropped(folder):
    service = Played()
    service.problem = "It is down."
    sender = Sender(folder, [target(service)], "lab")
    put(folder)
    (said,) = sender.turn(1001.0 + digest.KEPT)
    assert (said.event, said.fields, folder.names()) == ("notify-dropped", {"count": 1}, set())


def test_damaged_files_stop_nothing(folder):
    """Neither a damaged notice nor a damaged record keeps the others from being sent."""
    put(folder)
    name = next(iter(folder.names()))
    (folder.folder / name.replace(name[:20], "0" * 20)).write_text("{}")
    (folder.folder / "sent.json").write_text("[1]")
    (folder.folder / ".povwatch-0").write_text("")
    folder.prepare()
    service = Played()
    Sender(folder, [target(service)], "lab").turn(1010.0)
    assert len(service.got) == 1
    assert [file.name for file in folder.folder.iterdir()] == ["sent.json"]


def test_unwritable_record_repeats_nothing(folder, monkeypatch):
    service = Played()
    sender = Sender(folder, [target(service), target(Played(), "done", entry=2, key="b")], "lab")
    put(folder)

    def refuse(_record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "save", refuse)
    monkeypatch.setattr(folder, "remove", lambda _name: None)
    assert events(sender.turn(1010.0)) == ["notified", "notify-unsaved"]
    assert sender.turn(5000.0) == []
    assert len(service.got) == 1


def test_one_sender_at_a_time(folder):
    with folder.held() as other:
        assert other == 0
        with NoticeSpool(folder.folder.parent).held() as second:
            assert second == os.getpid()
    with folder.held() as other:
        assert other == 0
