"""A povwatch whose workers are on other machines: a double of the bridge has real ones, on nodes that the test names.

Media work is replaced by copies, as in many_workers.py, and the time that somebody may be silent is shortened.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support import many_workers
from support.clips import make_clip
from support.daemons import Daemon, toy

if TYPE_CHECKING:
    from collections.abc import Mapping

BRIDGE = Path(__file__).parents[1] / "doubles/pool_bridge.py"

SILENCE = 2.0
"""Seconds after which who says nothing counts as lost."""


class Bridge:
    """The double, running."""

    def __init__(self, socket: Path, env: Mapping[str, str], *nodes: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(BRIDGE), str(socket), *nodes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **env},
            text=True,
            start_new_session=True,
        )
        self._said: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def said(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """What it told of an event, oldest first."""
        found = [line for line in self._said if line["event"] == event]
        return [line for line in found if all(line.get(key) == value for key, value in fields.items())]

    @property
    def workers(self) -> dict[int, str]:
        """The process ids of its workers, each with the name of its node."""
        gone = {line["pid"] for line in self.said("ended")}
        return {line["pid"]: line["node"] for line in self.said("started") if line["pid"] not in gone}

    def order(self, do: str, **what: Any) -> None:
        """Have it do something; see the double."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send the bridge a signal, and none to its workers."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it; its workers die with it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._said += map(json.loads, self.process.stdout)


class Pooled(Daemon):
    """No worker is on its own machine."""

    def __init__(self, folder: Path, *, engine: str = "waits", **sections: Any) -> None:
        """Write its configuration. `engine`: of tests/engines."""
        super().__init__(folder)
        self.configure_pool(engine=toy(engine), **sections)
        self.before = _begin
        self.env |= {name: str(folder / name) for name in ("TOY_GO", "TOY_RUNS")} | {"TOY_SECONDS": "0.2"}
        self.bridges: list[Bridge] = []

    def configure_pool(self, *, engine: str, **sections: Any) -> None:
        """Rewrite config.toml. `engine`: as engine.kind."""
        own: dict[str, Any] = {
            "engine": {"kind": engine, "workers": 0},
            "pool": {"kind": "ray", "max": 2},
            "grace": {"period": "0s"},
            "arrival": {"settle": "50ms"},
        }
        for name, keys in sections.items():
            own[name] = own.get(name, {}) | keys
        self.configure(**own)

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036
        for bridge in self.bridges:
            bridge.process.send_signal(signal.SIGCONT)
            bridge.kill()
        super().__exit__(*error)

    def bridge(self, *nodes: str) -> Bridge:
        """Start a bridge."""
        self.bridges.append(Bridge(self.state / "pool.sock", self.env, *nodes))
        return self.bridges[-1]

    def let_go(self) -> Self:
        """Let every job of the engine `waits` end, now and later."""
        (self.folder / "TOY_GO").touch()
        return self

    def clips(self, *names: str) -> None:
        """Put clips into inputs/."""
        one = self.folder / "one.mp4"
        if not one.exists():
            make_clip(one, frames=4, size=(64, 48))
        for name in names:
            shutil.copyfile(one, self.inputs / name)

    @property
    def runs(self) -> list[str]:
        """The first word of what the engine noted of each run."""
        file = self.folder / "TOY_RUNS"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def _begin() -> None:
    """Install it before `povwatch run` begins."""
    many_workers._begin()
    from povwatch.remote import process, workers  # noqa: PLC0415 - not in the test's own process

    process.SILENCE = workers.SILENCE = SILENCE
