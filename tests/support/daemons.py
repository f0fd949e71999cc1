"""A real povwatch in a folder of its own, which tests start, ask, stop and kill.

Tests look at what users see: files, log lines, the command line and its exit codes.
Nothing sleeps for a fixed time; every wait has a deadline.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.clips import make_clip
from support.forked import Forked

from povwatch.cli.status import as_object
from povwatch.core.errors import JournalError
from povwatch.core.layout import shown
from povwatch.journal import open_reader
from povwatch.service.requests import Answer, RequestSpool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

PATIENCE = 30.0
"""Seconds that a test waits; only a failing test waits so long."""

LAST_LINES = 40
"""Lines of the log that a failed wait shows."""

POLL = 0.05
"""Seconds between two polls."""

ENGINES = Path(__file__).parents[1] / "engines"

SHEET = re.compile(r"_sheet(_v[0-9]+)?\.jpg$")
"""The end of the name of a contact sheet. Most tests are about what it is made of."""

SHORT: dict[str, dict[str, Any]] = {
    "arrival": {"settle": "200ms", "rescan": "1s"},
    "grace": {"period": "200ms"},
    "engine": {"kind": f"{ENGINES / 'copies.py'}:Engine"},
    "disk": {"reserve": "1MB"},
    "page": {"enabled": False},
}
"""The default configuration of tests: section to keys."""


def toy(name: str) -> str:
    """`engine.kind` of a toy in tests/engines."""
    return f"{ENGINES / name}.py:Engine"


class Daemon:
    """A povwatch folder and its daemon, if one runs.

    As a context manager it kills what it started, so that no test leaves a process behind.
    """

    def __init__(self, folder: Path, **sections: Any) -> None:
        """Write config.toml; start nothing.

        Args:
            folder: created if it is missing, with inputs/ and outputs/ in it.
            sections: override `SHORT`, as in `grace={"period": "1h"}`; and `hooks` and `notify`, lists.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.inputs = folder / "inputs"
        self.outputs = folder / "outputs"
        self.state = folder / ".povwatch"
        self.inputs.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.env: dict[str, str] = {}
        """Environment variables of every command; they override the test's own."""
        self.wrapper: list[str] = []
        """The command that starts `povwatch run`, such as setpriv and its options."""
        self.before: Callable[[], None] | None = None
        """Called in every command's process before povwatch begins. Picklable; not together with a wrapper."""
        self.forks_media = True
        """Whether its media children may be forked; otherwise each is a program that can be found by its name."""
        self._starts = 0
        self._said: dict[int, Log] = {}
        self.configure(**sections)

    def configure(
        self,
        *,
        hooks: Sequence[Mapping[str, Any]] = (),
        notify: Sequence[Mapping[str, Any]] = (),
        **sections: Mapping[str, Any],
    ) -> None:
        """Rewrite config.toml: `SHORT`, then these sections, and a [[hooks]] or [[notify]] for each hook or service."""
        merged = {name: dict(keys) for name, keys in SHORT.items()}
        for name, keys in sections.items():
            merged.setdefault(name, {}).update(keys)
        text = "".join(f"[{name}]\n{_toml(keys)}\n" for name, keys in merged.items())
        text += "".join(f"[[hooks]]\n{_toml(hook)}\n" for hook in hooks)
        text += "".join(f"[[notify]]\n{_toml(one)}\n" for one in notify)
        (self.folder / "config.toml").write_text(text)

    # -- its life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if error is not None:
            error.add_note("The daemon's log:\n" + self.text())

    def start(self, *arguments: str, watching: bool = True) -> Self:
        """Start `povwatch run`. Each start has a log of its own, and `events` reads all of them.

        Args:
            arguments: after `run`.
            watching: whether to wait until it has started.
        """
        assert self.process is None or self.process.poll() is not None, "it runs already"
        self._starts += 1
        self._said[self._starts] = Log(self._log(self._starts))
        log = self._log(self._starts)
        log.touch()
        self.process = self._started(["run", *arguments], log, log)
        if watching:
            self.wait_for("daemon-started", start=self._starts)
        return self

    @property
    def running(self) -> bool:
        """Whether the daemon runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self.process is not None
        return self.process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the daemon; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill the daemon (SIGKILL)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait until it ends by itself; returns its exit code."""
        assert self.process is not None
        return self.process.wait(patience)

    def once(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `povwatch run --once` to its end. stderr has its log, stdout its summary."""
        return self.call("run", "--once", *arguments)

    def call(self, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        """Run another verb to its end."""
        words = [os.fsdecode(word) for word in arguments]
        with tempfile.TemporaryDirectory() as place:
            said = Path(place, "stdout"), Path(place, "stderr")
            process = self._started(words, *said, wrapper=())
            try:
                code = process.wait(2 * PATIENCE)
            finally:
                process.kill()
                process.wait()
            out, err = (file.read_text("utf-8", "surrogateescape") for file in said)
        return subprocess.CompletedProcess(["povwatch", *words], code, out, err)

    def ask(self, verb: str, clip: str, **options: bool) -> Answer:
        """Send the request of `povwatch VERB CLIP` without starting a command; returns the answer."""
        spool = RequestSpool(self.state)
        answer = spool.wait(spool.ask(verb, clip, **options), PATIENCE)
        assert answer is not None, f"no answer to {verb} {clip}"
        return answer

    # -- what it says

    def text(self, start: int | None = None) -> str:
        """The log of one start (counted from 1), or of all."""
        return "".join(self._log(n).read_text(errors="surrogateescape") for n in self._wanted(start))

    def events(self, name: str | None = None, *, start: int | None = None, **fields: Any) -> list[dict[str, Any]]:
        """The log lines with this event name and these fields, oldest first."""
        return [
            line
            for number in self._wanted(start)
            for line in self._said[number].lines()
            if name in {None, line.get("event")} and all(line.get(key) == value for key, value in fields.items())
        ]

    def wait_for(
        self, name: str, *, count: int = 1, start: int | None = None, patience: float = PATIENCE, **fields: Any
    ) -> dict[str, Any]:
        """Wait for so many log lines of an event; returns the last one."""

        def said() -> dict[str, Any] | None:
            found = self.events(name, start=start, **fields)
            return found[-1] if len(found) >= count else None

        return self.until(said, f"{name} {fields or ''} x{count}", patience)

    def jobs(self, *, state: str | None = None) -> list[dict[str, Any]]:
        """`povwatch jobs --json`."""
        done = self.call("jobs", "--json", *(("--state", state) if state else ()))
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def show(self, clip: str) -> dict[str, Any]:
        """`povwatch show CLIP --json`."""
        done = self.call("show", clip, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_state(
        self, clip: str, state: str, *, waiting_on: str | None = None, patience: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until a clip's newest job is in a state (and waits on something); returns it as `jobs --json` does.

        It reads the journal directly: starting a command for each poll would take most of the time.
        """

        def there() -> dict[str, Any] | None:
            job = self.peek(clip)
            there = job is not None and job["state"] == state and waiting_on in {None, job["waiting_on"]}
            return job if there else None

        try:
            return self.until(there, patience=patience)
        except AssertionError as error:
            raise AssertionError(f"{clip} never was {state} {waiting_on or ''}; it is {self.peek(clip)}") from error

    def peek(self, clip: str) -> dict[str, Any] | None:
        """A clip's newest job as in `jobs --json`; None if there is no journal or no job."""
        try:
            with open_reader(self.state) as reader:
                found = [job for job in reader.jobs() if shown(job.path) == clip]
                return as_object(found[-1], reader) if found else None
        except (JournalError, sqlite3.OperationalError):  # not made yet, or being made
            return None

    def until(self, true: Callable[[], Any], what: str = "", patience: float = PATIENCE) -> Any:
        """Wait until a function returns something true; returns that. Fails if the daemon ends."""
        deadline = time.monotonic() + patience
        while True:
            ended = self.process is not None and self.process.poll() is not None
            if found := true():
                return found
            assert not ended, f"The daemon ended ({self.process and self.process.returncode}) before: {what or true}"
            if time.monotonic() >= deadline:
                error = AssertionError(f"Not within {patience:.0f} s: {what or true}")
                error.add_note("The end of the daemon's log:\n" + "\n".join(self.text().splitlines()[-LAST_LINES:]))
                raise error
            time.sleep(POLL)

    # -- its folders

    def clip(self, name: str = "a.mp4", **options: Any) -> Path:
        """Make a clip and move it into inputs/; `name` may contain folders."""
        made = make_clip(self.folder / f"made{Path(name).suffix}", **options)
        to = self.inputs / name
        to.parent.mkdir(parents=True, exist_ok=True)
        return made.rename(to)

    def copy(self, source: Path, name: str = "a.mp4") -> Path:
        """Copy a file into inputs/, as cp does."""
        to = self.inputs / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
        return to

    def published(self, *, sheets: bool = False) -> list[str]:
        """The files in outputs/ except povwatch's own folder, as sorted relative paths; contact sheets if asked for."""
        found = []
        for folder, folders, names in os.walk(self.outputs):
            if ".povwatch" in folders:
                folders.remove(".povwatch")
            found += [os.path.relpath(os.path.join(folder, name), self.outputs) for name in names]  # noqa: PTH118 - from os.walk
        return sorted(path for path in found if sheets or not SHEET.search(path))

    # -- helpers

    def _wanted(self, start: int | None) -> list[int]:
        return [start] if start else list(range(1, self._starts + 1))

    def _log(self, start: int) -> Path:
        return self.folder / f"log.{start}"

    def _started(
        self, words: list[str], stdout: Path, stderr: Path, wrapper: Sequence[str] | None = None
    ) -> subprocess.Popen[bytes] | Forked:
        wrapper = self.wrapper if wrapper is None else wrapper
        env = self._environment()
        if not wrapper and "PYTHONPATH" not in env:
            return Forked(
                words,
                cwd=self.folder,
                env=env,
                stdout=stdout,
                stderr=stderr,
                before=self.before,
                forks_media=self.forks_media,
            )
        with stdout.open("wb") as out, stderr.open("ab") as err:
            return subprocess.Popen(
                [*wrapper, sys.executable, "-m", "povwatch", *words],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out if stderr == stdout else err,
            )

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("POVWATCH_")}
        for key in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "STATE_DIRECTORY", "WATCHDOG_USEC"):
            kept.pop(key, None)
        return kept | self.env


