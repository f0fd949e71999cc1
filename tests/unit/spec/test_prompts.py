import json
import os
import re

import pytest

from povwatch.config.settings import SpecDefaults
from povwatch.core.errors import ConfigError
from povwatch.core.layout import bases
from povwatch.spec.first import first_spec
from povwatch.spec.lint import lint
from povwatch.spec.model import DEFAULT_NEGATIVE_PROMPT
from povwatch.spec.parse import parse
from povwatch.spec.prompts import Template, load_templates
from povwatch.spec.variables import VARIABLES, Facts, names_in

OURS = {
    *("hand_manipulation", "driving", "placeholder", "kitchen", "workshop", "warehouse", "outdoor_walk", "robot_arm"),
    *(f"{place}_{when}" for place in ("outdoor_walk", "driving") for when in ("night", "rain", "snow", "fog")),
    *("kitchen_night", "kitchen_rain", "hand_manipulation_sampled", "lighting", "texture", "background", "objects"),
}

HANDS = (
    "A photorealistic video demonstration of precise hand movements and gestures. "
    "The scene features natural indoor lighting with soft shadows, capturing realistic "
    "skin tones and textures. The hands move smoothly and naturally, showcasing dexterity "
    "and coordination. The background is clean and well-lit, with professional video "
    "quality. Camera remains steady, focusing on the detailed hand motions."
)
DRIVING = (
    "A high-quality driving scene captured in a modern urban environment. The video "
    "features realistic road conditions, accurate vehicle dynamics, and natural outdoor "
    "lighting. Buildings and infrastructure have photorealistic textures. The scene "
    "includes proper shadows, reflections, and atmospheric perspective. Camera movement "
    "is smooth and stable."
)
"""The two that the project began with; people have compared their results with these."""


def spec_of(name=b"clip.mp4", base=b"clip", template=None, **controls):
    template = template or load_templates(None)["hand_manipulation"]
    facts = Facts(name, "2026-05-31", digest="d" * 64)
    return first_spec(SpecDefaults(controls=controls or {"edge": 1.0}), template, base, facts)


def test_shipped_templates():
    """The templates that ship have the agreed prompts and descriptions, and no variables in their prompts."""
    templates = load_templates(None)
    assert templates.keys() >= OURS
    assert templates["hand_manipulation"].prompt == HANDS
    assert templates["driving"].prompt == DRIVING
    for word in ("Scene", "Light", "Materials", "Motion", "Camera"):
        assert word in templates["placeholder"].prompt
    for template in templates.values():
        assert template.negative_prompt == DEFAULT_NEGATIVE_PROMPT
        assert template.description
        assert "\n" not in template.prompt
        assert "  " not in template.prompt
        assert not set(names_in(template.prompt)) & VARIABLES.keys()  # they are right for every clip of their kind


PRESETS = {
    "lighting": {"edge": (1.0, None), "vis": (0.2, None)},
    "texture": {"edge": (1.0, None)},
    "background": {"edge": (1.0, None), "seg": (0.4, ".controls/clip_background.mp4"), "vis": (0.6, None)},
    "objects": {"edge": (0.2, None), "seg": (1.0, ".controls/clip_objects.mp4"), "vis": (0.5, None)},
}
"""Weights and masks of NVIDIA's cookbook."""


@pytest.mark.parametrize(("name", "controls"), PRESETS.items(), ids=PRESETS)
def test_shipped_controls(name, controls):
    """The control presets have the cookbook's weights and masks, and make JSONs without a warning."""
    spec = parse(spec_of(template=load_templates(None)[name]), clip_name=b"clip.mp4", file="clip.json")
    found = {key: (control.control_weight, control.mask_path) for key, control in spec.controls.items()}
    assert found == controls
    assert lint(spec) == []
    assert spec.guidance == 3
    assert spec.povwatch.drawn
    assert spec.drawn() == spec.povwatch.drawn


def test_shipped_prompts_say_what_counts():
    """Each prompt that ships has light, camera, texture and motion in a few sentences."""
    for name, template in load_templates(None).items():
        if name == "placeholder":
            continue
        assert 2 <= len(re.findall(r"\.(?: |$)", template.prompt)) <= 5, name
        assert len(template.prompt) < 1000, name  # the text encoder takes 512 tokens
        said = template.prompt.lower()
        assert re.search(r"light|lamp|sun", said), name
        assert re.search(r"camera", said), name
        assert re.search(r"texture|surface|skin|metal|asphalt|steel", said), name
        assert re.search(r"mov|turn|walk|flow|fall", said), name


def test_own_folder_goes_first(tmp_path):
    """A folder of one's own adds templates, and its own go first."""
    (tmp_path / "my_kitchen.toml").write_text('prompt = "a kitchen"\n')
    (tmp_path / "driving.toml").write_text('prompt = "rain"\nnegative_prompt = "sun"\n')
    (tmp_path / "README").write_text("no template")
    (tmp_path / ".swp.toml").write_text("no template")
    templates = load_templates(tmp_path)
    assert templates["my_kitchen"] == Template("my_kitchen", "a kitchen", DEFAULT_NEGATIVE_PROMPT, "")
    assert templates["driving"].negative_prompt == "sun"
    assert templates.keys() == load_templates(None).keys() | {"my_kitchen"}
    assert load_templates(tmp_path / "missing").keys() == load_templates(None).keys()


