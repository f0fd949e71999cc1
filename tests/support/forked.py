"""Runs povwatch's commands in processes that are forked from one that has imported it.

The suite starts a thousand commands, and importing is nine tenths of what a start costs. Everything else is as in a
shell: arguments, environment, folder, descriptors 0 to 2, signals, exit code. Media children are forked as well, see
forked_media.py. tests/integration/test_script_povwatch.py, and tests that need an interpreter of their own
(`PYTHONPATH`, another user), start povwatch from nothing.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import fork_server, forked_media

import povwatch
from povwatch.journal.statements import Statements
from povwatch.spec.prompts import load_templates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

MAIN = str(Path(povwatch.__file__).with_name("__main__.py"))
"""The first argument of `python -m povwatch`."""


def serve(name: str) -> NoReturn:
    """Start commands for clients of the socket `name`."""
    from povwatch.cli.app import VERBS  # noqa: PLC0415 - only the server has to

    for module in set(VERBS.values()):
        importlib.import_module(f"povwatch.cli.{module}")
    for file in ("read.sql", "write.sql"):
        Statements(file)
    load_templates(None)
    fork_server.serve(name, _run)


class Forked(fork_server.Served):
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
        befores = [] if before is None else [before]
        if forks_media:
            befores.insert(0, functools.partial(forked_media.install, forked_media.server()))
        request = {
            "arguments": arguments,
            "cwd": str(cwd),
            "env": dict(env),
            "before": base64.b64encode(pickle.dumps(befores)).decode(),
        }
        with contextlib.ExitStack() as opened:
            streams = [
                os.open(path, flags, 0o666)
                for path, flags in (
                    (os.devnull, os.O_RDONLY),
                    (stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
                    (stderr, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if stderr != stdout else 0)),
                )
            ]
            for stream in streams:
                opened.callback(os.close, stream)
            super().__init__(fork_server.server(__name__), request, streams)


def _run(request: dict[str, Any], *streams: int) -> int:
    fork_server.redirect(streams)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [MAIN, *request["arguments"]]
    for before in pickle.loads(base64.b64decode(request["before"])):  # noqa: S301 - a test has made it
        before()
    from povwatch.cli import main  # noqa: PLC0415 - here as in __main__.py

    main()
    return 0
