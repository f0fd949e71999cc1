"""The first JSON: which template, and what its variables become."""

import json

import pytest

from povwatch.config.settings import SpecDefaults
from povwatch.spec.first import choose, first_spec, folder_of, needs_duration
from povwatch.spec.prompts import Template
from povwatch.spec.variables import Facts, filled, spoken

FACTS = Facts(b"kitchen/first floor/a.b.mp4", "2026-05-31", 12.3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{stem}", "a.b"),
        ("in {folder} on {date}", "in kitchen/first floor on 2026-05-31"),
        ("{duration} of {stem}, {stem}", "12 seconds of a.b, a.b"),
        ("{{stem}} {{", "{stem} {"),
        ("nothing", "nothing"),
    ],
)
def test_variables_are_filled_in(text, found):
    assert filled(text, FACTS) == found


def test_clip_name_is_no_template():
    """A clip's name is not read as a template, and is printable."""
    facts = Facts(b"{date}/{stem}\n\xff.mp4", "2026-05-31")
    assert filled("{stem} in {folder}", facts) == r"{stem}\n\xff in {date}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "1 second"),
        (1.4, "1 second"),
        (12.3, "12 seconds"),
        (60, "1 minute"),
        (61, "1 minute 1 second"),
        (3599.7, "1 hour"),
        (7265, "2 hours 1 minute"),
    ],
)
def test_durations_as_in_a_sentence(seconds, said):
    assert spoken(seconds) == said


TEMPLATES = {
    "plain": Template("plain", "plain", "not that"),
    "timed": Template("timed", "{duration} of it", "not {stem}"),
}
DEFAULTS = SpecDefaults.model_validate(
    {
        "template": "plain",
        "folders": {
            "kitchen/**": {"negative_prompt": "no people in {folder}"},
            "cars": "timed",
            "cars/**": {"template": "timed", "negative_prompt": "no rain"},
        },
    }
)


@pytest.mark.parametrize(
    ("clip", "template", "negative"),
    [
        (b"a.mp4", "plain", "not that"),
        (b"kitchen/x/a.mp4", "plain", "no people in {folder}"),
        (b"cars/a.mp4", "timed", "not {stem}"),
        (b"cars/red/a.mp4", "timed", "no rain"),
    ],
)
def test_folder_has_its_own_template(clip, template, negative):
    """A folder has a template and a negative prompt of its own; the nearest folder counts."""
    chosen = choose(DEFAULTS, TEMPLATES, clip)
    assert (chosen.name, chosen.negative_prompt) == (template, negative)
    asked = choose(DEFAULTS, TEMPLATES, clip, template="plain")
    assert asked.name == "plain"
    assert (asked.negative_prompt == "no rain") == (clip == b"cars/red/a.mp4")


def test_folder_without_a_rule():
    """A folder without a rule has neither."""
    assert folder_of(DEFAULTS, b"else/a.mp4").model_dump() == {"template": "", "negative_prompt": ""}


def test_json_has_them_filled_in():
    """The first JSON has its template's variables filled in."""
    chosen = choose(DEFAULTS, TEMPLATES, b"cars/a.mp4")
    assert needs_duration(chosen)
    assert not needs_duration(TEMPLATES["plain"])
    data = json.loads(first_spec(DEFAULTS, chosen, b"a", Facts(b"cars/a.mp4", "2026-05-31", 61)))
    assert (data["name"], data["prompt"], data["negative_prompt"]) == ("a", "1 minute 1 second of it", "not a")


def test_wrong_shape_of_a_folder_is_refused():
    """A folder's rule is a template's name or a table."""
    with pytest.raises(ValueError, match="a template's name"):
        SpecDefaults.model_validate({"folders": {"a": 3}})
    with pytest.raises(ValueError, match="negative"):
        SpecDefaults.model_validate({"folders": {"a": {"negative": "x"}}})
