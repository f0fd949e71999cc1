"""The sources of povwatch, for tests that read them. Each file is parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "povwatch"


@cache
def files() -> list[Path]:
    """Every module, in order."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """A module's path below the package."""
    return file.relative_to(PACKAGE).as_posix()


@cache
def parsed(file: Path) -> ast.Module:
    """A module's syntax tree. Nobody changes it."""
    return ast.parse(file.read_text())


@cache
def nodes(file: Path) -> list[ast.AST]:
    """Every node of a module's syntax tree."""
    return list(ast.walk(parsed(file)))
