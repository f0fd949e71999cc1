"""Forks workers of the tiny model, and children that compute controls, from a process that has imported torch.

Importing them takes seconds of each start. All else is as it is: the worker's own code, its messages, session, output
and end. Ranks other than 0 start from nothing, and one test starts its worker so.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from support import forked, forked_media, tiny_guardrail, tiny_needs

from povwatch.engines.annotate import annotation
from povwatch.engines.annotate import child as annotate
from povwatch.media import child, run
from povwatch.process.child import Child
from povwatch.process.lifeline import die_with_parent
from povwatch.process.start import WORKER, kill_group
from povwatch.workers import process, worker

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from multiprocessing.connection import Connection
    from typing import NoReturn


@functools.cache
def server() -> str:
    """The socket of this process's server of workers."""
    return forked.served(f"\0povwatch-workers-{os.getpid()}", serve)


def serve(name: str, told: Connection) -> None:
    """Start workers for clients of the socket `name`; never returns.

    A request has the arguments, the environment and the client's process id. With it come the worker's channel and its
    output.
    """
    die_with_parent()
    os.environ["HF_HUB_OFFLINE"] = "1"  # as the tiny model's engines set it before they import
    from support import tiny_annotators  # noqa: F401, PLC0415 - it is what takes seconds

    forked_media.fork_for_clients(name, told, _guard)


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
) -> forked_media.ServedChild:
    """What takes the place of process.start.start."""
    python, program, *arguments = argv
    (channel,) = keeps
    assert (python, program) == (sys.executable, str(WORKER))
    assert arguments[-2:] == ["--fd", str(channel)]
    assert stdout == stderr
    request = {"arguments": arguments[:-1], "env": dict(env), "cwd": os.getcwd(), "parent": os.getpid()}  # noqa: PTH109
    return forked_media.ServedChild(name, request, (channel, stdout))


def _guard(request: dict[str, Any], *descriptors: int) -> NoReturn:
    """Be the parent of one process until it ends: a child that computes controls, or a worker."""
    if "op" in request:
        *streams, told = descriptors
        forked_media.guard_child(request, tuple(streams), told, _compute)
    _guard_worker(request, *descriptors)


def _compute() -> None:
    """Be the child that computes controls, on tiny models."""
    import torch  # noqa: PLC0415 - the server has imported it

    torch.set_num_threads(1)
    child.main(annotate.OPERATIONS)


def _guard_worker(request: dict[str, Any], channel: int, output: int, told: int) -> NoReturn:
    """Be the parent of one worker until it ends, and end it with the daemon, as the kernel would."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(told)
        for to, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
            os.dup2(descriptor, to)
        os.close(output)
        _be(request, channel)
    for descriptor in (channel, output):
        os.close(descriptor)
    ended = os.pidfd_open(pid)
    try:
        daemon = os.pidfd_open(request["parent"])
        os.write(told, b"%d\n" % pid)
        if ended not in select.select([ended, daemon], [], [])[0]:
            kill_group(pid)
    except OSError:  # the daemon is gone already
        kill_group(pid)
    _, status = os.waitpid(pid, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody may listen any more
    os.write(told, b"%d\n" % status)
    os._exit(0)


def _be(request: dict[str, Any], channel: int) -> NoReturn:
    status = 1
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        tiny_guardrail.read_environment()  # the hub's client has read another one when it was imported
        sys.stdout, sys.stderr = (os.fdopen(fd, "w") for fd in (1, 2))  # ours are of files, which can be sought
        sys.argv = [str(WORKER), *request["arguments"], str(channel)]
        status = worker.main(sys.argv[1:])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - a fork must not go on where its parent was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
