"""The house rules, as absences: who may import what."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

import pytest
from support.sources import PACKAGE, files, name_of, nodes, parsed

from povwatch.core.cosmos import CONTROLS

if TYPE_CHECKING:
    from pathlib import Path

PURE = [
    *(
        "core/job.py",
        "grace/clock.py",
        "core/retry.py",
        "core/hours.py",
        "core/layout.py",
        "core/looks.py",
        "core/lookup.py",
        "results/manifest.py",
        "core/units.py",
    ),
    "core/sentences.py",
    *("core/command.py", "spec/holding.py", "ops/rebuild/plan.py", "publish/promise.py"),
    "notifications/digest.py",
    *(
        "files/names.py",
        "arrival/settle.py",
        "workers/states.py",
        "workers/places.py",
        "engines/devices.py",
        "gpu/headroom.py",
    ),
    *("spec/model.py", "spec/parse.py", "spec/lint.py", "spec/first.py", "spec/variables.py"),
    *("spec/placeholders.py", "spec/choices.py", "media/turn.py", "cli/rows.py"),
    *("page/cards.py", "bridge/scaling.py", "bridge/paths.py"),
]
"""No clock, disk or threads."""

OUTSIDE = {"os", "time", "sqlite3", "threading", "subprocess", "socket", "datetime", "pathlib", "shutil", "tempfile"}

ONLY = {
    "sqlite3": {
        *("journal/reader.py", "journal/writer.py", "journal/statements.py", "journal/anew.py"),
        "cli/doctor.py",
    },
    "aiosql": {"journal/statements.py"},
    "pynvml": {"gpu/nvml.py"},
    "systemd": {"service/log.py"},
    "watchdog": {"arrival/watch.py"},
    "subprocess": {
        *("process/start.py", "process/child.py", "process/reaper.py"),
        "bridge/host.py",
        *("engines/choice.py", "engines/upstream/downloads.py", "cli/doctor.py", "cli/doctor_pool.py"),
    },
    "apprise": {"notifications/services.py"},
    "ray": {"bridge/cluster.py"},
    "prometheus_client": {"metrics/figures.py", "metrics/exporter.py"},
    "httpx2": {"models/hub.py"},
    "huggingface_hub": {"models/hub.py", "engines/transfer/weights.py"},
}
"""A module to the files that may import it. doctor only asks SQLite for its version.

Children are started in process/ alone; the last three files run a command of a moment for its answer.
"""

CHILD = [
    *(
        "__init__.py",
        "core/__init__.py",
        "core/command.py",
        "core/layout.py",
        "core/cosmos.py",
        "engines/__init__.py",
        "engines/control_files.py",
        "engines/port.py",
        "engines/faults.py",
    ),
    *("workers/__init__.py", "workers/worker.py", "workers/serve.py"),
    *(f"process/{name}.py" for name in ("__init__", "lifeline", "start", "protocol", "channel")),
    *("core/errors.py", "core/machine_faults.py", "core/sentences.py"),
]
"""What a worker's interpreter reads beside its engine: any Python from 3.10 on, standard library alone."""

FLOORS = [
    ["core"],
    ["process"],
    ["config"],
    ["files", "gpu"],
    ["service"],
    ["journal"],
    ["container"],
    ["media"],
    ["spec"],
    ["engines"],
    ["models"],
    ["publish"],
    ["attempt"],
    ["workers"],
    ["remote"],
    ["hooks"],
    ["queue"],
    ["arrival", "grace", "run", "results"],
    ["ops", "notifications", "metrics", "bridge"],
    ["page"],
    ["daemon"],
    ["cli"],
]
"""The packages, the lowest floor first. A package imports those below it, be it for types alone; stages do not meet."""

CLIMBS = {("engines/choice.py", "models")}
"""The imports of a higher floor. An engine is chosen by the model files that are here; models/ knows which are."""

ALIKE = {"T", "S", "COMMIT", "_STRINGS"}
"""Constants that several modules may give the same value: names of types, and what is alike by chance."""

HEAVY = {"av", "cv2", "numpy", "torch", "diffusers", "transformers", "PIL"}


