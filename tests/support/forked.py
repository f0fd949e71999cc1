"""Runs povwatch's commands in processes that are forked from one that has imported it.

The suite starts a thousand commands, and importing is nine tenths of what a start costs. Everything else is as in a
shell: arguments, environment, folder, descriptors 0 to 2, signals, exit code. Media children are forked as well, see
forked_media.py. tests/integration/test_script_povwatch.py, and tests that need an interpreter of their own
(`PYTHONPATH`, another user), start povwatch from nothing.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from support import forked_media

import povwatch
from povwatch.cli.app import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

_PRELOADED = ["support.forked", *forked_media.PRELOADED, *(f"povwatch.cli.{module}" for module in set(VERBS.values()))]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_PRELOADED)

MAIN = str(Path(povwatch.__file__).with_name("__main__.py"))
"""The first argument of `python -m povwatch`."""


class Forked:
    """A running command, with the part of subprocess.Popen that tests use."""

    def __init__(
        self,
        arguments: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdout: Path,
        stderr: Path,
        before: Callable[[], None] | None = None,
        forks_media: bool = True,
    ) -> None:
        """Start it.

        Args:
            arguments: after `povwatch`.
            env: the whole environment.
            stdout: a file, which is created anew.
            stderr: a file, which may be the same.
            before: called in the process before povwatch begins; picklable.
            forks_media: whether its media children may be forked too.
        """
        self.args = ["povwatch", *arguments]
        self.returncode: int | None = None
        befores = [] if before is None else [before]
        if forks_media:
            befores.insert(0, functools.partial(forked_media.install, media_server()))
        self._process = _context.Process(
            target=_run, args=(arguments, str(cwd), dict(env), (str(stdout), str(stderr)), befores), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def media_server() -> str:
    """The socket of this process's server of media children."""
    return served(f"\0povwatch-media-{os.getpid()}", forked_media.serve)


def served(name: str, serve: Callable[[str, Connection], None]) -> str:
    """Call `serve` with a socket's name and a pipe, in a process of its own that ends with this one.

    Returns the name when `serve` has sent "ready".
    """
    heard, said = _context.Pipe(duplex=False)
    _context.Process(target=serve, args=(name, said), daemon=True).start()
    said.close()
    assert heard.recv() == "ready"
    return name


def _run(
    arguments: list[str],
    cwd: str,
    env: dict[str, str],
    streams: tuple[str, str],
    befores: Sequence[Callable[[], None]],
) -> None:
    stdout, stderr = streams
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for to, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        if to == 2 and stderr == stdout:
            os.dup2(1, 2)
            continue
        descriptor = os.open(path, flags, 0o666)
        os.dup2(descriptor, to)
        os.close(descriptor)
    sys.argv = [MAIN, *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for before in befores:
        before()
    from povwatch.cli import main  # noqa: PLC0415 - here as in __main__.py

    main()