class Corner:
    """A folder in the inputs of a daemon that several tests share: starting a daemon takes most of a test's time.

    Clips are named relative to it, and only its own log lines are seen.
    """

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.inputs = daemon.inputs / name
        self.outputs = daemon.outputs / name
        self.folder = daemon.folder / name
        """A folder for the test's other files, on the file system of inputs/, and not watched."""
        self.folder.mkdir()
        self.inputs.mkdir()

    def clip(self, name: str = "a.mp4", **options: Any) -> Path:
        """As Daemon.clip."""
        return self.daemon.clip(f"{self.name}/{name}", **options)

    def copy(self, source: Path, name: str = "a.mp4") -> Path:
        """As Daemon.copy."""
        return self.daemon.copy(source, f"{self.name}/{name}")

    def events(self, name: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """As Daemon.events, for the clips in this folder."""
        fields = fields | ({"clip": f"{self.name}/{fields['clip']}"} if "clip" in fields else {})
        found = self.daemon.events(name, **fields)
        return [line for line in found if str(line.get("clip")).startswith(f"{self.name}/")]

    def wait_for(self, name: str, *, count: int = 1, **fields: Any) -> dict[str, Any]:
        """As Daemon.wait_for."""

        def said() -> dict[str, Any] | None:
            found = self.events(name, **fields)
            return found[-1] if len(found) >= count else None

        try:
            found: dict[str, Any] = self.until(said, f"{name} {fields or ''} x{count}")
        except AssertionError as error:
            error.add_note("\n".join(json.dumps(line) for line in self.events()))
            raise
        return found

    def until(self, true: Callable[[], Any], what: str = "") -> Any:
        """As Daemon.until."""
        return self.daemon.until(true, what)

    def peek(self, clip: str) -> dict[str, Any] | None:
        """As Daemon.peek."""
        return self.daemon.peek(f"{self.name}/{clip}")

    def wait_state(self, clip: str, state: str, *, waiting_on: str | None = None) -> dict[str, Any]:
        """As Daemon.wait_state."""
        return self.daemon.wait_state(f"{self.name}/{clip}", state, waiting_on=waiting_on)

    def ask(self, verb: str, clip: str, **options: bool) -> Answer:
        """As Daemon.ask."""
        return self.daemon.ask(verb, f"{self.name}/{clip}", **options)

    def call(self, verb: str, clip: str, *options: str) -> subprocess.CompletedProcess[str]:
        """As Daemon.call, for a verb with a clip."""
        return self.daemon.call(verb, f"{self.name}/{clip}", *options)

    def show(self, clip: str) -> dict[str, Any]:
        """As Daemon.show."""
        return self.daemon.show(f"{self.name}/{clip}")

    def published(self) -> list[str]:
        """As Daemon.published, below this folder."""
        below = f"{self.name}/"
        return [path.removeprefix(below) for path in self.daemon.published() if path.startswith(below)]


class Log:
    """A growing log; each line is parsed once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self._lines: list[dict[str, Any]] = []

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines so far; other lines are skipped."""
        with self._file.open("rb") as file:
            file.seek(self._at)
            whole, _, _ = file.read().rpartition(b"\n")
        if whole:
            self._at += len(whole) + 1
            self._lines += [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return self._lines


def _toml(keys: Mapping[str, Any]) -> str:
    """A section's lines. JSON's strings, numbers and lists are valid TOML."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in keys.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _key(key: str) -> str:
    return json.dumps(key)
