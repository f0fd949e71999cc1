"""A child that is asked and answers: what it hears, what is heard of it, and that nothing of it is left."""

import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from povwatch.process.child import Child
from povwatch.process.start import child_environment

PATIENCE = 30.0

ECHO = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"heard": json.loads(line)}), flush=True)
    print("a library prints", file=sys.stderr, flush=True)
"""

LEAVES_ONE = """
import json, os, sys, time
if os.fork() == 0:
    time.sleep(600)
print(json.dumps({"pid": os.getpid()}), flush=True)
time.sleep(600)
"""


def started(code):
    return Child.start([sys.executable, "-I", "-S", "-c", code], env=child_environment())


def heard(child, enough):
    """What a child says until there is enough of it."""
    answers, output = [], b""
    deadline = time.monotonic() + PATIENCE
    while child.open and not enough(answers, output):
        assert time.monotonic() < deadline, (answers, output)
        more, printed = child.listen(0.1)
        answers += more
        output += printed
    return answers, output


def members(group):
    """The processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # gone meanwhile
            continue
        if int(pgrp) == group and state not in "ZX":
            found.append(stat.parent.name)
    return found


def test_answers_and_prints_are_apart():
    """A child answers each request, and what it prints is kept apart."""
    with closing(started(ECHO)) as child:
        child.send({"n": 1})
        child.send("two\n")
        answers, output = heard(child, lambda answers, output: len(answers) == 2 and output.count(b"\n") == 2)
    assert answers == [{"heard": {"n": 1}}, {"heard": "two\n"}]
    assert output == b"a library prints\n" * 2


def test_unfinished_answer_is_not_taken():
    """An answer without its end is counted and not taken."""
    with closing(started("print('{\"half\": ', end=''); import sys; sys.stdout.flush(); sys.stdin.read()")) as child:
        heard(child, lambda *_: child.unfinished)
        assert child.unfinished == len('{"half": ')
        assert child.answering


def test_ended_child_is_closed():
    """When a child has ended nothing is open, its status is known, and sending does no harm."""
    with closing(started("import sys; sys.exit(3)")) as child:
        assert heard(child, lambda *_: False) == ([], b"")
        assert (child.open, child.answering, child.wait()) == (False, False, 3)
        child.send("to nobody")


def test_closing_ends_it_and_its_children():
    """Closing ends the child and what it started, and lets go of every descriptor."""
    fds = len(list(Path("/proc/self/fd").iterdir()))
    with closing(started(LEAVES_ONE)) as child:
        ((answer,), _) = heard(child, lambda answers, _: answers)
        assert len(members(answer["pid"])) == 2
    deadline = time.monotonic() + PATIENCE
    while members(answer["pid"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(Path("/proc/self/fd").iterdir())) == fds
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert str(answer["pid"]) not in children, "not even as a zombie"


def test_child_without_pipes_is_refused():
    with subprocess.Popen(["true"]) as process, pytest.raises(ValueError, match="three pipes"):
        Child(process)
