"""What holds for every test."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from support import forked_media, tiny_needs
from support.deferred import COLLECTED

from povwatch.media import run

# povwatch, its workers and children are started a thousand times: each start would compile every file anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test is timed: a busy machine takes its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that runs the suite in the background has it ignore Ctrl-C, and every program that a test starts with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).parent

LONG = ("crash", "soak")
"""Folders of tests that take a minute each."""

COMPUTING = "unit"
"""Folder of the tests that compute. The others mostly wait for processes that they have started."""

LOADING = (
    {TESTS / "unit/engines/transfer", TESTS / "unit/engines/annotate"},  # torch and diffusers
    {TESTS / "acceptance/test_tiny_model.py", TESTS / "acceptance/test_two_gpus_a_clip.py"}
    | {TESTS / "acceptance/test_prompts_checked.py", TESTS / "acceptance/test_computed_controls.py"},
    {TESTS / "integration/test_cosmos_engine.py"},
    {TESTS / "upstream_real/test_claims.py"},
    {TESTS / "acceptance/test_page.py"},  # Chromium, and the folder that it looks at
    {TESTS / "pool"},  # a Ray cluster
)
"""Folders and files whose tests share what takes seconds to load."""


def pytest_collection(session):
    """Import a share of the test files first, and the rest only as the others have been imported elsewhere.

    pytest rewrites each file's assertions and keeps the result, which takes longer than all else that collecting does.
    On a clean checkout the processes of pytest-xdist would all rewrite the same file at the same time.
    """
    given = getattr(session.config, "workerinput", None)
    if given is None:
        return
    named = [
        Path(session.config.invocation_params.dir, argument.partition("::")[0]) for argument in session.config.args
    ]
    files = sorted({file for path in named for file in ([path] if path.is_file() else path.rglob("test_*.py"))})
    for file in files[int(given["workerid"].removeprefix("gw")) :: given["workercount"]]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # collecting it tells what is wrong
            pytest.Module.from_parent(session, path=file).obj  # noqa: B018 - imports it


def pytest_collection_modifyitems(config, items):
    """Begin with the long tests, a share of them in each worker, so that none is left alone at the end.

    Then come the tests that share what they load, each group in one worker: others take over only what a worker would
    do last. The other files whose tests wait are spread over the tests that compute: so some test computes at any time.
    """
    config.stash[COLLECTED] = frozenset(sys.modules)
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long, loading, waiting, computing = [], [[] for _ in LOADING], [], []
    for path, group in itertools.groupby(items, key=lambda item: item.path):
        file = list(group)
        place = next((n for n, paths in enumerate(LOADING) if paths & {path, *path.parents}), None)
        if place is not None:
            loading[place] += file
        elif path.parent.name in LONG:
            long += file
        elif path.relative_to(TESTS).parts[0] == COMPUTING:
            computing += file
        else:
            waiting.append(file)
    ordered = []
    for number in range(workers):  # pytest-xdist gives each worker as many of what is left, in this order
        first = [*long[number::workers], *itertools.chain(*loading[number::workers])]
        mine = waiting[number::workers]
        size = (len(items) - len(ordered)) // (workers - number) - len(first) - sum(len(file) for file in mine)
        share, computing = computing[: max(size, 0)], computing[max(size, 0) :]
        ordered += first
        each = -(-len(share) // (len(mine) or 1))
        for place, file in enumerate(mine):
            ordered += [*file, *share[place * each : (place + 1) * each]]
        ordered += [] if mine else share
    items[:] = [*ordered, *computing]


@pytest.fixture(autouse=True)
def environment_as_it_was():
    """An engine that a test loads in its own process sets what it needs there; the next test is another process."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def build(tmp_path):
    """Builds the daemon without its loop, with sections of the configuration: see support/built.py."""
    from support.built import Built  # noqa: PLC0415 - most tests do without

    made = []

    def build(**sections):
        made.append(Built(tmp_path, **sections))
        return made[-1]

    yield build
    for one in made:
        one.close()
        one.no_bug()


@pytest.fixture
def forked_media_children(monkeypatch):
    """Media children are forked, as those of the tests' commands are: see support/forked_media.py.

    Where a test has replaced subprocess.Popen, they are started with that.
    """
    from_nothing, popen = run._started, subprocess.Popen
    monkeypatch.setattr(run, "_started", from_nothing)  # is put back after the test
    forked_media.install(forked_media.server())
    fork = run._started
    run._started = lambda op: fork(op) if subprocess.Popen is popen else from_nothing(op)


@pytest.fixture(scope="session")
def tiny(request):
    """The tiny model's folder; nobody may write there."""
    return tiny_needs.tiny_model(request.config.cache.mkdir("tiny-model")) / "model"


@pytest.fixture(scope="session")
def guardrail_hub(request):
    """A cache of the hub with the guardrail's files, made tiny; nobody may write there."""
    script = tiny_needs.MODEL.with_name("tiny_guardrail.py")
    return tiny_needs.tiny_model(request.config.cache.mkdir("tiny-guardrail"), script) / "hub"
