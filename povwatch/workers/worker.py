"""The worker process: `PYTHON /path/to/povwatch/workers/worker.py --engine NAME --fd N`.

It is started by its path under the engine's interpreter, Python 3.10 or later, where povwatch need not be installed. So
it makes povwatch importable itself, and shows that interpreter nothing else of ours.
This file sets the process up; serve.py is what it then does.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib.util
import os
import signal
import socket
import sys

OLDEST = (3, 10)
"""Oldest Python that upstream's environment may have."""

OOM_SCORE_ADJ = 500
"""Makes the kernel's out-of-memory killer take the worker, which is replaced, before the daemon."""


def main(argv: list[str]) -> int:
    """Run a worker on an inherited socket; return its exit status."""
    parser = argparse.ArgumentParser(prog="worker.py", description=__doc__)
    parser.add_argument("--engine", required=True, help="package.module:Class or /path/to/file.py:Class")
    parser.add_argument("--fd", required=True, type=int, help="descriptor of the socket to the daemon")
    arguments = parser.parse_args(argv)
    os.set_inheritable(arguments.fd, False)  # noqa: FBT003 - else a program that the engine starts keeps the line open
    _set_up_process()
    from povwatch.core import command  # noqa: PLC0415 - importable only now, see _adopt_package
    from povwatch.process.channel import Channel  # noqa: PLC0415
    from povwatch.workers.serve import Serving  # noqa: PLC0415

    command.use_environment(os.environ)
    with contextlib.closing(Channel(socket.socket(fileno=arguments.fd))) as channel:
        return Serving(channel, arguments.engine).run()


def _set_up_process() -> None:
    from povwatch.process.lifeline import die_with_parent  # noqa: PLC0415 - see _adopt_package

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon handles Ctrl-C
    faulthandler.enable()  # a crash in C code leaves a traceback in the log
    faulthandler.register(signal.SIGUSR1)  # and a hang too, before the supervisor kills the worker
    # The daemon may be killed while an engine hangs in C code with the interpreter locked, where no thread of ours sees
    # that the socket is dead. So the kernel ends this process with the daemon's main thread, which started it.
    die_with_parent()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(str(OOM_SCORE_ADJ))
    for stream in (sys.stdout, sys.stderr):  # a pipe would hold lines back, and refuse names that are no UTF-8
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def _adopt_package() -> None:
    """Make `import povwatch` work from this file's location.

    This file's folder leaves the search path, because its modules have the names of packages that engines import.
    """
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib is slow to import
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != here]
    package = os.path.dirname(here)  # noqa: PTH120
    spec = importlib.util.spec_from_file_location(
        "povwatch",
        os.path.join(package, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[package],
    )
    if spec is None or spec.loader is None:
        raise ImportError(package)
    module = importlib.util.module_from_spec(spec)
    sys.modules["povwatch"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        sys.exit(
            f"The worker needs Python {OLDEST[0]}.{OLDEST[1]} or later, {sys.executable} is {sys.version.split()[0]}."
        )
    _adopt_package()
    sys.exit(main(sys.argv[1:]))
