"""Measures the structure of a Python package and prints it as tables. Standard library only.

A package is a folder directly below the root; a file that lies in the root is a package of its own.

code        lines that hold code: neither blank, nor comment, nor docstring
wiring      code and docstring lines of import statements and of constructors (`__init__`)
parameters  of constructors written out, without self; fields of dataclasses do not count
callables   those of them whose annotation is a Callable
arrows      pairs of files of two packages, one of which imports the other; imports for type checking count
up          arrows that run against the order of the packages, in the order that has the fewest of them (the greedy
            heuristic of Eades, Lin and Smyth, 1993, "A fast and effective heuristic for the feedback arc set problem")
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

WIDE = 8
"""Parameters up to which a constructor is not listed."""

LONG = 60
"""Lines up to which a function is not listed."""


@dataclass
class Figures:
    """Counts of one file, of one package, or of the whole."""

    files: int = 0
    code: int = 0
    docstrings: int = 0
    comments: int = 0
    imports: int = 0
    wiring: int = 0
    constructors: int = 0
    parameters: int = 0
    callables: int = 0
    longest: tuple[int, str] = (0, "")

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            *(getattr(self, n) + getattr(other, n) for n in list(Figures.__dataclass_fields__)[:-1]),
            longest=max(self.longest, other.longest),
        )


@dataclass
class File:
    """What was read in one file."""

    figures: Figures = field(default_factory=Figures)
    imports: set[str] = field(default_factory=set)
    """Modules and names, absolute."""
    wide: list[tuple[int, str]] = field(default_factory=list)
    """Constructors with more than WIDE parameters."""
    long: list[tuple[int, str]] = field(default_factory=list)
    """Functions of more than LONG lines."""


def read(path: Path, name: str, module: str) -> File:
    """Measure one file.

    Args:
        path: the file.
        name: how the tables call it.
        module: its dotted name.
    """
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstrings: set[int] = set()
    imported: set[int] = set()
    constructed: set[int] = set()
    found = File()
    own = found.figures
    for node in ast.walk(tree):
        docstrings |= _docstrings(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            own.imports += len(node.names)
            imported |= _lines(node)
            found.imports |= _named(node, module)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            own.longest = max(own.longest, (length, f"{name}:{node.name}"))
            if length > LONG:
                found.long.append((length, f"{name}:{node.lineno} {node.name}"))
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    constructed |= _lines(item)
                    parameters = [*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs][1:]
                    own.constructors += 1
                    own.parameters += len(parameters)
                    own.callables += sum("Callable" in ast.unparse(p.annotation) for p in parameters if p.annotation)
                    if len(parameters) > WIDE:
                        found.wide.append((len(parameters), f"{name}:{item.lineno} {node.name}"))
    blank = {number for number, line in enumerate(text.splitlines(), 1) if not line.strip()}
    comments = _comments(text)
    total = len(text.splitlines())
    own.files = 1
    own.docstrings = len(docstrings - blank)
    own.comments = len(comments - docstrings)
    own.code = total - len(blank | docstrings | comments)
    own.wiring = len((imported | constructed) - blank - comments)
    return found


def arrows(files: dict[str, File], root: str) -> Counter[tuple[str, str]]:
    """How many files of one package import a file of another, by (importer, imported); keys of `files` are modules."""
    pairs = set()
    for module, file in files.items():
        for name in file.imports:
            target = name
            while target not in files and "." in target:
                target = target.rpartition(".")[0]
            if target in files and target != root and package(target) != package(module):
                pairs.add((module, target))
    return Counter((package(one), package(other)) for one, other in pairs)


def package(module: str) -> str:
    """The package that a module belongs to: the second part of its dotted name."""
    return ".".join(module.split(".")[1:2]) or module


def ordered(between: Counter[tuple[str, str]]) -> list[str]:
    """The packages in an order in which few arrows point to an earlier one."""
    left = {name for pair in between for name in pair}
    first: list[str] = []
    last: list[str] = []

    def out(name: str) -> int:
        return sum(n for (one, other), n in between.items() if one == name and other in left)

    def into(name: str) -> int:
        return sum(n for (one, other), n in between.items() if other == name and one in left)

    while left:
        while sinks := sorted(name for name in left if not out(name)):
            last.insert(0, sinks[0])
            left.discard(sinks[0])
        while sources := sorted(name for name in left if not into(name)):
            first.append(sources[0])
            left.discard(sources[0])
        if left:
            chosen = max(sorted(left), key=lambda name: out(name) - into(name))
            first.append(chosen)
            left.discard(chosen)
    return first + last


def main(root: Path) -> None:
    """Print the tables for the package at `root`."""
    files: dict[str, File] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root.parent).as_posix()
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        files[module] = read(path, name, module)
    packages: dict[str, Figures] = defaultdict(Figures)
    for module, file in files.items():
        packages[package(module)] += file.figures
    print(
        f"{'package':<18}{'files':>6}{'code':>7}{'docstr':>7}{'comm':>6}{'imports':>8}{'wiring':>7}"
        f"{'constr':>7}{'params':>7}{'callab':>7}  longest function"
    )
    whole = sum(packages.values(), Figures())
    for name, f in [*sorted(packages.items(), key=lambda item: -item[1].code), ("all", whole)]:
        print(
            f"{name:<18}{f.files:>6}{f.code:>7}{f.docstrings:>7}{f.comments:>6}{f.imports:>8}{f.wiring:>7}"
            f"{f.constructors:>7}{f.parameters:>7}{f.callables:>7}  {f.longest[0]} {f.longest[1]}"
        )
    between = arrows(files, root.name)
    order = ordered(between)
    up = [(n, pair) for pair, n in between.items() if order.index(pair[0]) > order.index(pair[1])]
    print(f"\narrows between packages: {sum(between.values())}, of which up: {sum(n for n, _ in up)}")
    for n, (one, other) in sorted(up, reverse=True):
        print(f"  {one} -> {other}: {n}")
    print(f"order, the top floor first: {' '.join(order)}")
    for title, rows in (
        (f"constructors with more than {WIDE} parameters", [row for file in files.values() for row in file.wide]),
        (f"functions of more than {LONG} lines", [row for file in files.values() for row in file.long]),
    ):
        print(f"\n{title}: {len(rows)}")
        for n, where in sorted(rows, reverse=True):
            print(f"  {n} {where}")


def _lines(node: ast.AST) -> set[int]:
    return set(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]


def _docstrings(node: ast.AST) -> set[int]:
    """The lines of a definition's docstring and of the strings that stand below its fields."""
    return (
        {
            line
            for item in getattr(node, "body", []) or []
            if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
            for line in _lines(item)
        }
        if isinstance(getattr(node, "body", None), list)
        else set()
    )


def _comments(text: str) -> set[int]:
    """The lines that hold a comment and nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }


def _named(node: ast.Import | ast.ImportFrom, module: str) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    base = node.module or ""
    if node.level:
        base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
    return {base} | {f"{base}.{alias.name}" for alias in node.names}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
