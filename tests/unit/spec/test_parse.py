import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spec_texts import CLIP, members, text

from povwatch.core.errors import Problem, SpecInvalid
from povwatch.spec.model import Spec
from povwatch.spec.parse import SIZE_MAX, as_json, located, parse
from povwatch.spec.problems import explain
from povwatch.spec.reader import Malformed, read

BASE = """{
  "name": "clip",
  "video_path": "clip.mp4",
  "prompt": "hands",
  "edge": {
    "control_weight": 1.0
  }%s
}"""


def problems(data, clip=CLIP):
    with pytest.raises(SpecInvalid) as caught:
        parse(data if isinstance(data, bytes) else data.encode(), clip_name=clip, file="clip.json")
    assert caught.value.problems
    explain(caught.value)
    return caught.value.problems


def test_valid_spec():
    """A valid JSON is a spec with its controls and our own options."""
    spec = parse((BASE % ', "povwatch": {"start": "now"}').encode(), clip_name=CLIP, file="clip.json")
    assert spec.povwatch.start == "now"
    assert list(spec.controls) == ["edge"]


# What is wrong, the field, its line and column, and a word of the advice.
FIELDS = {
    "too large": (',\n  "depth": {"control_weight": 1.7}', "depth.control_weight", (8, 31), "from 0 to 1"),
    "unknown": (',\n  "gudance": 3', "gudance", (8, 3), '"guidance"'),
    "blur": (',\n  "blur": {}', "blur", (8, 3), '"vis"'),
    "steps": (',\n  "steps": 3', "steps", (8, 3), '"num_steps"'),
    "cfg": (',\n  "cfg": 3', "cfg", (8, 3), '"guidance"'),
    "strength": (',\n  "vis": {"strength": 1}', "vis.strength", (8, 11), '"control_weight"'),
    "prompt in a control": (',\n  "seg": {"prompt": "x"}', "seg.prompt", (8, 11), '"control_prompt"'),
    "misspelled in a control": (',\n  "vis": {"control_wieght": 1}', "vis.control_wieght", (8, 11), '"control_weight"'),
    "weight outside": (',\n  "control_weight": 1', "control_weight", (8, 3), 'into a control: "edge"'),
    "seed inside": (',\n  "vis": {"seed": 1}', "vis.seed", (8, 11), "top level"),
    "priority outside": (',\n  "priority": 1', "priority", (8, 3), '"povwatch"'),
    "like nothing": (',\n  "xyzzy": 1', "xyzzy", (8, 3), "negative_prompt"),
    "no quotes": (',\n  "resolution": 720', "resolution", (8, 17), '"720"'),
    "allowed values": (',\n  "resolution": "540"', "resolution", (8, 17), '"720robocasa"'),
    "chunk": (',\n  "num_video_frames_per_chunk": 61', "num_video_frames_per_chunk", (8, 33), "93, 1"),
    "whole number": (',\n  "guidance": 3.5', "guidance", (8, 15), "whole number from 0 to 7"),
    "object": (',\n  "seg": true', "seg", (8, 10), '"seg": {}'),
    "kept from elsewhere": (',\n  "povwatch": {"keep": "../b.mp4"}', "povwatch.keep", (8, 24), "folder in outputs/"),
    "kept as what is not set": (
        ',\n  "povwatch": {"keep": "b.mp4", "keep_as": "vis"}',
        "povwatch.keep_as",
        (8, 44),
        '"vis": {}',
    ),
    "kept twice": (
        ',\n  "guided_generation_mask": "m.mp4", "povwatch": {"keep": "b.mp4"}',
        "povwatch.keep",
        (8, 59),
        "Keep one",
    ),
    "in a list": (
        ',\n  "guided_generation_foreground_labels": [1, "x"]',
        "guided_generation_foreground_labels.1",
        (8, 46),
        "whole number",
    ),
    "twice": (',\n  "prompt": "feet"', "prompt", (8, 3), "line 4"),
    "NaN": (',\n  "seed": NaN', "seed", (8, 11), "number"),
    "minus infinity": (',\n  "seed": -Infinity', "seed", (8, 11), "number"),
    "infinite": (',\n  "seed": 1e999', "seed", (8, 11), "smaller"),
    "5,000 digits": (f',\n  "seed": {"9" * 5000}', "seed", (8, 11), "smaller"),
    "half a character": (',\n  "negative_prompt": "\\ud83d"', "negative_prompt", (8, 22), "\\ud"),
    "drawn that is a text": (',\n  "povwatch": {"drawn": "lamp"}', "povwatch.drawn", (8, 25), "an object"),
    "drawn number": (',\n  "povwatch": {"drawn": {"light": 3}}', "povwatch.drawn.light", (8, 35), "a text"),
    "two prompts": (',\n  "prompt_path": "p.txt"', "prompt_path", (8, 18), "one of the two"),
    "two masks": (',\n  "vis": {"mask_path": "m", "mask_prompt": "x"}', "vis.mask_prompt", (8, 44), "mask_path if"),
    "behind wide characters": (',\n  "negative_prompt": "手手", "sede": 1', "sede", (8, 28), '"seed"'),
    "Windows lines": (',\r\n\r\n  "sede": 1', "sede", (9, 3), '"seed"'),
    "old Macintosh lines": (',\r\r  "sede": 1', "sede", (9, 3), '"seed"'),
}


