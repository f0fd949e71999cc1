"""A machine with a systemd of its own: systemd-nspawn over an overlay of this machine's root, with povwatch installed.

The machine's changes are thrown away with it. Its private network leads nowhere.

install.sh has script/bootstrap make the virtual environment, which would need a network and half a minute. So an
environment is put there beforehand. It uses /usr/bin/python3 (a service sees no Python in a home folder) and finds the
libraries in the suite's own `.venv`. bootstrap sees that it was made from the same locks, and leaves it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
VENV = REPOSITORY / ".venv"
SOURCE = Path("/usr/src/povwatch")
"""The repository's path in the machine."""

PATIENCE = 60.0
"""Seconds that a test waits; only a failing test waits so long."""

POLL = 0.05

TARGET = "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n"


class Machine:
    """The machine; it runs as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Start nothing.

        Args:
            folder: for the machine alone; its parents may be closed to other users.
        """
        self.folder = folder
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        """The machine's process 1, as numbered here."""

    # -- its life

    def __enter__(self) -> Self:
        self._environment()
        (self.folder / "target").write_text(TARGET)
        (self.folder / "root").mkdir()
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _boot(self) -> None:
        binds = {
            REPOSITORY: SOURCE,
            VENV / "lib": SOURCE.with_name("libraries"),
            self.folder / "venv": "/opt/povwatch/.venv",
            self.folder / "target": "/etc/systemd/system/test.target",
        }
        options = [
            "--boot --quiet --volatile=overlay --register=no --keep-unit --machine=povwatch-test --private-network",
            "--console=pipe --link-journal=no --resolv-conf=off --timezone=off",
            "--capability=all --system-call-filter=bpf",  # otherwise IPAddressDeny is silently not enforced
            f"--directory={self.folder}/root",
            *(f"--bind-ro={source}:{to}" for source, to in binds.items()),
        ]
        # nspawn refuses --directory=/. In a mount namespace, so that nobody who clears up here ever walks into it.
        bound = f"mount --bind / {self.folder}/root && exec systemd-nspawn {' '.join(options)} systemd.unit=test.target"
        with (self.folder / "console").open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "sh", "-c", bound],
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.until(self._up, "the machine has booted")

    def _up(self) -> bool:
        assert self._nspawn is not None
        console = self.folder / "console"
        assert self._nspawn.poll() is None, f"systemd-nspawn ended: {console.read_text(errors='replace')}"
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        self.leader = int(children[0]) if children else 0
        return bool(self.leader) and self.run("systemctl", "is-active", "test.target", check=False).returncode == 0

    def _end(self) -> None:
        if self._nspawn is not None:
            if self.leader:  # killing it ends everything there, faster than a shutdown
                os.kill(self.leader, signal.SIGKILL)
            else:
                self._nspawn.terminate()
            self._nspawn.wait(PATIENCE)

    def _environment(self) -> None:
        """Make the virtual environment that is mounted in the machine."""
        venv = self.folder / "venv"
        library = system_library()
        packages = venv / "lib" / library / "site-packages"
        packages.mkdir(parents=True)
        (packages / "borrowed.pth").write_text(
            f"{SOURCE.with_name('libraries')}/{library}/site-packages\n/opt/povwatch\n"
        )
        (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
        (venv / "bin").mkdir()
        (venv / "bin/python").symlink_to("/usr/bin/python3")
        command = venv / "bin/povwatch"
        command.write_text(
            "#!/opt/povwatch/.venv/bin/python\nimport sys\nfrom povwatch.cli import main\nsys.exit(main())\n"
        )
        command.chmod(0o755)
        (venv / ".povwatch-stamp").write_text((VENV / ".povwatch-stamp").read_text())

    # -- commands

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine as root, to its end."""
        done = subprocess.run(
            [*self.enter(), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{shlex.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the machine as root; the test ends it."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([*self.enter(), *command], **pipes)

    def at(self, path: Path | str) -> Path:
        """A path of the machine, as seen from here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Wait until a function returns something true; returns that."""
        deadline = time.monotonic() + PATIENCE
        while not (found := true()):
            if time.monotonic() > deadline:
                raise AssertionError(f"Not within {PATIENCE:.0f} s: {what}\n{self.texts()}")
            time.sleep(POLL)
        return found

    def texts(self) -> str:
        """What a failed wait reports."""
        return (self.folder / "console").read_text(errors="replace")

    def enter(self) -> list[str]:
        """The beginning of a command line that runs in the machine as root."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-C", "-n", "env", "-i", path]


def system_library() -> str:
    """The name of /usr/bin/python3's library folder: "python3.11"."""
    code = "import sys; print('python%d.%d' % sys.version_info[:2])"
    return subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
