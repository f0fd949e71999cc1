"""How many actors are asked for, and which end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from povwatch.bridge.scaling import Asked, Plan, plan

NOWHERE = frozenset()


def asked(name, *, placed=True, avoids=NOWHERE, idle_since=None):
    return Asked(name, placed, avoids, idle_since)


def at(now, *workers, wanted, avoid=NOWHERE):
    return plan(workers, wanted, avoid=avoid, idle=600.0, now=now)


def test_as_many_are_asked_as_are_wanted():
    assert at(0, wanted=3) == Plan(3, ())
    assert at(0, asked("a"), asked("b", placed=False), wanted=3) == Plan(1, ())


def test_what_waits_is_taken_back_first():
    """The newest, and no worker that runs."""
    workers = asked("a", idle_since=0.0), asked("b", placed=False), asked("c", placed=False)
    assert at(10, *workers, wanted=2) == Plan(0, ("c",))
    assert at(10, *workers, wanted=0) == Plan(0, ("c", "b"))


def test_an_idle_worker_ends_after_its_time():
    workers = asked("a", idle_since=100.0), asked("b", idle_since=50.0), asked("c")
    assert at(649, *workers, wanted=1) == Plan(0, ())
    assert at(650, *workers, wanted=1) == Plan(0, ("b",))
    assert at(900, *workers, wanted=1) == Plan(0, ("b", "a"))
    assert at(900, *workers, wanted=2) == Plan(0, ("b",))


def test_a_busy_worker_does_not_end():
    assert at(10_000, asked("a"), wanted=0) == Plan(0, ())


def test_no_worker_waits_for_a_resting_node():
    resting = frozenset({"n1"})
    assert at(0, asked("a", placed=False), asked("b"), wanted=2, avoid=resting) == Plan(1, ("a",))
    assert at(0, asked("a", placed=False, avoids=resting), wanted=1, avoid=NOWHERE) == Plan(1, ("a",))


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.none() | st.floats(0, 1000)), max_size=20),
    st.integers(0, 30),
    st.floats(1000, 2000),
)
def test_as_many_as_wanted_are_left(workers, wanted, now):
    """Or more, but only of those that have work or were idle for a short time."""
    avoid = frozenset({"n"})
    all_asked = [
        Asked(str(n), placed, avoid if same else NOWHERE, idle if placed else None)
        for n, (placed, same, idle) in enumerate(workers)
    ]
    what = plan(all_asked, wanted, avoid=avoid, idle=600.0, now=now)
    left = [one for one in all_asked if one.name not in what.end]
    assert len(set(what.end)) == len(what.end)
    assert all(one.placed or one.avoids == avoid for one in left)
    if len(left) > wanted:
        assert what.ask == 0
        assert all(one.placed and (one.idle_since is None or now - one.idle_since < 600.0) for one in left)
    else:
        assert len(left) + what.ask == wanted
