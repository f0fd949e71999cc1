"""povwatch, installed on a machine of its own: tests configure it, send it commands, and read the journal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support.clips import make_clip
from support.daemons import SHEET
from support.systemd_machine import PATIENCE, SOURCE, Machine

INPUTS, OUTPUTS = Path("/srv/povwatch/inputs"), Path("/srv/povwatch/outputs")
TOYS = Path("/srv/povwatch/toys")
"""Where toy engines look for permission to go on, and record what they did."""

CONFIG, DROP_IN = Path("/etc/povwatch/config.toml"), Path("/etc/systemd/system/povwatch.service.d/test.conf")

SHORT = """\
[paths]
inputs = "/srv/povwatch/inputs"
outputs = "/srv/povwatch/outputs"
state = "/var/lib/povwatch"
[arrival]
settle = "200ms"
rescan = "1s"
[grace]
period = "200ms"
[disk]
reserve = "1MB"
"""
"""The default config.toml of tests."""


class Service(Machine):
    """The machine, and the service on it."""

    def __init__(self, folder: Path) -> None:
        """Start and install nothing; see Machine."""
        super().__init__(folder)
        self._follower: subprocess.Popen[bytes] | None = None
        self._mark = 0
        self._installed = ""
        self._settled = ("", "")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self._follower is not None:
            self._follower.wait(PATIENCE)

    def install(self) -> str:
        """Run the installer; returns its output."""
        said = self.run(str(SOURCE / "systemd/install.sh")).stderr
        if self._follower is None:
            self._installed = self.at(CONFIG).read_text()
            self._settled = (self._installed, "")
            self._follow()
        return said

    def settle(self, engine: str, *, config: str = SHORT, service: str = "") -> None:
        """Make the service run with a toy engine, and remove the toys' files; restarts it only if needed.

        Args:
            engine: the name of a toy in tests/engines, or an engine's kind.
            config: config.toml without the engine.
            service: more lines for [Service].
        """
        kind = engine if engine in {"auto", "preview"} else f"{SOURCE}/tests/engines/{engine}.py:Engine"
        toys = " ".join(f"{name}={TOYS / name}" for name in ("TOY_LOAD", "TOY_GO", "TOY_RUNS", "TOY_PRIED"))
        self.at(TOYS).mkdir(exist_ok=True)
        self.at(TOYS).chmod(0o777)
        for left in self.at(TOYS).iterdir():
            left.unlink()
        self.at(TOYS / "TOY_LOAD").touch()
        unit = f"[Service]\nRestartSec=200ms\nEnvironment={toys}\n{service}"
        self._settle(f'{config}[engine]\nkind = "{kind}"\n', unit)

    def settle_as_installed(self) -> None:
        """Make the service run as install.sh left it."""
        self._settle(self._installed, "")

    def _settle(self, text: str, unit: str) -> None:
        self.mark()
        if self._settled == (text, unit) and self.shown("ActiveState") == "active":
            return
        self.at(CONFIG).write_text(text)
        self.at(DROP_IN).parent.mkdir(exist_ok=True)
        self.at(DROP_IN).write_text(unit)
        self._settled = (text, unit)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "reset-failed", "povwatch")
        self.run("systemctl", "restart", "povwatch")

    def let_go(self) -> None:
        """Let everything that the engine `waits` generates, now and later, finish."""
        self.at(TOYS / "TOY_GO").touch()

    @property
    def runs(self) -> int:
        """How often the engine `waits` was asked to generate."""
        notes = self.at(TOYS / "TOY_RUNS")
        return len(notes.read_text().split()) if notes.exists() else 0

    def shown(self, name: str) -> str:
        """A property of the service, from systemctl show."""
        return self.run("systemctl", "show", "--value", f"--property={name}", "povwatch").stdout.strip()

    @property
    def pid(self) -> int:
        """The daemon's process id in the machine; 0 if there is none."""
        return int(self.shown("MainPID"))

    @property
    def processes(self) -> set[int]:
        """The process ids, in the machine, of everything that runs as povwatch."""
        found = self.run("find", "/proc", "-maxdepth", "1", "-user", "povwatch", "-printf", "%f\n", check=False).stdout
        return {int(pid) for pid in found.split()}

    def shows(self, clip: str) -> dict[str, Any]:
        """`povwatch show CLIP --json`, typed by root."""
        found: dict[str, Any] = json.loads(self.run("povwatch", "show", clip, "--json").stdout)
        return found

    # -- what is said there

    def mark(self) -> None:
        """Lines that were said before count no more."""
        self._mark = len(self._lines())

    def said(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """The journal's entries since the mark, oldest first: povwatch's with this event and fields, or all."""
        wanted = {key.upper(): str(value) for key, value in fields.items()} | ({"EVENT": event} if event else {})
        lines = self._lines()[self._mark :]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def texts(self) -> str:
        """The journal's messages since the mark, povwatch's and systemd's."""
        return "\n".join(str(line.get("MESSAGE")) for line in self.said())

    def wait_for(self, event: str, *, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait until povwatch has said this so many times; the last of them."""
        self.until(lambda: len(self.said(event, **fields)) >= count, f"{event} {fields} x{count}")
        return self.said(event, **fields)[-1]

    def clip(self, name: str, **options: Any) -> Path:
        """Make a clip and copy it into inputs/, as somebody else than povwatch."""
        made = make_clip(self.folder / f"made{Path(name).suffix}", **options)
        to = self.at(INPUTS / name)
        to.write_bytes(made.read_bytes())
        return to

    def published(self, stem: str) -> list[str]:
        """What there is in outputs/ of a clip, except its contact sheet."""
        folder = self.at(OUTPUTS / stem)
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
        return sorted(name for name in names if not SHEET.search(name))

    def _lines(self) -> list[dict[str, Any]]:
        file = self.folder / "journal"
        whole = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in whole if line.endswith("\n")]

    def _follow(self) -> None:
        """From now on read the journal; what was said before is read too."""
        units = [
            f"--unit={name}" for name in ("povwatch", "povwatch-gpu", "povwatch-notify", "povwatch-prefetch@diffusers")
        ]
        command = ["journalctl", "--follow", "--lines=all", "--output=json", *units]
        with (self.folder / "journal").open("wb") as to:
            self._follower = subprocess.Popen([*self.enter(), *command], stdin=subprocess.DEVNULL, stdout=to)
