"""What holds for every test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from support import forked, forked_media, tiny_needs

from povwatch.media import run

# povwatch, its workers and children are started a thousand times: each start would compile every file anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test is timed: a busy machine takes its time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that runs the suite in the background has it ignore Ctrl-C, and every program that a test starts with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ("crash", "soak")
"""Folders of tests that take a minute each."""

TORCH = Path(__file__).with_name("unit") / "engines" / "transfer"
"""Tests that import torch and diffusers, which takes seconds."""


def pytest_collection_modifyitems(config, items):
    """Begin with the long tests, a share of them in each worker, so that none is left alone at the end.

    One worker gets all that need torch: so it is imported once.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if item.path.parent.name in LONG]
    torch = [item for item in items if item.path.parent == TORCH]
    rest = [item for item in items if item not in {*long, *torch}]
    ordered = []
    for number in range(workers):  # pytest-xdist gives each worker as many of what is left, in this order
        share = [*long[number::workers], *(torch if number == 0 else ())]
        size = (len(items) - len(ordered)) // (workers - number) - len(share)
        ordered += [*share, *rest[: max(size, 0)]]
        rest = rest[max(size, 0) :]
    items[:] = [*ordered, *rest]


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
    """Media children are forked, as those of the tests' commands are: see support/forked_media.py."""
    monkeypatch.setattr(run, "_started", run._started)  # is put back after the test
    if server := forked.media_server():
        forked_media.install(server)


@pytest.fixture(scope="session")
def tiny(request):
    """The tiny model's folder; nobody may write there."""
    return tiny_needs.tiny_model(request.config.cache.mkdir("tiny-model"))
