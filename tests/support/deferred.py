"""Modules that are imported when a test first uses them.

Every process of the suite collects all tests, and torch with diffusers takes seconds to import: only the process that
runs their tests has to.
"""

from __future__ import annotations

import importlib

import pytest

COLLECTED = pytest.StashKey[frozenset[str]]()
"""The names of the modules that were imported when all tests had been collected."""


class Deferred:
    """A module by its name. Reading an attribute imports it; a test patches the module itself, by its name."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        if name in ASKED_BY_PYTEST:
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


ASKED_BY_PYTEST = {"__test__", "__bases__", "__wrapped__", "__file__", "_mock_name"}
"""Attributes that pytest looks for in everything that a module of tests has."""
