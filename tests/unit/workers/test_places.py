"""Which machines rest: pure, with the time passed in."""

from __future__ import annotations

from povwatch.core.retry import CRASHES_MAX
from povwatch.workers.places import DEATHS_MAX, REST, Places


def test_one_clip_cannot_have_a_place_rest():
    """A single poisonous clip costs fewer deaths than have a machine rest, or it would take all of them out of use."""
    assert DEATHS_MAX > CRASHES_MAX


def test_place_rests_after_four_deaths():
    places = Places()
    place = places.of("n1", "gpu-01")
    assert [place.died(100.0) for _ in range(DEATHS_MAX)] == [False] * (DEATHS_MAX - 1) + [True]
    assert places.resting(100.0) == {"n1": REST}
    assert places.resting(100.0 + REST - 1) == {"n1": 1.0}
    assert places.resting(100.0 + REST) == {}
    assert not place.died(100.0 + REST), "the count begins anew"


def test_clip_between_shows_that_it_works():
    place = Places().of("n1", "gpu-01")
    for _ in range(DEATHS_MAX - 1):
        place.died(0.0)
    place.generated()
    assert not place.died(0.0)


def test_each_node_has_a_count_of_its_own():
    """Nodes are told apart by their ids: a machine that comes back has another one."""
    places = Places()
    for number in range(DEATHS_MAX):
        assert not places.of(f"n{number}", "gpu-01").died(0.0)
    assert places.died == {"gpu-01": DEATHS_MAX}
    assert places.of("n0", "renamed") is places.of("n0", "gpu-01")