BAD = {
    "syntax": (b'prompt = "a"\nprompt "b"\n', "line 2"),
    "unknown": (b'prompt = "a"\npromt = "b"\n', "promt"),
    "no prompt": (b'description = "a"\n', "prompt is missing"),
    "blank": (b'prompt = "a"\nnegative_prompt = " "\n', "negative_prompt"),
    "a number": (b"prompt = 3\n", "prompt"),
    "a variable": (
        b'prompt = "{stm} at work"\n',
        "prompt: {stm} is no variable; there are {stem}, {folder}, {date}, {duration}",
    ),
    "in the negative": (b'prompt = "a"\nnegative_prompt = "{}"\n', "line 2: negative_prompt: {} is no variable"),
    "reaching in": (b'prompt = "{stem.__class__}"\n', "{stem.__class__} is no variable"),
    "a format": (b'prompt = "{stem:>99999999}"\n', "{stem:>99999999} is no variable"),
    "a lone brace": (b'prompt = "a } b"\n', "line 1: prompt: a } has a closing brace that stands alone"),
    "an empty choice": (b'\nprompt = "{light: a|}"\n', "line 2: prompt: {light: a|} has an empty alternative"),
    "an unclosed choice": (b'prompt = "{light: a|b"\n', "line 1: prompt: {light: a|b is never closed"),
    "a nested choice": (b'prompt = "{light: a|{hour: b}}"\n', "line 1: prompt: {light: a|{ has another brace"),
    "an unnamed choice": (b'prompt = "{a|b}"\n', "line 1: prompt: {a|b} is a choice without a name"),
    "on many lines": (b'prompt = """\none\n{light: |a}"""\n', "line 3: prompt: {light: |a} has an empty"),
    "two of one name": (
        b'prompt = "{light: a|b}"\nnegative_prompt = "{light: a|c}"\n',
        "line 2: negative_prompt: {light: a|c} has other alternatives than light elsewhere in this template (a|b)",
    ),
    "a misspelt control": (b'prompt = "a"\nedges = 1.0\n', "line 2: edges is unknown"),
    "a control that is a number": (b'prompt = "a"\nedge = 1.0\n', "line 2: edge is no table"),
    "in a control": (b'prompt = "a"\n[edge]\ncontrol_wieght = 1\n', "line 3: edge.control_wieght is unknown"),
    "a weight": (b'prompt = "a"\n[vis]\ncontrol_weight = 1.5\n', "line 3: vis.control_weight is too large (found 1.5)"),
    "a weight in a line": (
        b'prompt = "a"\nvis = {control_weight = nan}\n',
        "line 2: vis.control_weight NaN is no number",
    ),
    "a date": (b'prompt = "a"\nguidance = 2026-05-31\n', "line 2: guidance is no whole number"),
    "a mask elsewhere": (b'prompt = "a"\n[seg]\nmask_path = "../{stem}.mp4"\n', "line 3: seg.mask_path leaves"),
    "two masks": (
        b'prompt = "a"\n[seg]\nmask_path = "m.mp4"\nmask_prompt = "{thing: cup|pan}"\n',
        "line 4: seg.mask_prompt is set together with mask_path",
    ),
    "in a control's text": (b'prompt = "a"\n[seg]\nmask_path = "{stm}.mp4"\n', "line 3: seg.mask_path: {stm} is no"),
    "labels": (b'prompt = "a"\nguided_generation_foreground_labels = ["a"]\n', "line 2: guided_generation_foreground"),
    "encoding": (b'prompt = "\xe9"\n', "UTF-8"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD)
def test_bad_template_names_its_file(tmp_path, data, words):
    (tmp_path / "mine.toml").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_templates(tmp_path)
    assert words in caught.value.what
    assert "mine.toml" in caught.value.what
    assert caught.value.todo


def test_file_is_no_folder_of_templates(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(ConfigError):
        load_templates(tmp_path / "f")


def test_first_json_has_the_seeds_shape():
    """The first JSON has the agreed fields, order and formatting."""
    data = spec_of()
    assert data.decode() == json.dumps(json.loads(data), indent=2, ensure_ascii=False) + "\n"
    loaded = json.loads(data)
    assert list(loaded) == ["name", "video_path", "prompt", "negative_prompt", "seed", "guidance", "edge"]
    assert loaded["name"] == "clip"
    assert loaded["video_path"] == "clip.mp4"
    assert (loaded["seed"], loaded["guidance"], loaded["edge"]) == (0, 3, {"control_weight": 1.0})


NAMES = [
    b"clip.mp4",
    b"clip.MOV",
    b"a b'c\"d\\e.mp4",
    b"line\nbreak\x1b[2J.mp4",
    "\U0001f600\u202e.mp4".encode(),
    b"\xff\xfe.mp4",
    b"x" * 251 + b".mp4",
    "e\u0301.mp4".encode(),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("template", ["hand_manipulation", "driving", "placeholder"])
def test_first_json_fits_any_name(name, template):
    """The first JSON of a clip of any name is valid, without a warning, and printable."""
    data = spec_of(name, next(bases(name)), load_templates(None)[template], edge=0.5, vis=0.5)
    spec = parse(data, clip_name=name, file="clip.json")
    assert lint(spec) == []
    assert list(spec.controls) == ["edge", "vis"]
    assert os.fsencode(json.loads(data)["video_path"]) == name
    assert data.decode().replace("\n", "").isprintable()


def test_prompt_in_any_language_is_readable():
    data = spec_of(template=Template("t", 'Hände "nah"\n手'))
    assert "Hände" in data.decode()
    assert parse(data, clip_name=b"clip.mp4", file="f").prompt == 'Hände "nah"\n手'
