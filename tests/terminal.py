"""A program in a terminal of its own, which a test types into and reads the screen of."""

from __future__ import annotations

import os
import pty
import termios
import threading
from typing import Self

from programs import Client, program, until


class Terminal:
    """A program of the screen: vim, nano. Nothing of it is left when the test ends."""

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

    def __exit__(self, *_: object) -> None:
        self.client.kill()
        self._reader.join()
        os.close(self._keys)

    def wait_for(self, text: str) -> None:
        """Wait until it has shown something: before that it may not be ready for keys."""
        until(lambda: text.encode() in self._shown, f"{text} on the screen: {bytes(self._shown)!r}")

    def type(self, keys: str) -> None:
        """Press keys; control characters stand for themselves."""
        data = keys.encode()
        while data:
            data = data[os.write(self._keys, data) :]

    def closes(self) -> None:
        """Wait for its good end."""
        self.client.ends()

    def _read(self) -> None:
        """Keep reading, or the program would wait for us."""
        try:
            while data := os.read(self._keys, 4096):
                self._shown += data
        except OSError:  # nobody has the other end open any more
            return