@cache
def imports(file: Path, *, typing_too: bool = False) -> set[str]:
    """The modules that a file imports when it is imported, by their full names."""
    found: set[str] = set()

    def visit(statements: list[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module or "")
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing_too:
                continue
            for part in ("body", "orelse", "finalbody", "handlers"):
                visit(getattr(node, part, []))

    visit(parsed(file).body)
    return found


def roots(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(file)}


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
def test_pure_core(name) -> None:
    """Pure modules import no clock, disk, thread or process."""
    assert not roots(PACKAGE / name) & OUTSIDE


@pytest.mark.parametrize("module", ONLY)
def test_one_door_to_each_library(module) -> None:
    """Each library is imported only by the module that may."""
    assert {name_of(f) for f in files() if module in roots(f)} <= ONLY[module]


def test_one_file_tells_containers_apart() -> None:
    marks = (b"ftyp", b"\x1aE\xdf\xa3", b"AVI ", b"\x89PNG", b"ffconcat")
    telling = {
        name_of(file)
        for file in files()
        for node in nodes(file)
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and any(m in node.value for m in marks)
    }
    walks = {"container/mp4.py", "container/riff.py"}  # of a file whose kind is known
    assert telling - walks == {"container/signature.py"}


def constants(file: Path) -> list[tuple[str, ast.expr]]:
    """The constants of a module, each with its value."""
    return [
        (target.id, node.value)
        for node in parsed(file).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.isupper()
    ]


def test_controls_are_listed_in_one_file() -> None:
    """A table with something for each control is no second list of them."""
    listing = {
        name_of(file)
        for file in files()
        for node in nodes(file)
        if isinstance(node, ast.Tuple | ast.List | ast.Set)
        and len({part.value for part in node.elts if isinstance(part, ast.Constant)} & set(CONTROLS)) > 1
    }
    assert listing == {"core/cosmos.py"}


def test_constants_are_set_in_one_file() -> None:
    """But for plain numbers, which may be alike by chance."""
    given: dict[tuple[str, str], set[str]] = {}
    for file in files():
        for name, value in constants(file):
            if not isinstance(value, ast.Constant | ast.Name) or isinstance(getattr(value, "value", None), str):
                given.setdefault((name, ast.unparse(value)), set()).add(name_of(file))
    assert {name: where for (name, _), where in given.items() if len(where) > 1 and name not in ALIKE} == {}


def test_refusals_are_judged_in_one_table() -> None:
    """No other module tells the causes apart by their error numbers: a disk that is full is said in one way."""
    judged = {"ENOSPC", "EDQUOT", "EROFS", "ENFILE", "EMFILE"}
    judging = {
        name_of(file)
        for file in files()
        for node in nodes(file)
        if isinstance(node, ast.Dict)
        and len({key.attr for key in node.keys if isinstance(key, ast.Attribute)} & judged) > 1
    }
    assert judging == {"core/machine_faults.py", "arrival/watch.py"}  # inotify says them of limits of its own


def test_chunks_are_written_in_one_file() -> None:
    """The engines fill these files in their own ways; how they get onto the disk is one."""
    writing = {
        name_of(file)
        for file in files()
        if name_of(file).startswith("engines/") and {"fsync", "fsync_dir"} & called(file)
    }
    assert writing == {"engines/chunk_files.py"}


def called(file: Path) -> set[str]:
    """The names of the functions and methods that a file calls."""
    functions = [node.func for node in nodes(file) if isinstance(node, ast.Call)]
    return {named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "") for named in functions}


@pytest.mark.parametrize("name", CHILD)
def test_worker_start_is_standard_library(name) -> None:
    """What a worker starts with imports the standard library alone."""
    outside = {m for m in imports(PACKAGE / name) if m.split(".")[0] not in sys.stdlib_module_names}
    assert {m for m in outside if not m.startswith("povwatch")} == set()
    ours = {
        part
        for m in outside
        for part in [m.replace("povwatch.", "").replace(".", "/") + ".py"]
        if (PACKAGE / part).exists()
    }
    assert ours <= set(CHILD)


def test_floors() -> None:
    """A package imports only packages of the floors below it."""
    height = {package: number for number, floor in enumerate(FLOORS) for package in floor}
    climbs = set()
    for file in files():
        mine = name_of(file).split("/")[0]
        for module in imports(file, typing_too=True):
            theirs = module.split(".")[1] if module.startswith("povwatch.") else mine
            known = mine in height and theirs in height and mine != theirs
            if known and height[theirs] >= height[mine]:
                climbs.add((name_of(file), theirs))
    assert climbs == CLIMBS


def test_every_package_has_its_floor() -> None:
    assert {name_of(file).split("/")[0] for file in files() if "/" in name_of(file)} == {p for f in FLOORS for p in f}


def test_code_map_shows_the_floors() -> None:
    """ARCHITECTURE's code map has every package, the lowest floor first."""
    _, _, text = (PACKAGE.parent / "ARCHITECTURE.md").read_text().partition("## Code map")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [name for name in re.findall(r"`([a-z]+)/`", "".join(rows)) if name != "prompts"]  # it has no code
    height = {package: number for number, floor in enumerate(FLOORS) for package in floor}
    assert set(named) == set(height)
    assert [height[name] for name in named] == sorted(height.values())


def test_reaper_imports_nothing_of_ours() -> None:
    """It is started by its path, by an interpreter that is shown no package."""
    assert roots(PACKAGE / "process/reaper.py") <= set(sys.stdlib_module_names)


def test_engines_do_not_know_their_process() -> None:
    """But for the one that starts other workers itself, for the other GPUs of its jobs."""
    engines = [f for f in files() if name_of(f).startswith("engines/") and name_of(f) != "engines/ranks.py"]
    outside = ("povwatch.workers", "povwatch.process")
    assert not [name_of(f) for f in engines if any(m.startswith(outside) for m in imports(f, typing_too=True))]


def test_daemon_loads_no_decoder_or_model() -> None:
    """A hostile file, or a bug in a decoder, must not take the daemon down; and its memory stays small."""
    loaded = {m for name in reached("daemon/loop.py") for m in roots(PACKAGE / name)}
    assert not loaded & HEAVY


def test_nothing_imports_the_command_line() -> None:
    others = [f for f in files() if not name_of(f).startswith("cli/") and name_of(f) != "__main__.py"]
    assert not [name_of(f) for f in others if any(m.startswith("povwatch.cli") for m in imports(f))]


def test_parts_do_not_know_the_daemon() -> None:
    others = [f for f in files() if not name_of(f).startswith(("cli/", "daemon/")) and name_of(f) != "__main__.py"]
    assert not [name_of(f) for f in others if any(m.startswith("povwatch.daemon") for m in imports(f, typing_too=True))]


def test_only_the_daemon_opens_the_journal() -> None:
    """Workers and media children never open the journal."""
    for start in ("workers/serve.py", "media/child.py"):
        assert not {name for name in reached(start) if name.startswith("journal/")}


def test_plain_clip_needs_no_numpy() -> None:
    """It is a third of what such a child costs, and there are four of them a clip."""
    modules = ("child", "examine", "probe", "prepare", "finish", "measure")
    names = [f"povwatch.media.{name}" for name in modules]
    said = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys, {', '.join(names)}; print('numpy' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout == "False\n"
