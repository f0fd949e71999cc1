"""Benchmarks are run rarely, and on rented GPUs: what they take of povwatch has to be there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PLACES = [ROOT, ROOT / "tests", ROOT / "benchmarks"]

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def file_of(module: str) -> Path | None:
    """The file of a module of ours; None for another's."""
    for place in PLACES:
        path = place.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.exists():
                return file
    return None


@cache
def names(file: Path) -> set[str]:
    """What a module defines or imports at its top, without importing it: some need torch."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=asname):
                found.add(asname or name.split(".")[0])
    return found


def there(module: str, name: str) -> bool:
    file = file_of(module)
    return file is None or name in names(file) or file_of(f"{module}.{name}") is not None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_what_it_takes_is_there(script) -> None:
    """Every name that it imports from our modules, and every attribute of a module that it imports."""
    tree = ast.parse(script.read_text())
    modules: dict[str, str] = {}
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if not there(node.module, alias.name):
                    missing.append(f"{node.module}.{alias.name}")
                elif file_of(f"{node.module}.{alias.name}"):
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if not there(module, node.attr):
                missing.append(f"{module}.{node.attr}, line {node.lineno}")
    assert missing == []
