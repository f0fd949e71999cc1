"""A machine with a systemd of its own: systemd-nspawn over an overlay of this one's root, where povwatch is installed.

What a test does there is thrown away with it. It has a network of its own, which leads nowhere.

The virtual environment: install.sh has script/bootstrap make it, which would need the network and half a minute. So
one is put there beforehand, of /usr/bin/python3 (a service sees no Python in a home folder), that finds the libraries
in the suite's own `.venv`; bootstrap sees that it was made from the same locks, and leaves it.
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
"""Where the repository is in the machine."""

PATIENCE = 60.0
"""Seconds that a test waits for anything; only a failing test waits so long."""

POLL = 0.05

TARGET = "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n"


class Machine:
    """As a context manager it runs."""

    def __init__(self, folder: Path) -> None:
        """Nothing is started.

        Args:
            folder: of its own; its parents need not be open to others.
        """
        self.folder = folder
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        """The process that is 1 there."""

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
            "--capability=all --system-call-filter=bpf",  # else IPAddressDeny is silently not enforced
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
            if self.leader:  # its end is the end of everything there, and quicker than a shutdown
                os.kill(self.leader, signal.SIGKILL)
            else:
                self._nspawn.terminate()
            self._nspawn.wait(PATIENCE)

    def _environment(self) -> None:
        """Make the virtual environment that is bound in."""
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

    # -- what is done there

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there as root, to its end."""
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
        """Start a command there as root, to be ended by the test."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([*self.enter(), *command], **pipes)

    def at(self, path: Path | str) -> Path:
        """Where a path of the machine is seen from here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Wait until something is true; what it gave."""
        deadline = time.monotonic() + PATIENCE
        while not (found := true()):
            if time.monotonic() > deadline:
                raise AssertionError(f"Not within {PATIENCE:.0f} s: {what}\n{self.texts()}")
            time.sleep(POLL)
        return found

    def texts(self) -> str:
        """What is told of a wait that was in vain."""
        return (self.folder / "console").read_text(errors="replace")

    def enter(self) -> list[str]:
        """What a command begins with that is to run there as root."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-C", "-n", "env", "-i", path]


def system_library() -> str:
    """What the folder of /usr/bin/python3's libraries is called: "python3.11"."""
    code = "import sys; print('python%d.%d' % sys.version_info[:2])"
    return subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
