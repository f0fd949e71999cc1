"""The house rules, as absences: who may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "povwatch"

PURE = [
    *("job.py", "grace.py", "retry.py", "hours.py", "layout.py", "lookup.py", "manifest.py", "units.py"),
    "sentences.py",
    *("command.py", "holding.py", "rebuild/plan.py", "publish/promise.py"),
    *("arrival/names.py", "arrival/settle.py", "workers/deadlines.py", "engine/devices.py", "workers/loads.py"),
    *("spec/model.py", "spec/parse.py", "spec/lint.py", "spec/folders.py", "spec/first.py", "spec/variables.py"),
    "cli/rows.py",
]
"""No clock, disk or threads."""

OUTSIDE = {"os", "time", "sqlite3", "threading", "subprocess", "socket", "datetime", "pathlib", "shutil", "tempfile"}

ONLY = {
    "sqlite3": {
        *("journal/reader.py", "journal/writer.py", "journal/statements.py", "journal/anew.py"),
        "cli/doctor.py",
    },
    "aiosql": {"journal/statements.py"},
    "pynvml": {"gpu.py"},
    "systemd": {"log.py"},
    "watchdog": {"arrival/watch.py"},
    "subprocess": {
        *("process/start.py", "process/child.py", "process/reaper.py"),
        *("engine/choice.py", "engine/upstream/downloads.py", "cli/able.py"),
    },
    "httpx2": {"models/hub.py"},
    "huggingface_hub": {"models/hub.py", "engine/transfer/weights.py"},
}
"""A module to the files that may import it. doctor only asks SQLite for its version.

Children are started in process/ alone; the last three files run a command of a moment for its answer.
"""

CHILD = [
    *("__init__.py", "command.py", "layout.py", "engine/__init__.py", "engine/port.py", "engine/faults.py"),
    *("workers/__init__.py", "workers/worker.py", "workers/serve.py", "workers/protocol.py", "workers/channel.py"),
    *("process/__init__.py", "process/lifeline.py", "process/environment.py", "process/start.py", "process/ending.py"),
    *("errors.py", "machine_faults.py", "sentences.py"),
]
"""What a worker's interpreter reads beside its engine: any Python from 3.10 on, standard library alone."""

FLOORS = {
    "process": {"process"},
    "workers": {
        "workers",
        "process",
        "engine",
        "command",
        "config",
        "errors",
        "gpu",
        "machine_faults",
        "retry",
        "sentences",
        "units",
    },
}
"""A package to all of ours that it may import, be it for types alone."""

HEAVY = {"av", "cv2", "numpy", "torch", "diffusers", "transformers", "PIL"}


def imports(file: Path, *, typing_too: bool = False) -> set[str]:
    """The modules that a file imports when it is imported, by their full names."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module or "")
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing_too:
                continue
            for part in ("body", "orelse", "finalbody", "handlers"):
                visit(getattr(node, part, []))

    visit(ast.parse(file.read_text()).body)
    return found


def roots(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(file)}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def reached(start: str) -> set[str]:
    """Every file of ours that importing one file imports."""
    known = {
        "povwatch." + name_of(f).removesuffix(".py").replace("/", ".").removesuffix(".__init__"): f for f in files()
    }
    known["povwatch"] = PACKAGE / "__init__.py"
    seen: set[str] = set()
    todo = [PACKAGE / start]
    while todo:
        file = todo.pop()
        if name_of(file) in seen:
            continue
        seen.add(name_of(file))
        todo += [known[name] for name in imports(file) if name in known]
    return seen


@pytest.mark.parametrize("name", PURE)
def test_the_pure_core_reads_no_clock_disk_or_thread(name) -> None:
    assert not roots(PACKAGE / name) & OUTSIDE


@pytest.mark.parametrize("module", ONLY)
def test_one_door_to_each_outside_thing(module) -> None:
    assert {name_of(f) for f in files() if module in roots(f)} <= ONLY[module]


def test_one_file_tells_containers_apart() -> None:
    marks = (b"ftyp", b"\x1aE\xdf\xa3", b"AVI ", b"\x89PNG", b"ffconcat")
    telling = {
        name_of(file)
        for file in files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and any(m in node.value for m in marks)
    }
    walks = {"container/mp4.py", "container/riff.py"}  # of a file whose kind is known
    assert telling - walks == {"container/signature.py"}


@pytest.mark.parametrize("name", CHILD)
def test_what_a_worker_starts_with_is_standard_library(name) -> None:
    outside = {m for m in imports(PACKAGE / name) if m.split(".")[0] not in sys.stdlib_module_names}
    assert {m for m in outside if not m.startswith("povwatch")} == set()
    ours = {
        part
        for m in outside
        for part in [m.replace("povwatch.", "").replace(".", "/") + ".py"]
        if (PACKAGE / part).exists()
    }
    assert ours <= set(CHILD)


@pytest.mark.parametrize("package", FLOORS)
def test_a_floor_stands_on_those_below_it_alone(package) -> None:
    for file in sorted((PACKAGE / package).glob("*.py")):
        ours = {m for m in imports(file, typing_too=True) if m.startswith("povwatch.")}
        assert {m.split(".")[1] for m in ours} <= FLOORS[package], name_of(file)


def test_the_reaper_imports_nothing_of_ours() -> None:
    """It is started by its path, by an interpreter that is shown no package."""
    assert roots(PACKAGE / "process/reaper.py") <= set(sys.stdlib_module_names)


def test_an_engine_does_not_know_the_process_that_it_runs_in() -> None:
    """But for the one that starts other workers itself, for the other GPUs of its jobs."""
    engines = [f for f in files() if name_of(f).startswith("engine/") and name_of(f) != "engine/upstream/group.py"]
    outside = ("povwatch.workers", "povwatch.process")
    assert not [name_of(f) for f in engines if any(m.startswith(outside) for m in imports(f, typing_too=True))]


def test_the_daemon_never_loads_a_decoder_or_a_model() -> None:
    """A hostile file, or a bug in a decoder, must not take the daemon down; and its memory stays small."""
    loaded = {m for name in reached("daemon/loop.py") for m in roots(PACKAGE / name)}
    assert not loaded & HEAVY


def test_nothing_in_the_package_imports_the_command_line() -> None:
    others = [f for f in files() if not name_of(f).startswith("cli/") and name_of(f) != "__main__.py"]
    assert not [name_of(f) for f in others if any(m.startswith("povwatch.cli") for m in imports(f))]


def test_the_parts_do_not_know_the_daemon() -> None:
    others = [f for f in files() if not name_of(f).startswith(("cli/", "daemon/")) and name_of(f) != "__main__.py"]
    assert not [name_of(f) for f in others if any(m.startswith("povwatch.daemon") for m in imports(f, typing_too=True))]


def test_workers_and_media_children_never_open_the_journal() -> None:
    for start in ("workers/serve.py", "media/child.py"):
        assert not {name for name in reached(start) if name.startswith("journal/")}


def test_a_plain_clip_s_media_children_do_without_numpy() -> None:
    """It is a third of what such a child costs, and there are four of them a clip."""
    modules = ("child", "examine", "probe", "prepare", "finish", "measure", "decode")
    names = [f"povwatch.media.{name}" for name in modules]
    said = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys, {', '.join(names)}; print('numpy' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "False\n"
