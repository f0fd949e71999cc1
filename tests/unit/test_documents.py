"""What the documents say about the code is what the code says."""

from __future__ import annotations

import ast
import itertools
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

from povwatch.cli.app import VERBS
from povwatch.config.hooks import PLACEHOLDERS, Hook
from povwatch.config.notify import KINDS, Notify
from povwatch.config.settings import Config
from povwatch.core.job import JobState, drawing

ROOT = Path(__file__).parents[2]


def test_state_diagram_is_the_table() -> None:
    """ARCHITECTURE's diagram is drawn from the table of transitions."""
    assert drawing() in (ROOT / "ARCHITECTURE.md").read_text()


def test_readme_explains_every_state() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [state for state in JobState if f"`{state}`" not in readme and f"-> {state}" not in readme] == []


def test_readme_has_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [c for c in VERBS if not re.search(rf"povwatch (\w+ \| )*{c}\b", readme)] == []


def test_config_toml_has_every_default() -> None:
    """config.toml has every setting, with its default."""
    written = tomllib.loads((ROOT / "config.toml").read_text())
    assert {name: set(section) for name, section in written.items()} == {
        name: set(field.annotation.model_fields)
        for name, field in Config.model_fields.items()
        if name not in {"hooks", "notify"}
    }
    for name, section in written.items():
        assert Config(**{name: section}) == Config(), name


def example(section: str) -> dict[str, Any]:
    """The example of a list of tables in config.toml: the lines of comment from its header on."""
    _, _, text = (ROOT / "config.toml").read_text().partition(f"# [[{section}]]")
    lines = itertools.takewhile(lambda line: line.startswith("# "), text.splitlines()[1:])
    return tomllib.loads("\n".join([f"[[{section}]]", *(line.removeprefix("# ") for line in lines)]))


def test_shown_notify_has_every_setting() -> None:
    """The [[notify]] that config.toml shows has every setting and every kind, and docs/monitoring.md explains them."""
    shown = example("notify")
    (one,) = Config(**shown).notify
    assert set(shown["notify"][0]) == set(Notify.model_fields)
    assert one.on == KINDS
    documented = (ROOT / "docs/monitoring.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in documented] == []


def test_shown_hook_has_every_setting() -> None:
    """The hook that config.toml shows has every setting, and docs/hooks.md explains them."""
    shown = example("hooks")
    (hook,) = Config(**shown).hooks
    assert set(shown["hooks"][0]) == set(Hook.model_fields)
    documented = (ROOT / "docs/hooks.md").read_text()
    assert [name for name in Hook.model_fields if f"`{name}`" not in documented] == []
    assert [name for name in PLACEHOLDERS if f"`{{{name}}}`" not in documented] == []
    assert hook.name == "mano"


def test_mano_hook_fits_config_toml() -> None:
    """The hook for MANO can be appended to config.toml."""
    example = (ROOT / "examples/mano/hooks.toml").read_text()
    (hook,) = Config(**tomllib.loads((ROOT / "config.toml").read_text() + example)).hooks
    assert (hook.when, hook.once, len(hook.expects)) == ("before", True, 4)
    stand_in = re.search(r"^# (argv = .*)", example, re.MULTILINE)[1]
    assert (ROOT / tomllib.loads(stand_in)["argv"][1]).read_text().startswith('"""A stand-in for MANO')


def test_files_named_in_architecture_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    names = set(re.findall(r"`?([a-z_]+(?:/[a-z_]+)*\.py)`?", text))
    package = {p.name for p in (ROOT / "povwatch").rglob("*.py")} | {p.name for p in (ROOT / "tests").rglob("*.py")}
    assert sorted(n for n in names if n.split("/")[-1] not in package) == []


def test_test_files_named_in_docs_exist() -> None:
    names = {
        name for page in (ROOT / "docs").glob("*.md") for name in re.findall(r"[\w/]*\btest_\w+\.py", page.read_text())
    }
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in names if not any(file.endswith(f"/{name}") or file == name for file in files)) == []
    assert len(names) > 20


def test_test_names_are_short() -> None:
    """No test's name has more than 40 characters, as CONTRIBUTING says, and no file has two tests of one name."""
    found = [
        (str(file.relative_to(ROOT)), node.name)
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [(file, name) for file, name in found if len(name) > 40] == []
    assert len(set(found)) == len(found) > 1000


def test_performance_page_is_up_to_date() -> None:
    """docs/performance.md and its plots are what benchmarks/plots.py makes; run it after a result has changed."""
    made = runpy.run_path(str(ROOT / "benchmarks/plots.py"))["files"]()
    assert [path.name for path, text in made.items() if path.read_text() != text] == []


def test_builds_are_locked() -> None:
    """What builds is locked, and bootstrap lets pip fetch nothing else."""
    lock = (ROOT / "requirements/build.lock").read_text()
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for name in (*(re.split(r"\W", wanted)[0] for wanted in needed), "editables", "setuptools"):
        assert re.search(rf"^{name}==\S+ \\\n +--hash=sha256:", lock, re.MULTILINE), name
    installs = re.findall(r'"\$\{pip\[@\]\}" install .*', (ROOT / "script/bootstrap").read_text())
    assert len(installs) == 2
    for install in installs:
        assert "--no-build-isolation" in install
        assert "--require-hashes" in install or "--no-deps --no-build-isolation --editable" in install


def test_first_tests_in_contributing_pass(build, tmp_path) -> None:
    """The two tests that CONTRIBUTING shows to begin with are tests."""
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    here: dict[str, Any] = {}
    exec(shown, here)  # noqa: S102 - our own document
    here["test_clip_waits_in_its_grace"](build)
    here["test_clip_comes_out"](tmp_path / "alone")