@pytest.mark.parametrize(("added", "field", "place", "advice"), FIELDS.values(), ids=FIELDS)
def test_field_has_its_place_and_remedy(added, field, place, advice):
    """A wrong field is told with line, column and what to write."""
    (problem,) = problems(BASE % added)
    assert (problem.field, (problem.line, problem.column)) == (field, place)
    assert advice in problem.todo


# The text, where it is wrong, and a word of what is said.
SLIPS = {
    "trailing comma": (BASE % ",", (7, 4), "comma"),
    "trailing comma in a list": ('{"a": [1,]}', (1, 9), "comma"),
    "single quotes": ("{'a': 1}", (1, 2), "single quotes"),
    "smart quotes": ("{\u201ca\u201d: 1}", (1, 2), "typographic"),
    "comment": ('{\n  // why\n  "a": 1}', (2, 3), "comment"),
    "comment behind": ('{"a": 1 # why\n}', (1, 9), "comment"),
    "no comma": ('{\n"a": "b"\n"c": 1}', (2, 8), "comma is missing"),
    "decimal comma": ('{"a": 0,5}', (1, 8), "point"),
    "no leading digit": ('{"a": .5}', (1, 7), "0.5"),
    "leading zero": ('{"a": 01}', (1, 7), "begins with 0"),
    "Python's words": ('{"a": True}', (1, 7), "true"),
    "no quotes": ("{a: 1}", (1, 2), '"a"'),
    "no quotes at a value": ('{"a": low}', (1, 7), '"low"'),
    "equals sign": ('{"a" = 1}', (1, 6), "colon"),
    "backslash": ('{"a": "C:\\data"}', (1, 10), "backslash"),
    "open text": ('{"a": "b}', (1, 7), "never closed"),
    "line break in a text": ('{"a": "b\n"}', (1, 9), "line break"),
    "cut short": ('{"a": ', (1, 6), "too early"),
    "cut at the end of a line": ('{\n "a": 1,\n\n', (2, 9), "too early"),
    "cut in a list": ('{"a": [1', (1, 9), "too early"),
    "two specs": ("{}\n{}", (2, 1), "follows"),
    "no-break space": ('{"a":\u00a01}', (1, 6), "U+00A0"),
    "no value": ('{"a": }', (1, 7), "missing"),
    "empty": ("", (1, 1), "empty"),
    "blank": (" \n ", (1, 1), "empty"),
    "a list": ("[]", (1, 1), "no object"),
    "17 deep": ('{"a":' * 17, (1, 81), "16 deep"),
    "30,000 deep": ("[" * 30_000, (1, 17), "16 deep"),
    "not UTF-8": (b'{\n "a": "\xe9"}', (2, 8), "0xe9"),
    "wrong bracket": ('{"a": [1}', (1, 9), "another bracket"),
}


