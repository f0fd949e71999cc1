"""Keeps the metrics up to date in the loop, and publishes them. Whatever fails here delays no clip."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest, start_http_server

from povwatch import __version__
from povwatch.core.background import Background
from povwatch.core.changes import Change, FinishRetry, HookChange, Passed, Requeued, TryOver
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.stage import JobListener
from povwatch.metrics.figures import Figures, set_all
from povwatch.metrics.textfile import write_textfile
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from povwatch.config.settings import Config
    from povwatch.core.blockers import Blockers
    from povwatch.journal.store import JobStore
    from povwatch.workers.pool import WorkerPool

EVERY = 10.0
"""Seconds between two updates; Prometheus asks every 15 to 60 s."""

PORT_AGAIN = 60.0
"""Seconds until a port is tried again that another program has."""

ADDRESS = "127.0.0.1"
"""Nobody from outside can ask: the figures are of this machine's own Prometheus, or go through its proxy."""

KINDS = {"retry": "charged", "released": "uncharged", "orphaned": "crashed", "worker-died": "crashed"}
"""The events of attempts that go back to the queue, and how they are counted."""


class Exporter(JobListener):
    """The metrics of one daemon."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        blockers: Blockers,
        pool: WorkerPool,
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._store = store
        self._blockers = blockers
        self._pool = pool
        # Of its own: neither --once nor a clip's work waits for it.
        self._background = Background(wake, threads=1, broken=store.mishaps.work_failed)
        self._figures = Figures()
        self._file = str(config.metrics.textfile or "")
        self._on = bool(self._file or config.metrics.port)
        self._next = 0.0
        self._port_at = 0.0
        self._server: Any = None
        self._quiet: set[str] = set()
        """What was logged and still holds."""
        self._entered: dict[int, float] = {}
        """When a job came into its present state, on the boot clock; of arriving jobs the journal knows it."""
        self._counted = Counter[str]()
        """How many of the pool's losses are in the figures, by kind."""
        self._node_deaths = Counter[str]()
        """The same of each other machine."""
        self._gpu = (0.0, 0.0)
        """The pool's GPU seconds and joules that are in the figures."""
        if self._on:
            clock = store.clock
            self._figures.info.labels(__version__, pool.engine_kind).set(1)
            self._figures.started.set(clock.wall())
            self._figures.disk_reserve.set(config.disk.reserve)

    # -- turns

    def tick(self, now: float) -> None:
        """Update everything, if it is time."""
        self._background.handle_results()
        if not self._on or now < self._next:
            return
        self._next = now + EVERY
        self._update()
        if self._file and not self._background.busy("metrics"):
            text = generate_latest(self._figures.registry)
            self._background.submit("metrics", self._written, write_textfile, self._file, text)
        if self._config.metrics.port and self._server is None and now >= self._port_at:
            self._serve(now)

    def next_deadline(self) -> float | None:
        """The next update."""
        return self._next if self._on else None

    def close(self) -> None:
        """Write the last figures, and free the port."""
        self._background.close()
        if not self._on:
            return
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join(1.0)
            self._server = None
        self._update()
        if self._file:
            try:
                write_textfile(threading.Event(), self._file, generate_latest(self._figures.registry))
            except OSError as error:
                self._written(error)

    # -- what happens

    def changed(self, old: Job, new: Job, change: Change) -> None:
        """See JobListener."""
        if not self._on:
            return
        if old.state is not new.state:
            self._moved(old, new)
        figures = self._figures
        match change:
            case Requeued():
                if kind := KINDS.get(change.name()):
                    figures.retries.labels(kind).inc()
            case TryOver():
                figures.retries.labels("seed").inc()
            case FinishRetry():
                figures.retries.labels("finish").inc()
            case Passed():
                self._passed(change)
            case HookChange() if change.name() == "hook-done":
                figures.steps.labels("hook").observe(float(change.fields.get("seconds") or 0.0))

    def _moved(self, old: Job, new: Job) -> None:
        """A job has gone from one state to another."""
        now, wall, figures = self._store.clock.boot(), self._store.clock.wall(), self._figures
        since = self._entered.pop(new.id, None)
        took = now - since if since is not None else None  # unknown after a restart
        if old.state is JobState.ARRIVING:
            took = max(0.0, wall - old.created_at)
        if took is not None:
            figures.stages.labels(str(old.state)).observe(took)
        if new.ended:
            figures.ended.labels(str(new.state)).inc()
        elif new.state is not JobState.ARRIVING:
            self._entered[new.id] = now
        if new.state is JobState.DONE and new.run_id is not None:
            figures.published.set(wall)

    def _passed(self, change: Passed) -> None:
        seconds: Mapping[str, float] = json.loads(change.artifact).get("seconds") or {}
        for step, took in seconds.items():
            self._figures.steps.labels(step).observe(took)
        scores: Mapping[str, float] = change.fields.get("scores") or {}
        for name, score in scores.items():
            self._figures.scores.labels(name).observe(score)

    # -- publishing

    def _update(self) -> None:
        figures, store = self._figures, self._store
        figures.updated.set(store.clock.wall())
        set_all(figures.jobs, JobState, {str(state): many for state, many in store.counts.items()})
        set_all(figures.waiting, Waiting, store.journal.waits())
        blocker = self._blockers.generating()
        set_all(figures.blocked, Waiting, {str(blocker.waiting): 1} if blocker else {})
        states = Counter(str(worker.supervisor.state) for worker in self._pool.workers)
        set_all(figures.workers, SupervisorState, states)
        figures.node_workers.clear()
        for node, many in Counter(worker.place.name for worker in self._pool.workers if worker.place).items():
            figures.node_workers.labels(node).set(many)
        for name, folder in (("outputs", self._config.paths.outputs), ("state", self._config.paths.state)):
            try:
                figures.disk_free.labels(name).set(shutil.disk_usage(folder).free)
            except OSError:  # away: no figure is better than an old one
                figures.disk_free.clear()
        self._catch_up()

    def _catch_up(self) -> None:
        """Add what the pool has counted since the last update."""
        pool, figures = self._pool, self._figures
        for kind, many in pool.lost.items():
            figures.losses.labels(kind).inc(many - self._counted[kind])
            self._counted[kind] = many
        for node, many in pool.places.died.items():
            figures.node_deaths.labels(node).inc(many - self._node_deaths[node])
            self._node_deaths[node] = many
        figures.gpu_seconds.inc(pool.gpu_seconds - self._gpu[0])
        figures.gpu_energy.inc(pool.gpu_joules - self._gpu[1])
        self._gpu = (pool.gpu_seconds, pool.gpu_joules)

    def _written(self, outcome: Exception | None) -> None:
        if not isinstance(outcome, OSError):
            if outcome is not None:
                raise outcome
            self._quiet.discard("file")
        elif "file" not in self._quiet:
            self._quiet.add("file")
            say("metrics-unwritten", file=self._file, problem=outcome.strerror or str(outcome))

    def _serve(self, now: float) -> None:
        port = self._config.metrics.port
        try:
            self._server = start_http_server(port, addr=ADDRESS, registry=self._figures.registry)
        except OSError as error:
            self._port_at = now + PORT_AGAIN
            if "port" not in self._quiet:
                self._quiet.add("port")
                say("metrics-unserved", address=f"{ADDRESS}:{port}", problem=error.strerror or str(error))
        else:
            self._quiet.discard("port")
            say("metrics-served", address=f"http://{ADDRESS}:{port}/metrics")


def port_problem(port: int) -> OSError | None:
    """Why nobody could serve at a port of this machine now; None if somebody could."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as prometheus_client's server
        try:
            tried.bind((ADDRESS, port))
        except OSError as error:
            return error
    return None
