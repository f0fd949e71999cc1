"""The command line. Each verb is thin: what it does is elsewhere.

Exit codes: 0 done; 1 something is not done; 2 usage or configuration; 3 this machine is not able.
"""

from __future__ import annotations

import shlex
import sys

from povwatch.cli.app import app, program
from povwatch.errors import ConfigError, MachineError, PovwatchError
from povwatch.log import one_line


def main() -> None:
    """Run the command that the arguments name; an error becomes one line and an exit code."""
    try:
        app(prog_name=shlex.quote(program()))
    except PovwatchError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"povwatch: {one_line(line)}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 3 if isinstance(error, MachineError) else 1)
    except BrokenPipeError:  # `povwatch jobs | head`
        sys.stderr.close()
        sys.exit(0)