@pytest.mark.parametrize(("data", "place", "word"), SLIPS.values(), ids=SLIPS)
def test_slip_has_its_place(data, place, word):
    """A slip of the pen in the JSON is told with line and column."""
    (problem,) = problems(data)
    assert (problem.line, problem.column) == place
    assert word in f"{problem.message} {problem.todo}"


def test_file_as_a_whole():
    """A file that is too large or in another encoding is told as a whole."""
    (problem,) = problems(b" " * (SIZE_MAX + 1))
    assert (problem.line, problem.source) == (0, "")
    assert "65,536" in problem.message
    assert "UTF-16" in problems("{}".encode("utf-16"))[0].message


def test_byte_order_mark_does_not_matter():
    """A byte order mark is ignored, in columns too."""
    spec = parse(b"\xef\xbb\xbf" + text(), clip_name=CLIP, file="clip.json")
    assert spec.name == "clip"
    assert problems(b'\xef\xbb\xbf{"a" 1}')[0].column == 6
    assert problems(b'\xef\xbb\xbf{"a": "\xe9"}')[0].column == 8


def test_problems_in_the_files_order():
    """All problems are told, in the file's order."""
    found = problems(BASE % ', "sede": 1, "guidance": 9, "name": "again"')
    assert [problem.field for problem in found] == ["sede", "guidance", "name"]


def test_missing_fields():
    """A field that is missing is told with what to add."""
    found = {problem.field: problem for problem in problems(b'{"edge": {}, "prompt": "x"}')}
    assert found.keys() == {"name", "video_path"}
    assert found["video_path"].todo == 'Add "video_path": "clip.mp4"'


@pytest.mark.parametrize("named", ["other.mp4", "Clip.mp4", "clip.mp4 ", "clip", "./other.mp4"])
def test_copied_spec_is_noticed(named):
    """A JSON that was copied from another clip is told as such."""
    (problem,) = problems(text(video_path=named))
    assert problem.field == "video_path"
    assert '"clip.mp4"' in problem.todo
    assert "another clip" in problem.message


