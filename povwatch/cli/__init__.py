"""The command line. Each verb is thin; other packages do the work.

Exit codes: 0 done; 1 something is not done; 2 usage or configuration; 3 this machine is not able.
"""

from __future__ import annotations

import os
import shlex
import sys

from povwatch.cli import complete
from povwatch.cli.app import app, program
from povwatch.core.errors import ConfigError, MachineError, PovwatchError
from povwatch.service.log import one_line

COMPLETION_OPTIONS = ("--install-completion", "--show-completion")
"""Typer's options."""

TRACEBACK = "POVWATCH_TRACEBACK"
"""The environment variable that makes commands show tracebacks."""


def main() -> None:
    """Run a command; an error becomes one line and an exit code."""
    # A shell completes by the program's plain name, however the path to it was typed.
    completes = complete.prepare(os.environ) or any(word in COMPLETION_OPTIONS for word in sys.argv)
    try:
        app(prog_name="povwatch" if completes else shlex.quote(program()))
    except PovwatchError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"povwatch: {one_line(line)}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 3 if isinstance(error, MachineError) else 1)
    except BrokenPipeError:  # `povwatch jobs | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.stderr.write(
            f"povwatch: it failed on what nobody foresaw ({one_line(f'{type(error).__name__}: {error}')}).\n"
        )
        sys.stderr.write(f"povwatch: Please report it, with what the same command shows with {TRACEBACK}=1.\n")
        sys.exit(1)
