"""Sees what somebody wants to be told about, and leaves it in the spool. It sends nothing, and delays no clip."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, WAITING, Job, JobState, Waiting
from povwatch.core.layout import shown
from povwatch.core.sentences import joined
from povwatch.core.stage import JobListener
from povwatch.notifications.notice import TEXT_MAX, Notice
from povwatch.notifications.process import SenderProcess, by_unit
from povwatch.notifications.spool import NoticeSpool
from povwatch.workers.events import STALLED

if TYPE_CHECKING:
    from povwatch.arrival.stage import ArrivalStage
    from povwatch.config.notify import Kind
    from povwatch.config.settings import Config
    from povwatch.core.blockers import Blocker, Blockers
    from povwatch.journal.store import JobStore
    from povwatch.workers.pool import WorkerPool


CHECK_EVERY = 1.0
"""Seconds between two checks of the queue and of what holds it up."""

STALLED_AFTER = 900.0
"""Seconds for which clips wait and none may start, until that is told."""

CLEAR_AFTER = 60.0
"""Seconds without a fault after which the same one is told again."""

FAULTS: dict[Waiting, Kind] = {Waiting.GPU_LOST: "gpu-lost", Waiting.DISK_FULL: "disk-full"}
"""What is told at once."""

FOR_PEOPLE = frozenset({Waiting.HELD, Waiting.INVALID_SPEC, Waiting.INCOMPLETE})
"""Waits of a clip that is not in the queue: somebody has to do something first."""

ENDS: dict[JobState, Kind] = {
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.REJECTED: "failed",
    JobState.BLOCKED: "blocked",
}


class Notifications(JobListener):
    """Leaves notices for whatever some [[notify]] names."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        blockers: Blockers,
        arrival: ArrivalStage,
        pool: WorkerPool,
    ) -> None:
        self._on = {kind for one in config.notify for kind in one.on}
        self._outputs = config.paths.outputs
        self._store = store
        self._blockers = blockers
        self._arrival = arrival
        self._pool = pool
        self._spool = NoticeSpool(config.paths.state)
        by_child = config.notify and not by_unit()
        self._sender = SenderProcess(config, store.clock, self._spool) if by_child else None
        """The child that sends them; None if a unit of its own does, or if nobody is to be told."""
        self._next = 0.0
        self._ended = Counter[str]()
        """Attempts' ends since the queue was last empty, by state."""
        self._told: dict[Kind, float] = {}
        """The faults that were told, and when they were last seen."""
        self._since: float | None = None
        """Since when nothing may start although clips wait."""
        self._hung = 0
        self._quiet = ""
        """The last problem with the spool that was logged."""

    # -- turns

    def start(self) -> None:
        """Make the spool. If that fails, the first notice says so."""
        if self._on:
            with contextlib.suppress(OSError):
                self._spool.prepare()

    def tick(self, now: float) -> None:
        """Look at the queue and at what holds it up."""
        if not self._on or now < self._next:
            return
        self._next = now + CHECK_EVERY
        self._see_faults(now)
        self._see_hung_workers()
        self._see_empty_queue()
        if self._sender is not None:
            self._sender.tick(now)

    def next_deadline(self) -> float | None:
        """The next check."""
        return self._next if self._on else None

    def ended(self, job: Job) -> None:
        """A clip ended. One whose result was there already is no news."""
        kind = ENDS.get(job.state)
        if kind is None or (kind == "done" and job.run_id is None):
            return
        self._ended[str(job.state)] += 1
        clip = shown(job.called)
        if kind == "done":
            text = f"{clip}: {job.output}"
            self._leave(kind, joined(text, job.error or ""), f"The results are in {self._outputs}.")
        else:
            state = "blocked" if kind == "blocked" else str(job.state)
            listed = command("jobs", "--state", state)
            self._leave(kind, f"{clip}: {job.error}", f"All of them: {listed}")

    def stop(self, *, flush: bool) -> None:
        """End the sender. `flush`: it sends first what waits, since no daemon follows."""
        if flush and self._on:
            self._see_empty_queue()
        if self._sender is not None:
            if flush:
                self._sender.tick(self._store.clock.boot())
            self._sender.stop(flush=flush)

    # -- what is seen

    def _see_faults(self, now: float) -> None:
        blocker = self._blockers.generating()
        kind = self._fault(None if blocker is None or blocker.asked else blocker, now)
        known = kind in self._told
        if kind is not None:
            self._told[kind] = now
        self._told = {told: seen for told, seen in self._told.items() if now - seen <= CLEAR_AFTER}
        if kind is None or blocker is None or known:
            return
        if kind == "stalled":
            text = f"Clips wait, and none could start for {STALLED_AFTER / 60:.0f} minutes. {blocker.problem}"
            self._leave(kind, text, f"What everything waits for: {command('status')}")
        else:
            self._leave(kind, blocker.problem, TODO[kind])

    def _fault(self, blocker: Blocker | None, now: float) -> Kind | None:
        """What holds the queue up and nobody asked for, as far as it has to be told by now."""
        kind = None if blocker is None else FAULTS.get(blocker.waiting)
        if blocker is None or kind is not None or not self._store.in_state(JobState.QUEUED):
            self._since = None
            return kind
        self._since = now if self._since is None else self._since
        return "stalled" if now - self._since >= STALLED_AFTER else None

    def _see_hung_workers(self) -> None:
        hung = self._pool.lost[STALLED]
        if hung > self._hung:
            self._leave(
                "stalled",
                "A worker made no progress for engine.stall_timeout, and was killed. Another one is started.",
                "If that comes again, look at the log of that time, and at the GPU (nvidia-smi, dmesg).",
            )
        self._hung = hung

    def _see_empty_queue(self) -> None:
        if not self._ended or self._arrival.moving:
            return
        left = self._store.in_state(*WAITING, *CLAIMED)
        if any(job.state in CLAIMED or job.waiting_on not in FOR_PEOPLE for job in left):
            return
        counts = ", ".join(f"{self._ended[state]} {state}" for state in JobState if self._ended[state])
        waits = f"{len(left)} clip(s) wait for somebody: {command('status')}" if left else ""
        self._ended.clear()
        self._leave(
            "queue-empty", f"Since it was last empty: {counts}.", joined("Copy more clips into inputs/.", waits)
        )

    # -- the spool

    def _leave(self, kind: Kind, text: str, todo: str) -> None:
        if kind not in self._on:
            return
        short = text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 4]} ..."
        folder = self._spool.folder
        try:
            if self._spool.put(Notice(kind, self._store.clock.wall(), short, todo)):
                self._quiet = ""
            elif self._quiet != "full":
                self._quiet = "full"
                say("notify-full", folder=folder, kind=kind)
        except OSError as error:
            if self._quiet != "unwritten":
                self._quiet = "unwritten"
                say("notify-unwritten", folder=folder, kind=kind, problem=error.strerror or str(error))


TODO: dict[Kind, str] = {
    "gpu-lost": "Look at the GPU: nvidia-smi, dmesg | grep -i xid. One that fell off the bus needs a restart of the "
    "machine. Clips are taken in and wait, and go on by themselves once it answers.",
    "disk-full": "Make room. No clip starts until then, and it goes on by itself.",
}
"""What to do about what holds everything up."""
