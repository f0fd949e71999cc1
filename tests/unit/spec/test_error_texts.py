"""Every error file that povwatch can write, made from the sources and read as somebody does who has only the folder."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from support.sources import files, name_of, parsed

from povwatch.core import errors
from povwatch.engines.annotate import child as annotate
from povwatch.media import child
from povwatch.media import errors as media_errors
from povwatch.media.errors import STEPS
from povwatch.spec.error_texts import AGAIN, HERE, OF_A_LOOK, WORDS, Case, Files, error_text
from povwatch.spec.parse import parse
from povwatch.spec.problems import explain

CLIP = Files("my clip.mp4", "my clip.json", "my clip.go", own=True)
LOOK = Files("my clip.mp4", "my clip.night.json", "my clip.night.go", own=False)

FATAL = (errors.AttemptFailed, errors.FinishFailed, errors.Permanent)
"""What may end a clip, and so get an error file."""

NOT_FOR_PEOPLE = {
    "results/sealing.py",  # a run that is not there any more; it ends in a retry
    "media/score.py",  # a score that fails costs no clip
    "media/measure.py",  # of files that a JSON names: their problems are in the JSON's error file
}

JARGON = re.compile(
    r"\b(NoneType|errno|strerror|stdout|stderr|Traceback|self|ffmpeg|libav|rc|argv|pid)\b", re.IGNORECASE
)
"""What nobody has to understand who has only the folder."""

INSTRUCTION = re.compile(
    r"^(- )?(Or )?(Change|Copy|Put|Delete|Give|Nothing here|If you cannot|An empty file)\b", re.IGNORECASE
)


def rendered(node):
    """The text of a literal, with a word in the place of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
    return ""


def kinds():
    """The names of the errors that may end a clip."""
    found = {**vars(errors), **vars(media_errors)}
    return {name for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, FATAL)}


@cache
def raised():
    """Every such error in the sources whose text is written there: its place, its class, what and todo."""
    wanted = kinds()
    return [
        (
            f"{name_of(file)}:{node.lineno}",
            name,
            rendered(node.args[0]),
            rendered(node.args[1]) if node.args[1:] else "",
        )
        for file in files()
        if name_of(file) not in NOT_FOR_PEOPLE and any(f"{kind}(" in file.read_text() for kind in wanted)
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Call)
        and (name := getattr(node.func, "id", getattr(node.func, "attr", ""))) in wanted
        and node.args
        and rendered(node.args[0])
    ]


def case_of(name):
    return {"NotAVideo": Case.NO_VIDEO, "TooLarge": Case.NO_VIDEO, "Blocked": Case.BLOCKED}.get(name, Case.FAILED)


def parts(text):
    """The paragraphs of a file by their headings; the first two have none."""
    happened, what, *others = text.rstrip("\n").split("\n\n")
    found = {"happened": happened, "what": what}
    for paragraph in others:
        heading, _, rest = paragraph.partition("\n")
        found[heading] = rest
    return found


def test_every_childs_step_has_its_words():
    assert set(STEPS) == {*child.OPERATIONS, *annotate.OPERATIONS}


def test_most_errors_are_found():
    assert len(raised()) > 50
    assert {"media/probe.py", "hooks/run.py", "media/check.py"} <= {place.partition(":")[0] for place, *_ in raised()}


@pytest.mark.parametrize("files_", [CLIP, LOOK])
def test_every_error_file_has_its_form(files_):
    """What happened, what helps, what can be done here, and when povwatch looks again: each in plain words."""
    for place, name, what, todo in raised():
        text = error_text(case_of(name), files_, what, todo, rescan=30.0)
        found = parts(text)
        one_look = files_ is LOOK and case_of(name) in OF_A_LOOK
        subject = "my clip.night.json, a look of my clip.mp4, " if one_look else "my clip.mp4 "
        assert found["happened"].startswith(subject), place
        assert found["what"] == what, place
        assert not JARGON.search(text), (place, JARGON.search(text))
        here = found["What you can do here, in this folder:"].splitlines()
        assert here, place
        assert all(INSTRUCTION.match(line) for line in here), (place, here)
        assert "within 30 s" in found["When povwatch looks again:"], place
        assert "This file goes away by itself when that is fixed." in found, place
        for word in WORDS:
            said = re.search(rf"\b{word}s?\b", f"{found['happened']} {what} {todo}")
            assert bool(said) == (f"- {word}: " in found.get("Words:", "")), (place, word)


@pytest.mark.parametrize("case", Case)
def test_case_says_what_to_do_here(case):
    """No line of it needs a terminal, and every name in it is one of a file in the folder."""
    for own in (CLIP, LOOK):
        text = error_text(case, own, "It happened.", "", rescan=5.0)
        here = parts(text)["What you can do here, in this folder:"]
        assert not re.search(r"povwatch|sudo|[{}]", here.replace("after povwatch", "").replace("povwatch then", "")), (
            here
        )
        assert set(re.findall(r"my clip[\w. ]*?\.(?:mp4|json|go)\b", here)) <= {own.clip, own.spec, own.go}
        assert "within 5.0 s" in text
        assert case in HERE


def test_look_is_not_told_to_copy_the_clip():
    """That would run all looks of the clip again."""
    assert "Copy my clip.mp4" in (clip := error_text(Case.FAILED, CLIP, "No.", "", rescan=5.0)).replace("copy", "Copy")
    assert "copy" not in (look := error_text(Case.FAILED, LOOK, "No.", "", rescan=5.0))
    assert look.startswith("my clip.night.json, a look of my clip.mp4, failed: no new video was made of it.\n")
    assert "then this look of the clip is not made" in look
    assert "my clip.night.go" in look
    assert "my clip.go" in clip


def test_wrong_json_is_told_once():
    """Its error file begins with the problem and its line, and ends as the others do."""
    with pytest.raises(errors.SpecInvalid) as caught:
        parse(b'{"name": "a", "prompt": 7}', clip_name=b"my clip.mp4", file="my clip.json")
    text = error_text(Case.JSON, CLIP, explain(caught.value), "", rescan=30.0)
    assert text.count("cannot be run as it stands") == 1
    assert text.startswith("my clip.json cannot be run as it stands: ")
    assert "line 1, column " in text
    assert "- Or delete my clip.json: povwatch then writes a new one, as for a new clip.\n" in text
    assert AGAIN[Case.JSON].format(rescan="30 s") in text
    assert "then this look of the clip is not made" in error_text(Case.JSON, LOOK, "No.", "", rescan=5.0)
