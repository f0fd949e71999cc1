"""Decides what follows from a GPU fault. gpu/xid.py says what each error of the driver means.

    the program's own fault    its worker is ended, the attempt is charged
    a memory fault             its worker is ended, nothing is charged; a requested reset is waited for
    a lost GPU                 its worker is ended, nothing is charged; clips wait until the GPU is back
    a driver that was upgraded, or does not answer
                               running jobs go on, nothing new starts

The pool judges out of memory and checks the room before a load. The driver reports errors (Xids) in a thread, and the
loop handles them. The regular queries also see a GPU that is lost or wants a reset, even if no Xid was heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.errors import GpuLost, Transient, WorkerDied
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.mailbox import Mailbox
from povwatch.gpu.nvml import XidWatch
from povwatch.gpu.xid import Meaning, Verdict, meaning

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus, Xid
    from povwatch.journal.store import JobStore
    from povwatch.workers.pool import WorkerPool

LISTEN_AGAIN = 60.0
"""Seconds until listening for the driver's errors is tried again, after it ended or could not begin."""


class GpuFaults:
    """Acts on workers whose GPU has a fault."""

    def __init__(self, *, store: JobStore, monitor: GpuMonitor, pool: WorkerPool, wake: Callable[[], None]) -> None:
        """`wake` is called from a thread when the driver reported something."""
        self._store = store
        self._monitor = monitor
        self._pool = pool
        self._heard: Mailbox[Xid] = Mailbox(wake)
        self._watch: XidWatch | None = None
        self._listen_at = 0.0
        self._away: Blocker | None = None
        """Why no GPU of this machine can take a job, even if an engine is loaded; None if one can."""
        self._blind = 0
        """Answers in a row that showed no usable GPU."""
        monitor.watch(self._gpus_read)

    @property
    def blocker(self) -> Blocker | None:
        """Why no GPU can take a job; None if one can, here or on another machine."""
        return None if self._pool.remote else self._away

    def given_up(self, times: int) -> bool:
        """Whether so many answers in a row showed no usable GPU, and no other machine has a worker."""
        return self._blind >= times and not self._pool.remote

    def tick(self, now: float) -> None:
        """Listen, and act on what was reported."""
        for xid in self._heard.take():
            self._handle(xid)
        if now >= self._listen_at and self._pool.on_gpus:
            self._listen_at = now + LISTEN_AGAIN
            if self._watch is None or not self._watch.alive:
                self._watch = XidWatch(self._heard.put)
                self._watch.start()

    def stop(self) -> None:
        """Stop listening."""
        if self._watch is not None:
            self._watch.stop()

    # -- what the driver reports

    def _handle(self, xid: Xid) -> None:
        found = meaning(xid.code)
        workers = [worker for worker in self._pool.on_gpus if xid.gpu in worker.gpus]
        if found.verdict is Verdict.LOST and not xid.gpu:
            self._monitor.query_soon()  # the answer shows which GPU it was
        harmless = found.verdict is Verdict.NOTE
        if harmless or not workers:
            say("gpu-note", gpu=xid.gpu, code=xid.code, what=found.what)
        else:
            say("gpu-fault", gpu=xid.gpu, code=xid.code, what=found.what, answer=_ANSWERS[found.verdict])
        for worker in workers:
            if worker.active is not None:
                data = {"gpu": xid.gpu, "xid": xid.code, "what": found.what, "verdict": str(found.verdict)}
                job, event = self._store.job(worker.active.job), "gpu-note" if harmless else "gpu-fault"
                self._store.journal.note(job, event, self._store.clock.wall(), data)
            if not harmless:
                worker.supervisor.replace(_error(xid, found))

    # -- what NVML answers

    def _gpus_read(self, seen: Gpus) -> None:
        workers = self._pool.on_gpus
        if not workers:
            return  # the engine was not started: the pool checks whether it can be
        if seen.upgraded or seen.silent or not seen.found:
            # Jobs under way go on: a replaced driver serves processes that had opened it, and a silent one may
            # only be slow. The supervisor's deadlines catch a worker that hangs.
            problem = f"{seen.problem[:1].upper()}{seen.problem[1:]}."
            if self._away is None or self._away.problem != problem:
                say("gpu-away", problem=problem)
            self._away = Blocker(Waiting.GPU_LOST, problem)
            self._blind += 1
        elif self._away is not None:
            self._away, self._blind = None, 0
            say("gpu-back")
        self._pool.gpus_away = self._away is not None
        # If NVML reports no problem, it saw every GPU that it knows, so a missing one is gone.
        if (seen.lost or not seen.problem) and not seen.upgraded and not seen.silent:
            there, why = {found.uuid for found in seen.found}, seen.problem or "NVML does not see it any more"
            for worker in workers:
                if not there.issuperset(worker.gpus):
                    worker.supervisor.replace(GpuLost(f"The GPU of this worker is lost: {why}."))


_ANSWERS = {
    Verdict.REPLACE: "Its worker is replaced, and the attempt counts",
    Verdict.SUSPECT: "Its worker is ended, nothing is charged, and the GPU is looked at before the next",
    Verdict.LOST: "Its worker is ended, nothing is charged; clips are taken in and wait until the GPU is back",
}


def _error(xid: Xid, found: Meaning) -> Transient:
    """The error with which a worker is ended."""
    what = f"The GPU reported Xid {xid.code} ({found.what}), and the worker was ended."
    if found.verdict is Verdict.REPLACE:
        return WorkerDied(what, "See journalctl -k for the driver's own words.")
    return GpuLost(what, found.todo)  # only this GPU: workers on others go on
