"""The other ranks of a job as processes that are forked from the test's: they have imported torch already.

All else is as it is: messages, pipes, engines, the exchange between processes.
"""

import contextlib
import os
import signal
import socket
import threading
import traceback
from unittest import mock

from support import tiny_jobs
from support.deferred import Deferred

from povwatch.engines import ranks
from povwatch.process.channel import Channel
from povwatch.workers.serve import Serving

torch = Deferred("torch")

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}


class Forked:
    """What `start` returns, as far as ranks.py uses it."""

    def __init__(self, argv, env):
        self.pid = os.fork()
        if self.pid:
            return
        try:
            os.environ.clear()
            os.environ.update(env)
            arguments = dict(zip(argv[-4::2], argv[-3::2], strict=True))
            channel = Channel(socket.socket(fileno=int(arguments["--fd"])))
            Serving(channel, arguments["--engine"]).run()
        except BaseException:  # noqa: BLE001 - it must not go on as the test
            traceback.print_exc()
        finally:
            os._exit(0)

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def forking():
    """Have ranks forked, and end them afterwards. Yields what takes the place of ranks.py's own end of the process."""
    forked, channels, before = [], [], set(threading.enumerate())

    def start(argv, *, env, keeps, own_session):
        assert keeps
        assert not own_session
        forked.append(Forked(argv, env))
        return forked[-1]

    def channel(sock):
        channels.append(Channel(sock))
        return channels[-1]

    with (
        mock.patch.dict(os.environ),
        mock.patch.object(ranks, "start", start),
        mock.patch.object(ranks, "Channel", channel),
        mock.patch.object(ranks, "_end_process") as ending,
    ):
        yield ending
        for one in forked:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(one.pid, signal.SIGKILL)
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("rank-"):
                thread.join(10)
        for one in channels:
            one.close()


@contextlib.contextmanager
def two_ranks(tiny, folder, **config):
    """The diffusers engine with the tiny model in two ranks: the engine and its capabilities."""
    with forking() as ending:
        yield tiny_jobs.loaded(tiny, gpus_per_worker=2, meeting=str(folder / "ranks" / "0"), **config)
        ending.assert_not_called()
        torch.distributed.destroy_process_group()


def run_together(size, function, *arguments):
    """Call `function(rank, *arguments)` in so many forked processes, and wait for all.

    Raises:
        AssertionError: one did not come to its end.
    """
    children = []
    for rank in range(size):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                os.environ.update(LOOPBACK)
                function(rank, *arguments)
                status = 0
            except BaseException:  # noqa: BLE001 - see above
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(pid)
    ended = {}
    try:
        for _ in children:
            pid, status = os.wait()
            ended[pid] = os.waitstatus_to_exitcode(status)
            if ended[pid]:
                break  # the others may wait for it for ever
    finally:
        for pid in set(children) - ended.keys():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert set(ended.values()) == {0}, ended