NAMES = [
    b"a b.mp4",
    b'q"\\.mp4',
    b"line\nbreak.mp4",
    "\U0001f600.mp4".encode(),
    b"\xff\xfe.mp4",
    b"caf\xc3\xa9\xc3.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_named(name):
    """A clip of any name can be named in its JSON."""
    data = text().replace(b'"clip.mp4"', as_json(name).encode())
    spec = parse(data, clip_name=name, file="clip.json")
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert problems(data, clip=b"x" + name)[0].field == "video_path"


def test_letters_that_look_the_same():
    """Letters that only look the same are told."""
    (problem,) = problems(text(video_path="caf\u00e9.mp4"), clip="cafe\u0301.mp4".encode())
    assert "look the same" in problem.message
    assert "cafe\\u0301.mp4" in problem.todo


def test_error_file_shows_the_place():
    """The error file shows the line, the place, what was found and what to write."""
    with pytest.raises(SpecInvalid) as caught:
        parse((BASE % ',\n\t"seg": {"control_weight": 1.7}').encode(), clip_name=CLIP, file="clip.json")
    lines = explain(caught.value).splitlines()
    assert lines[0] == "clip.json cannot be run as it stands: one thing to put right."
    assert "line 8, column 28:" in lines
    source, caret = lines[lines.index("line 8, column 28:") + 1 :][:2]
    assert source[caret.index("^") :] == "1.7}"
    assert "  Found: 1.7" in lines
    assert "  Write a number from 0 to 1." in lines
    assert lines[-1] == "  Write a number from 0 to 1."
    assert "clip.json, line 8, column 28: seg.control_weight is too large (found 1.7)." in str(caught.value)


def test_place_in_a_long_line_is_in_view():
    data = text(prompt="x" * 5000).replace(b'"edge"', b'"sede": 1, "edge"').replace(b"\n", b"")
    with pytest.raises(SpecInvalid) as caught:
        parse(data, clip_name=CLIP, file="clip.json")
    source, caret = explain(caught.value).splitlines()[3:5]
    assert len(source) < 120
    assert source[caret.index("^") :].startswith('"sede"')


def test_no_name_can_forge_a_line():
    with pytest.raises(SpecInvalid) as caught:
        parse(text(**{"a\n\x1b[2Jb": 1}), clip_name=CLIP, file="clip.json")
    told = explain(caught.value) + str(caught.value)
    assert "\x1b" not in told
    assert "a\n" not in told


def test_problem_is_put_where_its_field_is():
    """A problem is put where its field stands, or where it is missing."""
    data = (BASE % ',\n  "seg": {"mask_path": "m.mp4"}').encode()
    place = located(data, Problem("is no mask", field="seg.mask_path"))
    assert (place.line, place.column, place.found) == (8, 24, '"m.mp4"')
    assert place.sentence == "seg.mask_path is no mask."
    missing = located(data, Problem("is missing", "Add it.", "seg.control_path"))
    assert (missing.line, missing.column, missing.found) == (8, 10, "")
    assert (missing.field, missing.todo) == ("seg.control_path", "Add it.")
    for field in ("vis.mask_path", "max_frames", ""):
        nowhere = Problem("is missing", field=field)
        assert located(data, nowhere) == nowhere
    assert located(b"{", missing) == missing


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
layouts = st.sampled_from([None, 0, 2, "\t"])


@given(json_values, layouts, st.booleans())
def test_reader_reads_what_json_reads(value, indent, plain):
    """The reader reads what the standard library reads, and knows every place."""
    written = json.dumps(value, indent=indent, ensure_ascii=plain)
    document = read(written)
    assert document.value == value
    assert not document.faults
    for path, at in document.values.items():
        there, _ = json.JSONDecoder().raw_decode(written, at)
        expected = value
        for step in path:
            expected = expected[step]
        assert there == expected
    for path, at in document.keys.items():
        assert json.JSONDecoder().raw_decode(written, at)[0] == path[-1]


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u/x\n', max_size=24))
def test_reader_refuses_what_json_refuses(written):
    """The reader refuses what the standard library refuses."""
    try:
        expected = json.loads(written)
    except ValueError:
        with pytest.raises(Malformed):
            read(written)
        return
    document = read(written)
    assert document.faults or document.value == expected
    assert type(document.value) is type(expected) or document.faults


@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_anything_else_is_invalid(data):
    """Any other bytes are invalid, and nothing worse."""
    problems(data)


spec_members = st.dictionaries(st.sampled_from(list(Spec.model_json_schema()["properties"])), json_values)


@settings(max_examples=200)
@given(spec_members, st.data())
def test_any_members_are_valid_or_invalid(changes, data):
    """Any members are a spec or invalid, and cut at any byte as well."""
    written = json.dumps(members() | changes).encode()
    try:
        spec = parse(written, clip_name=CLIP, file="clip.json")
    except SpecInvalid:
        problems(written)
    else:
        assert Spec.model_validate_json(spec.model_dump_json()) == spec
    problems(written[: data.draw(st.integers(0, len(written) - 1))])


@given(st.permutations(list(members())), layouts, st.booleans())
def test_formatting_is_no_new_run(order, indent, plain):
    """The order of keys and the whitespace do not change the digest."""
    shuffled = {key: members()[key] for key in order}
    written = json.dumps(shuffled, indent=indent, ensure_ascii=plain).encode()
    assert parse(written, clip_name=CLIP, file="f").digest() == parse(text(), clip_name=CLIP, file="f").digest()


@given(st.floats(0, 1))
def test_weight_is_what_was_written(weight):
    spec = parse(text(edge={"control_weight": weight}), clip_name=CLIP, file="f")
    assert math.isclose(spec.edge.control_weight, weight, abs_tol=0)
