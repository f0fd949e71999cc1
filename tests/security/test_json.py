"""JSON files made to hurt: each gets a verdict in a few printable lines, however much is wrong with it."""

from __future__ import annotations

import os

import pytest
from support.spec_texts import CLIP

from povwatch.core.errors import SpecInvalid
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.parse import SIZE_MAX, parse
from povwatch.spec.problems import explain

BASE = '{"name": "clip", "video_path": "clip.mp4", "prompt": "hands", "edge": {}'

BOMBS = {
    "5,900 equal keys": BASE + ', "prompt": 1' * 5000 + "}",
    "8,000 equal keys in as many lines": BASE + ',\n"a":1' * 8000 + "}",
    "6,000 unknown keys": BASE + "".join(f',"k{n}":1' for n in range(6000)) + "}",
    "an endless key": BASE + ',"' + "control_weight" * 4600 + '":1}',
    "30,000 list items of a wrong kind": BASE + ',"guided_generation_foreground_labels":[' + '"",' * 20000 + "1]}",
    "halves of characters": BASE + ',"negative_prompt":"' + "\\ud800" * 10000 + '"}',
    "keys of halves": BASE + "".join(f',"\\ud800{n}":1' for n in range(4000)) + "}",
    "an endless whole number": BASE + ',"seed":' + "9" * 65000 + "}",
    "an endless exponent": BASE + ',"seed":1e' + "9" * 65000 + "}",
    "objects within objects": '{"a":' * 13000,
    "lists within lists": "[" * 65000,
    "not a number": BASE + ',"seed":NaN}',
    "infinite": BASE + ',"guidance":-Infinity}',
    "a text without end": BASE + ',"prompt":"' + "a" * 65000,
    "backslashes": BASE + ',"prompt":"' + "\\\\" * 32000,
    "a path of dots": '{"name": "clip", "video_path":"' + "./" * 32000 + 'clip.mp4"}',
    "escapes": BASE + ',"\\u001b[2J\\u202e\\u0000":"\\u009b31m"}',
    "larger than any": BASE + " " * SIZE_MAX + "}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bomb_is_told_in_a_few_lines(bomb):
    """A JSON that is made to hurt is refused in a short, printable text."""
    with pytest.raises(SpecInvalid) as caught:
        parse(bomb.encode()[: SIZE_MAX + 1], clip_name=CLIP, file="clip.json")
    text = explain(caught.value)
    assert len(text) < 40_000
    assert len(str(caught.value)) < 1000
    assert all(line.isprintable() for line in text.splitlines())


def judge(inputs, data):
    """As the daemon does."""
    InputsFolder(inputs).check_references(parse(data, clip_name=CLIP, file="clip.json"), b"clip.json", data)


PATHS = {
    "up": "../c.mp4",
    "up and down": "masks/../../c.mp4",
    "absolute": "/etc/passwd",
    "home": "~/c.mp4",
    "null": "c\\u0000.mp4",
    "itself": ".",
    "nothing": "",
    "half a character": "c\\udcff.mp4",
    "far too long": "a/" * 3000 + "c.mp4",
    "a name far too long": "a" * 300,
    "a device": "dev/null",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("field", ["control_path", "mask_path", "image_context_path", "prompt_path"])
def test_path_that_leads_out_is_refused(tmp_path, field, path):
    """A path that leads out of inputs/ or nowhere is refused under its field's name, with what to do."""
    (tmp_path / "inputs" / "dev").mkdir(parents=True)
    (tmp_path / "c.mp4").write_bytes(b"x")
    (tmp_path / "inputs" / "dev" / "null").symlink_to("/dev/null")
    named = f'"{field}": "{path}"'
    data = f'{{"name": "clip", "video_path": "clip.mp4", "prompt": "x", "edge": {{}}, {named}}}'
    if field in {"control_path", "mask_path"}:
        data = f'{{"name": "clip", "video_path": "clip.mp4", "prompt": "x", "edge": {{{named}}}}}'
    elif field == "prompt_path":
        data = f'{{"name": "clip", "video_path": "clip.mp4", "edge": {{}}, {named}}}'
    with pytest.raises(SpecInvalid) as caught:
        judge(tmp_path / "inputs", data.encode())
    (problem,) = caught.value.problems
    assert problem.field.endswith(field)
    assert problem.todo


@pytest.mark.skipif(os.getuid() != 0, reason="makes a device, which takes root")
@pytest.mark.parametrize("field", ["control_path", "mask_path"])
def test_device_is_not_read(tmp_path, field):
    """A device where a control video should be is refused and not read."""
    os.mknod(tmp_path / "c.mp4", 0o020600, os.makedev(1, 5))  # /dev/zero
    data = f'{{"name": "clip", "video_path": "clip.mp4", "prompt": "x", "edge": {{"{field}": "c.mp4"}}}}'.encode()
    with pytest.raises(SpecInvalid, match="a FIFO or a device"):
        judge(tmp_path, data)
