"""Times for people, and a zone that cannot be used."""

import math
import os
import subprocess
import sys
from datetime import UTC

import pytest

from povwatch.core.local_time import EARLIEST, LATEST, local, utc

SAID = """import os, time
from povwatch.core.local_time import *
print(use_zone())
print(local(0).isoformat(), time.tzname[0])"""


def said(zone):
    environment = {key: value for key, value in os.environ.items() if key != "TZ"} | (
        {} if zone is None else {"TZ": zone}
    )
    done = subprocess.run([sys.executable, "-c", SAID], env=environment, capture_output=True, text=True, check=True)
    problem, shown = done.stdout.splitlines()
    return problem, shown


@pytest.mark.parametrize("zone", ["UTC+25", "UTC-25", "ABC24", "UTC+24:59:59"])
def test_zone_a_day_away_is_told(zone):
    """A zone a day or more away is told, and UTC is used."""
    problem, shown = said(zone)
    assert problem.startswith(f"TZ={zone} is a day or more away from UTC.")
    assert shown == "1970-01-01T00:00:00+00:00 UTC"


@pytest.mark.parametrize(
    "zone", ["Nowhere/Land", "Europe/Berln", "x", "../../etc/passwd/x", "/etc/passwd", ":/etc/passwd"]
)
def test_unknown_zone_is_told(zone):
    """A zone that nobody knows is told, and UTC is used."""
    problem, shown = said(zone)
    assert problem.startswith(f"TZ={zone} is no time zone that is known here.")
    assert shown == "1970-01-01T00:00:00+00:00 UTC"


def test_too_long_a_zone_is_told_in_short():
    problem, _ = said("A" * 5000)
    assert problem.startswith(f"TZ={'A' * 60}... is no time zone that is known here.")


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC+5", "1969-12-31T19:00:00-05:00"),
        ("CET-1CEST", "1970-01-01T01:00:00+01:00"),
        ("<+0530>-5:30", "1970-01-01T05:30:00+05:30"),
        ("UTC", "1970-01-01T00:00:00+00:00"),
        ("", "1970-01-01T00:00:00+00:00"),
        ("Etc/UTC", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_other_zones_are_used(zone, shown):
    problem, found = said(zone)
    assert not problem
    assert found.split()[0] == shown


def test_no_zone_is_no_problem():
    assert said(None)[0] == ""


@pytest.mark.parametrize("at", [EARLIEST, LATEST, -1e300, 1e300, math.inf, -math.inf, math.nan, 2**63 / 1e9])
def test_time_beyond_calendars_is_shown(at):
    """A time that no calendar has is shown all the same."""
    assert local(at).isoformat()
    assert utc(at).tzinfo is UTC
