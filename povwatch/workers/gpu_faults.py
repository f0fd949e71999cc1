"""Decides what follows from a GPU fault. gpu/xid.py says what each error of the driver means.

    the program's own fault    its worker is ended, the attempt is charged
    a memory fault             its worker is ended, nothing is charged; a requested reset is waited for
    a lost GPU                 its worker is ended, nothing is charged; clips wait until the GPU is back
    a driver that was upgraded, or does not answer
                               running jobs go on, nothing new starts

other_processes.py judges out of memory; preflight.py checks the room before a load. The driver reports errors (Xids) in
a thread, and the loop handles them. The regular looks also see a GPU that is lost or wants a reset, even if no Xid was
heard.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.errors import GpuLost, Transient, WorkerDied
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.mailbox import Mailbox
from povwatch.gpu import nvml as gpu
from povwatch.gpu.xid import Meaning, Verdict, meaning

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus, Xid
    from povwatch.journal.store import JobStore
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew
    from povwatch.workers.places import Place

LISTEN_AGAIN = 60.0
"""Seconds until listening for the driver's errors is tried again, after it ended or could not begin."""


class GpuFaults:
    """Acts on workers whose GPU has a fault."""

    def __init__(
        self,
        *,
        store: JobStore,
        monitor: GpuMonitor,
        crew: Crew,
        availability: Availability,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called from a thread when the driver reported something."""
        self._store = store
        self._monitor = monitor
        self._crew = crew
        self._availability = availability
        self._heard: Mailbox[Xid] = Mailbox(wake)
        self._watch: gpu.XidWatch | None = None
        self._starting: threading.Thread | None = None
        self._listen_at = 0.0
        monitor.watch(self._seen)

    def tick(self, now: float) -> None:
        """Listen, and act on what was reported."""
        for xid in self._heard.take():
            self._act(xid)
        if now >= self._listen_at and self._crew.on_gpus:
            self._listen_at = now + LISTEN_AGAIN
            self._listen()

    def stop(self) -> None:
        """Stop listening."""
        if self._watch is not None:
            self._watch.stop()

    # -- what the driver reports

    def _listen(self) -> None:
        if (self._watch and self._watch.alive) or (self._starting and self._starting.is_alive()):
            return
        self._watch = gpu.XidWatch(self._heard.put)
        # In a thread, since the driver is asked about every GPU, and a lost GPU may not answer.
        self._starting = threading.Thread(target=_start, args=(self._watch,), name="xid-start", daemon=True)
        self._starting.start()

    def _act(self, xid: Xid) -> None:
        found = meaning(xid.code)
        places = [place for place in self._crew.on_gpus if xid.gpu in place.gpus]
        if found.verdict is Verdict.LOST and not xid.gpu:
            self._monitor.ask(lambda _: None)  # the look shows which GPU it was
        if found.verdict is Verdict.NOTE or not places:
            say("gpu-note", gpu=xid.gpu, code=xid.code, what=found.what)
        else:
            say("gpu-fault", gpu=xid.gpu, code=xid.code, what=found.what, answer=_ANSWERS[found.verdict])
        for place in places:
            self._journal(place, xid, found)
            if found.verdict is not Verdict.NOTE:
                place.supervisor.replace(_error(xid, found))

    def _journal(self, place: Place, xid: Xid, found: Meaning) -> None:
        if place.run is not None:
            data = {"gpu": xid.gpu, "xid": xid.code, "what": found.what, "verdict": str(found.verdict)}
            event = "gpu-note" if found.verdict is Verdict.NOTE else "gpu-fault"
            self._store.journal.note(self._store.job(place.run.job), event, self._store.clock.wall(), data)

    # -- what a look shows

    def _seen(self, seen: Gpus) -> None:
        places = self._crew.on_gpus
        if not places:
            return  # the engine was not started: pool.py checks whether it can be
        if seen.upgraded or seen.silent or not seen.found:
            # Jobs under way go on: a replaced driver serves processes that had opened it, and a silent one may
            # only be slow. The supervisor's deadlines catch a worker that hangs.
            self._away(seen)
        elif self._availability.gpu is not None:
            self._availability.gpu_is_back()
            say("gpu-back")
        # If NVML reports no problem, it saw every GPU that it knows, so a missing one is gone.
        if (seen.lost or not seen.problem) and not seen.upgraded and not seen.silent:
            there, why = {found.uuid for found in seen.found}, seen.problem or "NVML does not see it any more"
            for place in places:
                if not there.issuperset(place.gpus):
                    place.supervisor.replace(GpuLost(f"The GPU of this worker is lost: {why}."))

    def _away(self, seen: Gpus) -> None:
        problem = f"{seen.problem[:1].upper()}{seen.problem[1:]}."
        if self._availability.gpu is None or self._availability.gpu.problem != problem:
            say("gpu-away", problem=problem)
        self._availability.gpu_is_away(Blocker(Waiting.GPU_LOST, problem))


def _start(watch: gpu.XidWatch) -> None:
    watch.start()


_ANSWERS = {
    Verdict.REPLACE: "Its worker is replaced, and the attempt counts",
    Verdict.SUSPECT: "Its worker is ended, nothing is charged, and the GPU is looked at before the next",
    Verdict.LOST: "Its worker is ended, nothing is charged; clips are taken in and wait until the GPU is back",
}


def _error(xid: Xid, found: Meaning) -> Transient:
    """The error with which a worker is ended."""
    what = f"The GPU reported Xid {xid.code} ({found.what}), and the worker was ended."
    match found.verdict:
        case Verdict.LOST | Verdict.SUSPECT:  # only this GPU: workers on others go on
            return GpuLost(what, found.todo)
        case _:
            return WorkerDied(what, "See journalctl -k for the driver's own words.")
