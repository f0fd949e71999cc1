"""No thread reaches the journal, over the sources: it is given a function of a module, and data.

The journal itself refuses every thread but its own (tests/unit/journal/test_journal.py), and `Background` every work
that is a method or a closure. Here it is seen before it runs.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.sources import PACKAGE, files, name_of, parsed

OWN = {
    "gpu/nvml.py": "XidWatch has a queue's `put` and NVML's handles",
    "workers/process.py": "WorkerProcess has a queue, a child process and what wakes the loop",
    "remote/connections.py": "Connections has sockets, queues and what wakes the loop",
    "bridge/host.py": "runs in an actor on a node, where no journal is",
    "workers/serve.py": "runs in a worker, which never opens the journal",
    "engines/ranks.py": "runs in a worker",
    "media/child.py": "runs in a media child, which never opens the journal",
}
"""Files whose threads call something else than a function of a module, and why that cannot reach the journal."""

WORK = 2
"""The place of `work` among the arguments of `Background.submit`."""


def trees():
    return [(name_of(file), parsed(file)) for file in files()]


def calls(tree, name):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name in {getattr(node.func, "attr", ""), getattr(node.func, "id", "")}:
            yield node


def functions(tree):
    """The functions of a module by the names that they have in it: its own, and those that it imports."""
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("povwatch"):
            file = PACKAGE.parent / Path(*node.module.split(".")).with_suffix(".py")
            if file.is_file():
                there = {made.name for made in parsed(file).body if isinstance(made, ast.FunctionDef)}
                own |= {alias.asname or alias.name for alias in node.names if alias.name in there}
    return own


def local(tree, name):
    """Whether a name is anything else somewhere in the module: an argument, a variable, an inner function."""
    inner = [node for top in tree.body for node in ast.walk(top) if node is not top]
    return (
        any(isinstance(node, ast.FunctionDef) and node.name == name for node in inner)
        or any(isinstance(node, ast.arg) and node.arg == name for node in ast.walk(tree))
        or any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(tree))
    )


def wrong_work(tree):
    known = functions(tree)
    for call in calls(tree, "submit"):
        if len(call.args) <= WORK or any(isinstance(given, ast.Starred) for given in call.args[: WORK + 1]):
            yield f"line {call.lineno}: its work cannot be seen"
            continue
        work, data = call.args[WORK], [*call.args[WORK + 1 :], *(given.value for given in call.keywords)]
        if not isinstance(work, ast.Name) or work.id not in known or local(tree, work.id):
            yield f"line {call.lineno}: {ast.unparse(work)} is no function of a module"
        if any(isinstance(part, ast.Lambda) for given in data for part in ast.walk(given)):
            yield f"line {call.lineno}: a closure among the data"
        flat = [part for given in data for part in _parts(given)]
        if any(isinstance(given, ast.Name) and given.id == "self" for given in flat):
            yield f"line {call.lineno}: self among the data"


def wrong_thens(tree):
    """The results of work that something without a name of its class or module handles."""
    outer = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {node.name for f in outer for node in ast.walk(f) if isinstance(node, ast.FunctionDef) and node is not f}
    for call in calls(tree, "submit"):
        then = call.args[WORK - 1]
        named = then.id if isinstance(then, ast.Name) else ""
        if named in inner or any(isinstance(part, ast.Lambda) for part in ast.walk(then)):
            yield f"line {call.lineno}: {ast.unparse(then)}"


def _parts(given):
    given = given.value if isinstance(given, ast.Starred) else given
    return given.elts if isinstance(given, ast.Tuple | ast.List) else [given]


def wrong_threads(tree):
    known = functions(tree)
    for call in calls(tree, "Thread"):
        targets = [given.value for given in call.keywords if given.arg == "target"]
        if not targets or not isinstance(targets[0], ast.Name) or targets[0].id not in known:
            yield f"line {call.lineno}: {ast.unparse(call)}"


def test_background_work_is_a_function():
    """Background work is a function of a module, and gets data."""
    daemon = {
        name: tree
        for name, tree in trees()
        if name != "core/background.py" and not name.startswith(("engines/", "models/"))
    }
    assert {name: wrong for name, tree in daemon.items() if (wrong := list(wrong_work(tree)))} == {}
    assert sum(len(list(calls(tree, "submit"))) for tree in daemon.values()) > 10


def test_results_are_handled_by_methods():
    """What handles the result of background work is a method or a function with a name, so that it can be found."""
    found = {
        name: list(wrong_thens(tree)) for name, tree in trees() if not name.startswith(("engines/", "models/", "core/"))
    }
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("then", ["lambda outcome: self.end(outcome)", "then", "partial(lambda outcome: 1)"])
def test_nameless_handlers_are_seen(then):
    source = f"class A:\n def a(self):\n  def then(_): pass\n  self._background.submit(1, {then}, work)"
    assert list(wrong_thens(ast.parse(source)))


def test_pool_is_given_a_function():
    """The pool itself is given a function of its module."""
    tree = parsed(PACKAGE / "core" / "background.py")
    assert [ast.unparse(call.args[0]) for call in calls(tree, "submit")] == ["_run"]
    assert "_run" in functions(tree)


def test_threads_run_functions():
    """A thread runs a function of a module, but for the listed exceptions."""
    found = {name for name, tree in trees() if list(wrong_threads(tree))}
    assert found == set(OWN), "a reason is wanted for each"


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n def a(self):\n  self._background.submit(1, then, self._work)",
        "class A:\n def a(self):\n  self._background.submit(1, then, lambda _: self._journal.job(1))",
        "class A:\n def a(self):\n  def work(_):\n   return self\n  self._background.submit(1, then, work)",
        "class A:\n def a(self, work):\n  self._background.submit(1, then, work)",
        "def work(_): pass\nclass A:\n def a(self, work):\n  self._background.submit(1, then, work)",
        "def work(_): pass\nclass A:\n def a(self):\n  self._background.submit(1, then, work, self)",
        "def work(_): pass\nclass A:\n def a(self):\n  self._background.submit(1, then, work, told=lambda: self)",
        "def work(_): pass\nclass A:\n def a(self):\n  self._background.submit(1, then, work, *(1, self))",
    ],
)
def test_what_could_reach_the_journal(source):
    """The test above sees what could reach the journal."""
    assert list(wrong_work(ast.parse(source)))


def test_what_could_not_is_let_through():
    source = (
        "from povwatch.files.fs import closing\nclass A:\n def a(self):\n  self._background.submit(1, then, closing, 2)"
    )
    assert not list(wrong_work(ast.parse(source)))
