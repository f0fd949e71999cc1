"""Working hours: what the clock on the wall shows, over midnight and on the days when clocks are changed."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from povwatch.core.hours import parse

ZONE = ZoneInfo("Europe/Berlin")


def minute_of(at):
    local = datetime.fromtimestamp(at, ZONE)
    return local.hour * 60 + local.minute


def at(text, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZONE, fold=fold).timestamp()


def change(hours, text, fold=0):
    """Whether it is open then, and when that changes, as local time with its zone."""
    moment = at(text, fold)
    found = parse(hours).next_change(moment, minute_of)
    when = datetime.fromtimestamp(found, ZONE).strftime("%d %H:%M %Z") if found else None
    return parse(hours).open_at(minute_of(moment)), when


@pytest.mark.parametrize(
    ("hours", "moment", "is_open", "changes"),
    [
        ("20:00-08:00", "2026-11-27 19:59:59", False, "27 20:00 CET"),
        ("20:00-08:00", "2026-11-27 20:00:00", True, "28 08:00 CET"),
        ("20:00-08:00", "2026-11-28 00:00:00", True, "28 08:00 CET"),
        ("20:00-08:00", "2026-11-28 07:59:30", True, "28 08:00 CET"),
        ("20:00-08:00", "2026-11-28 08:00:00", False, "28 20:00 CET"),
        ("20:00-08:00, 12:00-13:00", "2026-11-28 09:00:00", False, "28 12:00 CET"),
        ("20:00-08:00, 12:00-13:00", "2026-11-28 12:30:00", True, "28 13:00 CET"),
        ("8:00 - 12:00,12:00-24:00", "2026-11-28 11:00:00", True, "29 00:00 CET"),
        ("00:00-24:00", "2026-11-28 11:00:00", True, None),
        ("", "2026-11-28 11:00:00", True, None),
    ],
)
def test_open_and_until_when(hours, moment, is_open, changes):
    """Ranges of hours tell whether it is open and until when, over midnight too."""
    assert change(hours, moment) == (is_open, changes)


def test_hour_left_out_in_spring():
    """The hour that is left out in spring opens nothing."""
    # 29 March 2026: after 01:59 CET comes 03:00 CEST.
    assert change("02:00-03:00", "2026-03-29 01:30:00") == (False, "30 02:00 CEST")
    assert change("20:00-02:30", "2026-03-29 01:59:00") == (True, "29 03:00 CEST")
    assert change("02:30-08:00", "2026-03-29 01:59:00") == (False, "29 03:00 CEST")


def test_hour_that_comes_twice_in_autumn():
    """The hour that comes twice in autumn counts twice."""
    # 25 October 2026: after 02:59 CEST comes 02:00 CET.
    assert change("02:00-03:00", "2026-10-25 01:59:00") == (False, "25 02:00 CEST")
    assert change("02:00-03:00", "2026-10-25 02:30:00") == (True, "25 03:00 CET")
    assert change("02:30-08:00", "2026-10-25 02:45:00") == (True, "25 02:00 CET")
    assert change("02:30-08:00", "2026-10-25 02:15:00", fold=1) == (False, "25 02:30 CET")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("20-8", "is no range of hours"),
        ("20:00", "is no range of hours"),
        ("20:00-08:00; 1:00-2:00", "is no range of hours"),
        ("25:00-08:00", "is no time of the day"),
        ("20:60-08:00", "is no time of the day"),
        ("24:00-08:00", "is no time of the day"),
        ("08:00-08:00", "is no time at all"),
        (8, "is no range of hours"),
    ],
)
def test_wrong_hours_are_refused(text, says):
    """What is no range of hours is refused, and the part that is wrong is told."""
    with pytest.raises(ValueError, match=says):
        parse(text)
