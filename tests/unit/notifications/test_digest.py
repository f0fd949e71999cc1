"""How notices become messages, on a clock that the test sets."""

from __future__ import annotations

from povwatch.config.notify import KINDS
from povwatch.notifications import digest
from povwatch.notifications.notice import Notice


def failed(many, **more):
    return [
        Notice("failed", 0.0, f"clip{n}.mp4: broken. Copy it again", "All: povwatch jobs", **more) for n in range(many)
    ]


def test_night_of_failures_is_few_messages():
    """200 failures in ten hours are eight messages, the first within seconds."""
    events = [180.0 * n for n in range(200)]
    pace, at, told = None, 0.0, []
    while events:
        at = max(at, digest.due(events[0], pace, events[0]))
        events = [event for event in events if event > at]
        pace = digest.sent(pace, at)
        told.append(at)
    assert told[0] == digest.COLLECT
    assert len(told) == 8


def test_quiet_kind_is_told_at_once_again():
    pace = digest.sent(digest.sent(None, 0.0), 300.0)
    assert digest.due(1000.0, pace, 1000.0) == 2100.0
    assert digest.sent(pace, 2100.0).times == 3
    later = 300.0 + 2 * 1800.0 + 1.0
    assert digest.sent(pace, later).times == 1


def test_clock_set_back_delays_nothing():
    """Times from a later clock count as now."""
    assert digest.due(9e9, None, 100.0) == 110.0
    assert digest.due(9e9, digest.Pace(9e9, 1), 100.0) == 400.0


def test_services_pauses_grow_to_a_limit():
    assert [digest.retry_after(times) for times in (1, 2, 3, 4, 99)] == [60.0, 300.0, 900.0, 1800.0, 1800.0]


def test_message_counts_and_names_what_to_do():
    notices = [*failed(12), Notice("gpu-lost", 0.0, "NVML fails.", "Look at it: nvidia-smi")]
    assert digest.title(notices, "lab") == "povwatch on lab: the GPU is lost, 12 clips failed"
    lost, failures = digest.body(notices).split("\n\n")
    assert lost.splitlines() == ["The GPU is lost:", "- NVML fails.", "Look at it: nvidia-smi"]
    lines = failures.splitlines()
    assert lines[:2] == ["12 clips failed:", "- clip2.mp4: broken. Copy it again"]
    assert lines[-2:] == ["- and 2 more before", "All: povwatch jobs"]


def test_notices_without_room_are_counted():
    notices = failed(1, count=41)
    assert digest.title(notices, "lab").endswith("41 clips failed")
    assert "- and 40 more before" in digest.body(notices)


def test_every_kind_has_its_words():
    for kind in KINDS:
        assert digest.title([Notice(kind, 0.0, "x")], "lab") != digest.title([Notice(kind, 0.0, "x", count=2)], "lab")
