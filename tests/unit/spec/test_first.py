"""The first JSON: which template, and what its variables become."""

import json

import pytest

from povwatch.config.settings import FolderDefaults, SpecDefaults
from povwatch.core.errors import ConfigError
from povwatch.spec.choices import draw
from povwatch.spec.first import choose, first_spec, folder_of, merged, needs_digest, needs_duration
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
    assert folder_of(DEFAULTS, b"else/a.mp4") == FolderDefaults()


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


SAMPLED = Template(
    "sampled",
    "{light: sun|lamp|moon} on {surface: oak|steel}, {stem}",
    "no {light}",
    settings={"guidance": 5},
    controls={"seg": {"control_weight": 0.4, "mask_path": ".controls/{stem}.mp4", "control_prompt": "{surface}"}},
)
CLIP = Facts(b"cars/a.mp4", "2026-05-31", digest="a" * 64)


def made(defaults=DEFAULTS, template=SAMPLED, facts=CLIP, **of):
    return json.loads(first_spec(defaults, template, b"a", facts, **of))


def test_json_has_what_was_drawn():
    """The JSON has the drawn words in every text, and below povwatch what was drawn."""
    data = made()
    drawn = data["povwatch"]["drawn"]
    assert drawn == draw(SAMPLED.choices, seed=0, digest="a" * 64, look="")
    assert data["prompt"] == f"{drawn['light']} on {drawn['surface']}, a"
    assert data["negative_prompt"] == f"no {drawn['light']}"
    assert data["guidance"] == 5
    assert data["seg"] == {"control_weight": 0.4, "mask_path": ".controls/a.mp4", "control_prompt": drawn["surface"]}
    assert "edge" not in data
    assert list(made(template=TEMPLATES["plain"]))[-1] == "edge"  # and nothing below povwatch where nothing is drawn


def test_json_has_what_is_kept():
    """spec.keep is in every new JSON, beside what was drawn, unless the template says itself what is kept."""
    keeps = DEFAULTS.model_copy(update={"keep": "hands.mp4", "dilate": 5})
    kept = {"keep": "hands.mp4", "dilate": 5}
    assert made(keeps, TEMPLATES["plain"])["povwatch"] == kept
    assert made(keeps)["povwatch"] == kept | {"drawn": made()["povwatch"]["drawn"]}
    masked = Template("masked", "hands", "feet", settings={"guided_generation_mask": "m.mp4"})
    assert "povwatch" not in made(keeps, masked)
    with pytest.raises(ValueError, match=r"leaves the clip's folder in outputs/ by '\.\.'"):
        SpecDefaults(keep="../hands.mp4")


def test_looks_draw_for_themselves():
    """A look's draws depend on its name and seed, and on no other look."""
    looks = {(look, seed): made(look=look, seed=seed) for look in ("", "night", "rain") for seed in range(4)}
    assert len({data["prompt"] for data in looks.values()}) > 3
    assert looks["night", 2] == made(look="night", changes={"seed": 2})
    assert looks["night", 2]["seed"] == 2


def test_changes_go_over_the_template():
    """Changed fields replace the template's, objects are merged, and None takes a field out."""
    changes = {"guidance": 4, "seg": {"control_weight": 0.5}, "edge": {}, "povwatch": {"start": "hold"}}
    data, plain = made(changes=changes), made()
    assert data["guidance"] == 4
    assert data["seg"] == plain["seg"] | {"control_weight": 0.5}
    assert data["edge"] == {}
    assert data["povwatch"] == plain["povwatch"] | {"start": "hold"}
    assert "seg" not in made(changes={"seg": None, "edge": {}})


def test_draws_need_the_clip():
    """A template with choices needs the clip's digest, and says so."""
    assert needs_digest(SAMPLED)
    assert not needs_digest(TEMPLATES["timed"])
    with pytest.raises(ValueError, match="sampled has choices"):
        made(facts=FACTS)


def test_folder_shares_the_choices():
    """A folder's negative prompt shares the choices of the template; where it cannot, the template is refused."""
    defaults = SpecDefaults.model_validate(
        {"template": "sampled", "folders": {"cars": {"negative_prompt": "no {light}"}}}
    )
    templates = TEMPLATES | {"sampled": SAMPLED}
    data = made(template=choose(defaults, templates, b"cars/a.mp4"))
    assert data["negative_prompt"] == f"no {data['povwatch']['drawn']['light']}"
    with pytest.raises(ConfigError, match=r"plain does not go with .* of cars: negative_prompt: \{light\} is no"):
        choose(defaults, templates, b"cars/a.mp4", template="plain")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"guidance": None, "seed": None}, {"edge": {"control_weight": 1.0}}),
        ({"edge": {"control_weight": None}}, {"guidance": 3, "edge": {}}),
        ({"edge": {"mask_path": "m.mp4"}}, {"guidance": 3, "edge": {"control_weight": 1.0, "mask_path": "m.mp4"}}),
        ({"edge": None, "vis": {}}, {"guidance": 3, "vis": {}}),
        ({"vis": {"control_weight": None}}, {"guidance": 3, "edge": {"control_weight": 1.0}}),
    ],
)
def test_merged(changes, found):
    """Changes are merged into a JSON's fields, and null takes a field out, also from an object."""
    assert merged({"guidance": 3, "edge": {"control_weight": 1.0}}, changes) == found
