"""The engine lives under upstream's interpreter, which has nothing of ours."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import povwatch

PACKAGE = Path(povwatch.__file__).parent
FILES = [PACKAGE / "engines/cosmos.py", *sorted((PACKAGE / "engines/upstream").glob("*.py"))]
UPSTREAMS = {"av", "numpy"}


def python_3_10():
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for python in [Path("/usr/bin/python3.10"), *root.glob("versions/3.10.*/bin/python3.10")]:
        if python.exists():
            return python
    return pytest.skip("no Python 3.10 here")


def test_imports_only_what_upstream_has():
    """The engine imports the standard library, upstream's own packages, and povwatch."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names}
            assert roots <= set(sys.stdlib_module_names) | UPSTREAMS | {"povwatch"}, file.name


def test_imports_under_python_3_10():
    modules = [
        "povwatch."
        + file.relative_to(PACKAGE).as_posix().removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for file in FILES
        if file.name != "pictures.py"  # needs PyAV
    ]
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import {', '.join(modules)}"
    done = subprocess.run([python_3_10(), "-Sc", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_daemon_asks_without_loading_it():
    """The daemon can ask what is loaded without importing the engine."""
    code = "import sys, povwatch.engines.upstream.ability; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert importlib.util.find_spec("povwatch.engines.upstream.session")
    assert [name for name in loaded if name.startswith("povwatch.engines.")] == [
        "povwatch.engines.upstream",
        "povwatch.engines.upstream.ability",
    ]
