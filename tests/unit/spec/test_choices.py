"""What is drawn of a template's choices, and what changes a draw."""

from collections import Counter

import pytest

from povwatch.spec.choices import choices_in, draw, looks_possible
from povwatch.spec.placeholders import BadText

LIGHT = {"light": ("sun", "overcast", "lamp")}
A, B = "a" * 64, "b" * 64
RUNS = 1000


def drawn(choices=LIGHT, *, seed=0, digest=A, look=""):
    return draw(choices, seed=seed, digest=digest, look=look)


def many(choices, runs=RUNS, **of):
    return [drawn(choices, seed=seed, **of) for seed in range(runs)]


def test_draws_stay_the_same():
    """The rule is fixed: these draws were made by the first version."""
    assert [drawn(seed=seed)["light"] for seed in range(6)] == [
        "lamp",
        "overcast",
        "sun",
        "overcast",
        "overcast",
        "sun",
    ]


@pytest.mark.parametrize("other", [{"digest": B}, {"look": "night"}])
def test_clip_and_look_draw_for_themselves(other):
    """Another clip or look has draws of its own, as has another seed."""
    here, there = many(LIGHT), many(LIGHT, **other)
    assert here == many(LIGHT)
    alike = sum(one == two for one, two in zip(here, there, strict=True))
    assert 0.28 < alike / len(here) < 0.38
    assert len({found["light"] for found in here}) == 3


def test_choice_draws_for_itself():
    """Another choice in the template changes no draw, and two choices do not go together."""
    both = LIGHT | {"surface": ("sun", "overcast", "lamp")}
    assert [found["light"] for found in many(both)] == [found["light"] for found in many(LIGHT)]
    pairs = Counter((found["light"], found["surface"]) for found in many(both))
    assert len(pairs) == 9
    assert min(pairs.values()) > RUNS / 9 * 0.75


def test_new_alternative_takes_its_share():
    """A new alternative changes only the draws that it wins; the order of alternatives does not count."""
    before = [found["light"] for found in many(LIGHT)]
    after = [found["light"] for found in many({"light": ("neon", "lamp", "sun", "overcast")})]
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(changed) == {"neon"}
    assert 0.21 < len(changed) / len(before) < 0.29


def test_repeated_alternative_weighs_more():
    found = Counter(one["light"] for one in many({"light": ("sun", "lamp", "sun", "sun")}))
    assert 0.71 < found["sun"] / RUNS < 0.79


def test_texts_share_their_choices():
    """A choice that is written twice is one choice, and its name alone stands for it, in any text."""
    texts = {
        "prompt": "{light: sun|lamp} on {surface}, {light: sun | lamp}, {stem}",
        "negative_prompt": "no {light}, {surface: oak|steel|oak}",
    }
    found = choices_in(texts)
    assert found == {"light": ("sun", "lamp"), "surface": ("oak", "steel", "oak")}
    assert looks_possible(found) == 4


BAD = {
    "no such choice": ("{light: sun|lamp} on {surfce}", "{surfce} is no variable; there are {stem}, "),
    "two of one name": ("{light: sun|lamp} {light: sun|moon}", "{light: sun|moon} has other alternatives than light"),
    "name of a variable": ("{date: today|tomorrow}", "{date: today|tomorrow} is no variable: date stands for the day"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_choices_that_do_not_go_together(text, words):
    with pytest.raises(BadText) as caught:
        choices_in({"prompt": "a", "negative_prompt": text})
    assert words in str(caught.value)
    assert caught.value.key == "negative_prompt"
    assert caught.value.todo
