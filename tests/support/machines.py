"""Several machines on this one: each is a network namespace with processes, a host name and a home of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "script"

PATIENCE = 90


def usable():
    """Skip the test where such machines cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} (Debian: iproute2, util-linux)")
    name = f"pv{os.getpid()}x"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace may be made here")
    subprocess.run(["ip", "netns", "del", name], check=True)


class Network:
    """A switch, and the machines that are plugged in."""

    def __init__(self, folder):
        self._folder = folder
        self._switch = f"pv{os.getpid()}s"
        self.machines = []
        ip("netns", "add", self._switch)
        ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        ip("-n", self._switch, "link", "set", "switch", "up")

    def machine(self, name, config="", **environment):
        """A further machine with a checkout of povwatch, which is set up already."""
        made = Machine(self._folder / name, name, len(self.machines) + 1, self._switch, environment)
        (made.folder / "config.toml").write_text(config)
        self.machines.append(made)
        return made

    def close(self):
        """Pull the plug of everything."""
        for machine in self.machines:
            machine.kill()
            ip("netns", "del", machine.namespace)
        ip("netns", "del", self._switch)


class Machine:
    """One machine."""

    def __init__(self, folder, name, number, switch, environment):
        self.folder, self.name = folder, name
        self.address = f"10.77.0.{number}"
        self.namespace = f"pv{os.getpid()}m{number}"
        self.processes = []
        ip("netns", "add", self.namespace)
        ip("-n", switch, "link", "add", f"port{number}", "type", "veth", "peer", "eth0", "netns", self.namespace)
        ip("-n", switch, "link", "set", f"port{number}", "master", "switch", "up")
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "route", "add", "default", "via", "10.77.0.254")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("POVWATCH_", "RAY_", "PYTEST"))}
        self._env = kept | {"HOME": str(folder / "home")} | environment
        self._check_out()

    def _check_out(self):
        (self.folder / "home").mkdir(parents=True)
        (self.folder / ".venv/bin").mkdir(parents=True)
        (self.folder / "script").mkdir()
        for name in ("lib.sh", "povwatch", "run", "pool-node"):
            shutil.copy(SCRIPTS / name, self.folder / "script")
        programs = {
            "script/bootstrap": "",
            ".venv/bin/python": f'exec {sys.executable} "$@"',
            ".venv/bin/povwatch": f'exec {sys.executable} -m povwatch "$@"',
        }
        for name, text in programs.items():
            (self.folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.folder / name).chmod(0o755)

    def start(self, *words):
        """Start a command in the checkout, on a terminal of nobody's."""
        made = Running(self, words)
        self.processes.append(made)
        return made

    def ask(self, *words):
        """Run a command to its end; its output."""
        running = self.start(*words)
        running.process.wait(PATIENCE)
        return running.text()

    @property
    def alive(self):
        """The command lines of its processes."""
        found = {}
        for pid in ip("netns", "pids", self.namespace).split():
            with contextlib.suppress(OSError):
                found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def kill(self):
        """Kill everything that runs there at once, as a power cut does."""
        while alive := self.alive:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for running in self.processes:
            running.process.wait()


class Running:
    """A command on a machine; its output is in a file."""

    def __init__(self, machine, words):
        self.log = machine.folder / f"log-{len(machine.processes)}"
        called = f'hostname {machine.name}; exec "$@"'
        inside = ["unshare", "--uts", "--mount", "sh", "-c", called, "sh", *words]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", machine.namespace, *inside],
                cwd=machine.folder,
                env=machine._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self):
        return self.log.read_text()

    def says(self, text, count=1):
        """Wait until it has printed something so often."""
        self.until(lambda: self.text().count(text) >= count, text)

    def until(self, condition, what):
        """Wait for something while it runs."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"{what}: it has ended\n{self.text()}"
            assert time.monotonic() < deadline, f"{what} did not come\n{self.text()}"
            time.sleep(0.05)

    def interrupt(self):
        """Press Ctrl-C; its exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)


def ip(*words):
    """Run ip, which has to work; its output."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
