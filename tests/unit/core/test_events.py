"""Every sentence is said somewhere, and wherever one is said, its fields are given."""

from __future__ import annotations

import ast
import re
import string
from functools import cache

import pytest
from support.sources import PACKAGE, files, parsed

from povwatch.core import changes
from povwatch.core.changes import Change
from povwatch.core.events import SENTENCES

SAYING = {"say", "note", "_tell", "_requeue", "_go_on"}
"""Functions that take an event's name, first or second."""

NAMED = {"how", "what", "step"}
"""Under which of these a change takes its event's name, where it has several."""

JOB = {"clip", "job", "state"}
"""What a job that is given fills in."""

TOLD_ELSEWHERE = {"Blocked", "FailedKept"}
"""Changes that inherit what they tell."""

FROM_ELSEWHERE = {"unforeseen": {"exc_info"}}


def fields_of(sentence: str) -> set[str]:
    names = {name for _, name, _, _ in string.Formatter().parse(sentence) if name}
    return {"clip" if name.startswith("povwatch ") else name for name in names}


@cache
def calls():
    return list(find_calls())


def find_calls():
    """Every call in the package that says something: its file and line, the event, and the call itself."""
    for file in files():
        tree = parsed(file)
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for node in ast.walk(function):
                if not isinstance(node, ast.Call):
                    continue
                if (name := called(node)) in SAYING and not ast.unparse(node.func).endswith("journal.note"):
                    for event in events(node):
                        yield f"{file.name}:{node.lineno}", event, name, node, function
                elif name[:1].isupper():
                    for keyword in node.keywords:
                        if keyword.arg in NAMED and isinstance(keyword.value, ast.Constant):
                            yield f"{file.name}:{node.lineno}", keyword.value.value, "change", node, function


def called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def events(call: ast.Call) -> list[str]:
    """The names among its first two arguments; a choice between two counts as both."""
    found = []
    for argument in call.args[:2]:
        options = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
        found += [o.value for o in options if isinstance(o, ast.Constant) and isinstance(o.value, str)]
    return [name for name in found if name in SENTENCES or "-" in name or name.isalpha()]


def given(name: str, call: ast.Call, function: ast.FunctionDef) -> set[str] | None:
    """The fields that a call gives; None where that cannot be read off."""
    fields: set[str] = set()
    if name == "say":
        if len(call.args) > 1:
            fields |= JOB
        for keyword in call.keywords:
            found = {keyword.arg} if keyword.arg else keys(keyword.value, function)
            if found is None:
                return None
            fields |= found
        return fields
    said = [keyword.value for keyword in call.keywords if keyword.arg == "fields"]
    said = said or (call.args[2:3] if name == "note" else [])
    found = keys(said[0], function) if said else set()
    return None if found is None else JOB | found


def keys(node: ast.expr, function: ast.FunctionDef) -> set[str] | None:
    """The keys of a dict, written out or under a name that is set in this function."""
    if isinstance(node, ast.Dict):
        return {key.value for key in node.keys if isinstance(key, ast.Constant)}
    if isinstance(node, ast.BinOp):
        left, right = keys(node.left, function), keys(node.right, function)
        return None if left is None or right is None else left | right
    if isinstance(node, ast.Name):
        for statement in ast.walk(function):
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == node.id:
                return keys(statement.value, function)
    return None


def test_every_event_has_a_sentence():
    unknown = [(where, event) for where, event, _, _, _ in calls() if event not in SENTENCES]
    assert unknown == []


def test_every_sentence_is_used():
    texts = [file.read_text() for file in PACKAGE.rglob("*.py") if file != PACKAGE / "core" / "events.py"]
    assert [name for name in SENTENCES if not any(f'"{name}"' in text for text in texts)] == []


def test_every_sentence_gets_its_fields():
    wanting = [
        (where, event, sorted(missing))
        for where, event, name, call, function in calls()
        if event in SENTENCES
        and name in {"say", "note", "change"}
        and (found := given(name, call, function)) is not None
        and (missing := fields_of(SENTENCES[event][1]) - found)
    ]
    assert wanting == []


def logged_changes():
    """Every change with a name of its own that is logged, and the keys of what it tells."""
    tree = parsed(PACKAGE / "core" / "changes.py")
    for node in [node for node in tree.body if isinstance(node, ast.ClassDef)]:
        change = getattr(changes, node.name)
        if isinstance(change, type) and issubclass(change, Change) and change is not Change and change.logged:
            tells = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "log_fields"]
            returned = [r.value for f in tells for r in ast.walk(f) if isinstance(r, ast.Return)]
            if all(isinstance(value, ast.Dict) for value in returned):
                told = {key.value for value in returned for key in value.keys}
                yield node.name, change.event, told | JOB


def test_every_change_fills_its_sentence():
    """Every change gives its event's sentence the fields that it has."""
    found = list(logged_changes())
    assert len(found) > 12
    missing = [
        (name, event)
        for name, event, told in found
        if name not in TOLD_ELSEWHERE and fields_of(SENTENCES[event][1]) - told
    ]
    assert missing == []


def test_most_calls_are_read():
    """The fields of most calls can be read from the sources."""
    read = [given(name, call, function) for _, _, name, call, function in calls() if name in {"say", "note", "change"}]
    assert len(read) > 50
    assert read.count(None) < len(read) / 5


def test_commands_about_clips_can_be_pasted():
    """`{povwatch go}` quotes the name; `povwatch go {clip}` would not."""
    loose = [name for name, (_, sentence) in SENTENCES.items() if re.search(r"povwatch [a-z -]+\{clip\}", sentence)]
    assert loose == []
    assert "{povwatch go}" in SENTENCES["grace"][1]


@pytest.mark.parametrize("name", SENTENCES)
def test_job_sentence_begins_with_its_clip(name):
    """A sentence about a job begins with its clip, is one line, and has no full stop."""
    _, sentence = SENTENCES[name]
    assert "{clip}" not in sentence or sentence.startswith("{clip}: ") or name == "request"
    assert not sentence.endswith((".", " "))
    assert "\n" not in sentence
