"""What the tests cost: processor time of each folder, file and test, with all the processes that they start.

    python benchmarks/suite.py [--top N] [-- PYTEST'S ARGUMENTS]

Wall time says little on few cores, and a process's own times leave out what its children's children take. So each
process of pytest has a cgroup of its own (version 1 or 2), which only root may make. A fixture that several tests
share counts as the first one's, and stands in a list of its own too.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

TREES = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
"""Where cgroups that count processor time may be."""

GROUP = "SUITE_COST_GROUP"
"""The environment variable with the cgroup of the whole run; `NOTES` has the folder for each process's figures.

Their names are not povwatch's, which refuses variables of its own that it does not know.
"""

NOTES = "SUITE_COST_NOTES"


def main() -> int:
    """Run pytest and print the tables; returns pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--top", type=int, default=40, help="rows of the lists of tests, files and fixtures (40)")
    parser.add_argument("pytest", nargs="*", help="after --: what pytest is to run (the whole suite)")
    given = parser.parse_args()
    with _group(_tree() / f"povwatch-suite-{os.getpid()}") as group, tempfile.TemporaryDirectory() as notes:
        env = os.environ | {GROUP: str(group), NOTES: notes, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-m", "pytest", "-p", Path(__file__).stem, *given.pytest]
        started = time.monotonic()
        code = subprocess.run(command, env=env, check=False, preexec_fn=lambda: _enter(group)).returncode
        wall, used = time.monotonic() - started, _used(group)
        lines = [json.loads(line) for file in Path(notes).iterdir() for line in file.read_text().splitlines()]
    _show(lines, used, wall, given.top)
    return code


def _enter(group: Path) -> None:
    """Move this process, and what it will start, into a cgroup."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _tree() -> Path:
    for tree in TREES:
        if (tree / "cpuacct.usage").exists() or (tree / "cpu.stat").exists():
            return tree
    sys.exit("Found no cgroups that count processor time: mount cgroup2 at /sys/fs/cgroup.")


@contextlib.contextmanager
def _group(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir()
    except OSError as error:
        sys.exit(f"{folder} cannot be made ({error.strerror}): run this as root, where cgroups may be written.")
    try:
        yield folder
    finally:
        for child in [*folder.iterdir(), folder]:
            if child.is_dir():
                with contextlib.suppress(OSError):  # something in it runs on
                    child.rmdir()


def _used(group: Path) -> float:
    """Seconds of processor time of the processes in a cgroup and in those below, so far."""
    if (file := group / "cpuacct.usage").exists():
        return int(file.read_text()) / 1e9
    first = (group / "cpu.stat").read_text().splitlines()[0]
    return int(first.removeprefix("usage_usec ")) / 1e6


# -- in each process of pytest


class Costs:
    """Notes what each test, each shared fixture and collecting took of one process of pytest and its descendants."""

    def __init__(self, name: str) -> None:
        self._group = Path(os.environ[GROUP]) / name
        self._group.mkdir()
        _enter(self._group)
        self._file = (Path(os.environ[NOTES]) / name).open("a", buffering=1)

    def pytest_collection_finish(self) -> None:
        """Note what starting and collecting took."""
        self._note("collecting", "", 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Note what a test took, with its fixtures."""
        return (yield from self._noted("test", item.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Note what a fixture of several tests took, with those that it needs."""
        if fixturedef.scope == "function":
            return (yield)
        return (yield from self._noted("fixture", f"{request.node.nodeid or 'session'}::{fixturedef.argname}"))

    def pytest_unconfigure(self) -> None:
        """Note all of it."""
        self._note("whole", "", 0.0)

    def _noted(self, what: str, name: str) -> Generator[None, Any, Any]:
        before, since = _used(self._group), time.monotonic()
        try:
            return (yield)
        finally:
            self._note(what, name, before, time.monotonic() - since)

    def _note(self, what: str, name: str, before: float, wall: float = 0.0) -> None:
        line = {"what": what, "name": name, "cpu": _used(self._group) - before, "wall": wall, "at": time.monotonic()}
        self._file.write(json.dumps({"process": self._group.name} | line) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Measure in the processes that run tests."""
    os.environ.pop("PYTHONPATH", None)  # pytest has found this module, and what the tests start is not to
    if GROUP in os.environ and (hasattr(config, "workerinput") or not config.getoption("numprocesses", None)):
        config.pluginmanager.register(Costs(getattr(config, "workerinput", {}).get("workerid", "main")))


# -- what is shown


def _show(lines: list[dict[str, Any]], used: float, wall: float, top: int) -> None:
    tests = [line for line in lines if line["what"] == "test"]
    print(f"\nprocessor time {used:.1f} s, wall {wall:.1f} s, {len(tests)} tests")
    print(f"  in tests {sum(line['cpu'] for line in tests):.1f} s")
    collecting = {line["process"]: line["cpu"] for line in lines if line["what"] == "collecting"}
    print(f"  collecting {sum(collecting.values()):.1f} s in {len(collecting)} processes")
    ends = sorted(max(line["at"] for line in tests if line["process"] == name) for name in collecting)
    print("  each process's last test ended before the last of all by", *(f"{ends[-1] - end:.0f} s" for end in ends))
    for title, key in (
        ("folder", lambda name: "/".join(name.split("::")[0].split("/")[1:-1][:2])),
        ("file", lambda name: name.split("::")[0]),
        ("test, its cases together", lambda name: name.split("[")[0]),
        ("test", lambda name: name),
    ):
        _table(title, [(key(line["name"]), line) for line in tests], top)
    _table("shared fixture", [(line["name"], line) for line in lines if line["what"] == "fixture"], top)


def _table(title: str, rows: list[tuple[str, dict[str, Any]]], top: int) -> None:
    cpu, wall, count = collections.Counter[str](), collections.Counter[str](), collections.Counter[str]()
    for name, line in rows:
        cpu[name] += line["cpu"]
        wall[name] += line["wall"]
        count[name] += 1
    print(f"\n  cpu s   wall s  times  {title}")
    for name, seconds in cpu.most_common(top):
        print(f"{seconds:7.2f}  {wall[name]:7.2f}  {count[name]:5}  {name}")


if __name__ == "__main__":
    sys.exit(main())
