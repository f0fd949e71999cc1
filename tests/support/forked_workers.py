"""Forks workers of the tiny model, and children that compute controls, from a process that has imported torch.

Importing them takes seconds of each start. All else is as it is: the worker's own code, its messages, session, output
and end. Ranks other than 0 start from nothing, and one test starts its worker so.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

from support import fork_server, forked_media, tiny_guardrail, tiny_needs

from povwatch.engines.annotate import annotation
from povwatch.engines.annotate import child as annotate
from povwatch.media import child, run
from povwatch.process.child import Child
from povwatch.process.start import WORKER
from povwatch.workers import process, worker

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import NoReturn


def server() -> str:
    """The socket of this process's server of workers."""
    return fork_server.server(__name__)


def serve(name: str) -> NoReturn:
    """Start workers for clients of the socket `name`.

    A request has the arguments, the environment and the client's process id. With it come the worker's channel and its
    output.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # as the tiny model's engines set it before they import
    from support import tiny_annotators  # noqa: F401, PLC0415 - it is what takes seconds

    fork_server.serve(name, _child, groups=True)


def install(name: str) -> None:
    """Make this process's povwatch get its processes with torch from the server at the socket `name`.

    Controls are computed for the tiny engine, as for the one that it is made of.
    """
    annotation.ENGINES |= {f"{tiny_needs.MODEL}:TinyEngine"}
    process.start = functools.partial(_start, name)  # type: ignore[attr-defined]
    from_nothing = run.Program.started

    def started(program: run.Program, op: str) -> Child:
        if program.module != annotate.__name__:
            return from_nothing(program, op)
        env = {**os.environ, **program.environment}
        return Child(forked_media.MediaChild(name, op, env=env))  # type: ignore[arg-type]

    run.Program.started = started  # type: ignore[method-assign]


def _start(
    name: str, argv: Sequence[str], *, env: Mapping[str, str], stdout: int, stderr: int, keeps: Collection[int]
) -> fork_server.Served:
    """What takes the place of process.start.start."""
    python, program, *arguments = argv
    (channel,) = keeps
    assert (python, program) == (sys.executable, str(WORKER))
    assert arguments[-2:] == ["--fd", str(channel)]
    assert stdout == stderr
    request = {"arguments": arguments[:-1], "env": dict(env), "cwd": os.getcwd(), "parent": os.getpid()}  # noqa: PTH109
    return fork_server.Served(name, request, (channel, stdout))


def _child(request: dict[str, Any], *descriptors: int) -> int:
    """Be a child that computes controls, or a worker."""
    if "op" in request:
        return forked_media.be_child(request, descriptors, _compute)
    return _work(request, *descriptors)


def _compute() -> None:
    """Be the child that computes controls, on tiny models."""
    import torch  # noqa: PLC0415 - the server has imported it

    torch.set_num_threads(1)
    child.main(annotate.OPERATIONS)


def _work(request: dict[str, Any], channel: int, output: int) -> int:
    os.setsid()
    fork_server.redirect([os.open(os.devnull, os.O_RDONLY), output, output])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tiny_guardrail.read_environment()  # the hub's client has read another one when it was imported
    sys.stdout, sys.stderr = (os.fdopen(fd, "w") for fd in (1, 2))  # ours may be of files, which can be sought
    sys.argv = [str(WORKER), *request["arguments"], str(channel)]
    return worker.main(sys.argv[1:])
