from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from povwatch.arrival.settle import Settle

A, B = b"a", b"b"


def watched(*samples, settle=5.0):
    timer = Settle()
    for at, signature in samples:
        timer.observe(signature, at, settle)
    return timer


def test_three_samples_over_the_settle_time():
    """Three equal samples over the settle time settle a file."""
    assert watched((100, A), (102.5, A), (105, A)).settled(5)


def test_two_samples_are_never_enough():
    """Two samples never settle a file, however far apart."""
    assert not watched((100, A), (105, A)).settled(5)
    assert not watched((100, A), (9000, A)).settled(5)  # the machine slept: look again


def test_many_samples_in_a_short_time():
    """Many samples within less than the settle time do not settle a file."""
    assert not watched(*((100 + i / 100, A) for i in range(400))).settled(5)


def test_change_starts_anew_when_seen():
    """A change starts the time anew from when it is seen."""
    timer = watched((100, A), (102.5, A), (104.9, B))
    assert not timer.settled(5)
    for at in (107.4, 109.8):
        timer.observe(B, at, 5)
        assert not timer.settled(5)
    timer.observe(B, 110, 5)
    assert timer.settled(5)


def test_change_back_is_a_change():
    assert not watched((100, A), (102.5, B), (105, A)).settled(5)


def test_unseen_file_is_due_at_once():
    """A file that was never seen is not settled, and is due at once."""
    assert not Settle().settled(5)
    assert not Settle().settled(0)
    assert Settle().next_sample(5) == 0


@given(start=st.floats(0, 1e8), settle=st.floats(0.1, 3600))
def test_third_sample_settles(start, settle):
    """Looking when told settles at the third sample, for any settle time."""
    timer = Settle()
    now = start
    for _ in range(3):
        assert not timer.settled(settle)
        timer.observe(A, now, settle)
        now = timer.next_sample(settle)
    assert timer.settled(settle)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from([A, B])), max_size=30),
    st.floats(0.5, 10),
)
def test_settled_is_three_equal_samples(steps, settle):
    """Whatever is seen, settled means three equal samples over that time."""
    timer, at, seen = Settle(), 0.0, []
    for gap, signature in steps:
        at += gap
        timer.observe(signature, at, settle)
        seen = [*(seen if seen and seen[-1][1] == signature else []), (at, signature)]
        if timer.settled(settle):
            assert len(seen) >= 3
            assert at - seen[0][0] >= settle - 1e-3


def test_it_is_small():
    """There may be very many timers: one has no dictionary."""
    assert not hasattr(Settle(), "__dict__")
