"""Runs a program in a terminal, types into it, and reads its screen."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from typing import Self

from support.programs import Client, program
from support.programs import until as wait_until


class Terminal:
    """A program for the terminal: vim, nano. It ends with the test."""

    def __init__(self, name: str, *arguments: object, home: os.PathLike[str]) -> None:
        """Start it.

        Args:
            name: of the program.
            arguments: its own.
            home: has none of the user's settings for it.
        """
        program(name)  # before anything is opened
        self._keys, screen = pty.openpty()
        termios.tcsetwinsize(screen, (24, 80))
        env = {"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": os.fspath(home), "LANG": "C.UTF-8"}
        self.client = Client(name, *arguments, stdin=screen, stdout=screen, stderr=screen, env=env, cwd=home)
        os.close(screen)
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            error.add_note(f"On the screen: {bytes(self._shown)!r}")
        self.client.kill()
        self._reader.join()
        os.close(self._keys)

    def wait_for(self, text: str) -> None:
        """Wait until it has shown a text; before that it may not be ready for keys."""
        wait_until(lambda: text.encode() in self._shown, f"{text} on the screen: {bytes(self._shown)!r}")

    def type(self, keys: str) -> None:
        """Type keys; control characters stand for themselves."""
        data = keys.encode()
        while data:
            data = data[os.write(self._keys, data) :]

    def closes(self) -> None:
        """Wait for its successful end."""
        self.client.ends()

    def _read(self) -> None:
        """Keep reading, or the program would block."""
        try:
            while data := os.read(self._keys, 4096):
                self._shown += data
        except OSError:  # nobody has the other end open any more
            return


def on_a_terminal(here, *arguments, until, patience=20, columns=160):
    """povwatch's output on a terminal up to a pattern, at which it gets a Ctrl-C; and its exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "povwatch", *arguments],
        cwd=here.folder,
        env=here._environment() | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    deadline = time.monotonic() + patience
    asked = False
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    text += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
            if not asked and re.search(until, text):
                process.send_signal(signal.SIGINT)
                asked = True
        return process.wait(5), text.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
