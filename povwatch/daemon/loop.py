"""The daemon itself: everything is put together here, and one loop drives it.

Signal handlers set and wake; the loop acts. Nothing in the loop waits but its sleep, and whatever takes longer runs in
`Background` or in a worker.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from povwatch import __version__, gpu
from povwatch.arrival.health import Identity, RootGuard
from povwatch.arrival.writers import ignore_sigio
from povwatch.daemon.aside import Aside
from povwatch.daemon.background import Background
from povwatch.daemon.clock import Clock
from povwatch.daemon.dispatch import Dispatch
from povwatch.daemon.endings import Endings
from povwatch.daemon.finisher import Finisher
from povwatch.daemon.gates import Gates
from povwatch.daemon.intake import Intake
from povwatch.daemon.ledger import Ledger
from povwatch.daemon.lookout import Lookout
from povwatch.daemon.notices import Notices
from povwatch.daemon.places import Hurdle
from povwatch.daemon.recovery import recover
from povwatch.daemon.respec import Respec
from povwatch.daemon.summary import Outcome
from povwatch.daemon.unforeseen import in_words
from povwatch.daemon.verbs import Verbs
from povwatch.daemon.waker import Waker
from povwatch.engine.choice import Choice, choose, unable
from povwatch.engine.process import Launch
from povwatch.engine.supervisor import Supervisor
from povwatch.errors import ConfigError
from povwatch.job import CLAIMED, Job, JobState, Waiting
from povwatch.journal import Journal
from povwatch.notify import Notifier
from povwatch.publish import Publisher
from povwatch.retry import backoff
from povwatch.spec.beside import InputsFolder
from povwatch.spec.prompts import load_templates
from povwatch.spool import Spool
from povwatch.units import spell_size
from povwatch.voice import say

if TYPE_CHECKING:
    from povwatch.config import Config
    from povwatch.media.info import VideoInfo

REQUESTS_EVERY = 0.5
"""Seconds between two looks into the spool."""

FACTS_EVERY = 5.0
"""Seconds between two notes of what the daemon is at."""

DISK_EVERY = 5.0
"""Seconds between two looks at the free space."""

STOP_PATIENCE = 8.0
"""Seconds for workers to end; the manager's own limit is longer."""

PROBE_MAX = 300.0
"""Seconds between two looks whether the engine can be run, at most."""

STUCK = frozenset({Waiting.HELD, Waiting.INVALID_SPEC, Waiting.INCOMPLETE, Waiting.INPUTS_AWAY})
"""What --once never waits on: somebody has to do something first."""


@dataclass(slots=True)
class Timer:
    """Something that is done every so often."""

    every: float
    next: float = 0.0

    def due(self, now: float) -> bool:
        """Whether it is time; then the next one is planned."""
        if now < self.next:
            return False
        self.next = now + self.every
        return True


class Daemon:
    """One povwatch."""

    def __init__(self, config: Config, *, once: bool = False) -> None:
        """Put it together. The journal is locked and recovered; nothing is watched yet.

        Raises:
            ConfigError: the configuration does not fit this machine, or another daemon has the journal.
            JournalError: the journal cannot be used.
        """
        self._config = config
        self._once = once
        self.clock = Clock()
        self._waker = Waker()
        self._notifier = Notifier.from_environment()
        templates = load_templates(_templates_folder(config))
        for template in (config.spec.template, *config.spec.folders.values()):
            if template not in templates:
                raise ConfigError(
                    f"config.toml: spec.template = {template!r} is no template.", f"There are {', '.join(templates)}."
                )
        for folder in (config.paths.inputs, config.paths.outputs, config.paths.state):
            _make_folder(folder)
        self.journal = Journal.open(config.paths.state)
        self.ledger = Ledger(self.journal, self.clock)
        self.choice = choose(config, gpu.look(), self.journal.real_engine())
        self._background = Background(self._waker.wake, threads=4, broken=self._broken)
        self._folder = InputsFolder(config.paths.inputs)
        self._notices = Notices(self._folder)
        self._publisher = Publisher(config.paths.outputs)
        self._guard = RootGuard(config.paths.inputs, self._known_root())
        arrival = config.arrival
        self._intake = Intake(
            config.paths.inputs,
            settle=arrival.network_settle if self._guard.is_network else arrival.settle,
            network=self._guard.is_network,
            ledger=self.ledger,
            background=self._background,
            notices=self._notices,
            arrived=self._arrived,
            withdrawn=self._withdraw,
            broken=self._broken,
        )
        self._gates = Gates(
            config,
            ledger=self.ledger,
            folder=self._folder,
            notices=self._notices,
            templates=templates,
            engine=self.choice.kind,
            present=self._present,
            ended=self._ended,
            broken=self._broken,
        )
        self._respec = Respec(self.ledger, self._intake, self._folder)
        self._lookout = Lookout(
            config,
            clock=self.clock,
            guard=self._guard,
            intake=self._intake,
            gates=self._gates,
            respec=self._respec.look,
            tidy=lambda listing: self._notices.tidy(self.ledger.known, listing),
            adopted=self._keep_root,
            wake=self._waker.wake,
        )
        self._aside = Aside(config, self._folder)
        self._endings = Endings(
            config,
            ledger=self.ledger,
            notices=self._notices,
            publisher=self._publisher,
            back=self._back,
            ended=self._ended,
            pause=self._pause_queue,
        )
        self._finisher = Finisher(
            config,
            ledger=self.ledger,
            publisher=self._publisher,
            background=self._background,
            endings=self._endings,
            aside=self._aside,
            done=self._ended,
        )
        self._dispatch = Dispatch(
            config,
            kind=self.choice.kind,
            ledger=self.ledger,
            gates=self._gates,
            publisher=self._publisher,
            background=self._background,
            endings=self._endings,
            supervisors=[self._supervisor(self.choice) for _ in range(self.choice.workers)],
            generated=self._finisher.check,
        )
        self._spool = Spool(config.paths.state)
        self._verbs = Verbs(
            self._spool,
            ledger=self.ledger,
            intake=self._intake,
            gates=self._gates,
            folder=self._folder,
            engine=self.choice.kind,
            withdraw=self._withdraw,
        )
        self._requests = Timer(REQUESTS_EVERY)
        self._facts = Timer(FACTS_EVERY)
        self._disk = Timer(DISK_EVERY)
        self._probe = Timer(backoff(1))
        self._probes = 0
        self._full: str | None = None
        self._stop: str | None = None
        self._engine_started = False
        self._said: dict[str, object] = {}

    # -- the life of a daemon

    def run(self) -> Outcome:
        """Run until told to stop; with --once, until nothing can move any more.

        Returns:
            What became of the clips.
        """
        self._set_signals()
        try:
            self._start()
            while self._stop is None and not (self._once and self._drained()):
                self._turn()
                self._waker.sleep(self._pause())
            return self._outcome()
        finally:
            self._end()

    def stop(self, why: str) -> None:
        """End at the next turn. Safe to call from a signal handler."""
        self._stop = why
        self._waker.wake()

    def _start(self) -> None:
        paths = self._config.paths
        say("daemon-started", version=__version__, inputs=paths.inputs, outputs=paths.outputs, pid=os.getpid())
        say("engine-chosen", engine=self.choice.kind, why=self.choice.why)
        self._spool.prepare()
        self._spool.sweep(self.clock.wall())
        self._keep_root()
        crashed = self.journal.fact("daemon") is not None  # `_end` takes it back
        recover(self.ledger, self._gates, self._endings, self._finisher, self._publisher, crashed=crashed)
        self._lookout.start()
        if self._lookout.away is None:
            self._folder.sweep()
        if self.choice.problem:
            self._dispatch.unavailable = Hurdle(Waiting.ENGINE_UNAVAILABLE, f"{self.choice.problem}.")
            at = self.clock.spell(self.clock.boot() + self._probe.every)
            say("engine-unavailable", engine=self.choice.kind, problem=f"{self.choice.problem}.", at=at)
        else:
            self._start_engine()
        self._set_facts()
        self._notifier.ready(self._status())

    def _turn(self) -> None:
        """One turn of the loop."""
        now = self.clock.boot()
        self._background.settle()
        self._lookout.tick(now)
        if self._lookout.away is None:
            self._intake.tick(now)
            self._gates.tick(now)
        if self._requests.due(now):
            self._verbs.tick(now)
        if self._disk.due(now):
            self._check_disk()
        if not self._engine_started:
            self._probe_engine(now)
        self._dispatch.tick(now, hurdle=self._hurdle())
        self._finisher.tick(now)
        if self._facts.due(now):
            self._set_facts()
        self._notifier.status(self._status())
        self._notifier.watchdog()

    def _pause(self) -> float:
        deadlines = [
            self._lookout.next_deadline(),
            self._intake.next_deadline(),
            self._gates.next_deadline(),
            self._dispatch.next_deadline(),
            self._finisher.next_deadline(),
            self._requests.next,
        ]
        return min(d for d in deadlines if d is not None) - self.clock.boot()

    def _end(self) -> None:
        """Stop the workers, hand back what runs, close everything; all of it in seconds."""
        if self._stop is not None:
            say("daemon-stopping", why=self._stop)
        self._notifier.stopping()
        with ExitStack() as closing:  # whatever fails on the way, the rest is done: nothing of ours outlives us
            for close in (self._waker.close, self._notifier.close, self.journal.close):
                closing.callback(close)
            closing.callback(self._dispatch.close)
            closing.callback(self._background.close)
            self._lookout.stop()
            self._dispatch.stop(f"povwatch stops ({self._stop or 'all is done'}).")
            deadline = self.clock.boot() + STOP_PATIENCE
            while not self._dispatch.stopped and self.clock.boot() < deadline:
                self._waker.sleep(0.1)
                self._dispatch.settle(self.clock.boot())
            self._background.close()
            self._dispatch.close()
            self.journal.set_facts(daemon=None)
        if self._stop is not None:
            say("daemon-stopped", left=sum(n for state, n in self.ledger.counts.items() if not state.ended))

    def _set_signals(self) -> None:
        ignore_sigio()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _: self.stop(signal.Signals(n).name))

    # -- the engine

    def _supervisor(self, choice: Choice) -> Supervisor:
        engine = self._config.engine

        return Supervisor(
            Launch(python=choice.python, engine=choice.engine, config={}, env={}),
            load_timeout=engine.load_timeout,
            stall_timeout=engine.stall_timeout,
            clock=self.clock.boot,
            wake=self._waker.wake,
            log=structlog.get_logger(),
        )

    def _start_engine(self) -> None:
        self._engine_started = True
        self._dispatch.unavailable = None
        self._dispatch.start()

    def _probe_engine(self, now: float) -> None:
        """Look again whether this machine can run the engine; less and less often."""
        if not self._probe.due(now) or self._background.busy("probe"):
            return
        self._probes += 1
        self._probe.every = min(backoff(self._probes) * 5, PROBE_MAX)

        def then(outcome: str | Exception) -> None:
            if outcome == "":
                self._start_engine()
            elif isinstance(outcome, str):
                self._dispatch.unavailable = Hurdle(Waiting.ENGINE_UNAVAILABLE, f"{outcome}.")

        self._background.submit("probe", lambda _: unable(self.choice.kind, self._config, gpu.look()), then)

    # -- what holds everything up

    def _hurdle(self) -> Hurdle | None:
        if self._full is not None:
            return Hurdle(Waiting.DISK_FULL, self._full)
        if self._lookout.away is not None:
            return Hurdle(Waiting.INPUTS_AWAY, self._lookout.away)
        return None

    def _check_disk(self) -> None:
        reserve = self._config.disk.reserve
        for where in (self._config.paths.outputs, self._config.paths.state):
            try:
                free = shutil.disk_usage(where).free
            except OSError:
                continue
            if free < reserve:
                if self._full is None:
                    say("disk-full", where=where, free=spell_size(free), reserve=spell_size(reserve))
                    # Not said anew for every byte: it is noted with every job.
                    self._full = f"{where} has less room left than disk.reserve ({spell_size(reserve)})."
                return
        if self._full is not None:
            self._full = None
            say("disk-room", where=self._config.paths.outputs, free=spell_size(free))

    def _known_root(self) -> Identity | None:
        """The inputs folder of the last start, if it was at the same path."""
        kept = self.journal.fact("inputs")
        if not kept or kept["path"] != str(self._config.paths.inputs):
            return None
        return Identity.loads(kept["identity"])

    def _keep_root(self) -> None:
        if self._guard.known is not None and self._guard.check():
            kept = {"path": str(self._config.paths.inputs), "identity": self._guard.known.dumps()}
            self.journal.set_facts(inputs=kept)

    # -- what the parts tell each other

    def _arrived(self, job: Job, info: VideoInfo) -> None:
        self._gates.admit(job, info)

    def _present(self, path: bytes) -> bool:
        return self._lookout.present(path)

    def _withdraw(self, job: Job, why: str) -> None:
        """A clip is gone or changed, or somebody cancelled it."""
        if why == "changed":
            self._gates.drop(job)
            return
        if why == "gone":
            why = "the clip was deleted"
        if job.state is JobState.RUNNING:
            self._dispatch.cancel(job, why)
        elif job.state is JobState.CHECKING:
            self._finisher.cancel(job, why)
        elif job.state is not JobState.PUBLISHING:
            self._gates.drop(job)
            self._notices.clear(job)
            self._background.cancel(("inspect", job.id))
            signature = self._intake.signature(job)
            to = {"state": JobState.CANCELLED, "waiting_on": None, "detail": why, "source_stat": signature}
            self._ended(self.ledger.move(self.ledger.job(job.id), "cancelled", said={"why": why}, **to))

    def _broken(self, key: object, error: Exception) -> None:
        """The end of some background work could not be handled: its job pays, the daemon goes on."""
        found = in_words(error, f"while it handled {key}")
        job_id = key[1] if isinstance(key, tuple) else None
        job = self.ledger.job(job_id) if isinstance(job_id, int) else None
        if job is None or job.ended:
            return
        if job.state is JobState.RUNNING:
            self._dispatch.fail(job, found)
        elif job.state is JobState.CHECKING:
            self._endings.after(job, found)
        elif job.state is not JobState.PUBLISHING:  # that is a promise: it is tried again at the next start
            self._gates.drop(job)
            self._endings.fail(job, found)

    def _pause_queue(self, waiting: Waiting, problem: str, until: float) -> None:
        self._dispatch.pause(waiting, problem, until)

    def _back(self, job: Job) -> None:
        """An attempt ended and the job goes on."""
        if job.state is JobState.ARRIVING:
            self._intake.return_to_arriving(job)
        else:
            self._gates.resume(job)

    def _ended(self, job: Job) -> None:
        """A job ended."""
        self._intake.forget(job)
        if job.state is JobState.CANCELLED and not self._lookout.present(job.path):
            self.journal.give_base_back(job.path)
        if job.state is JobState.DONE:
            self._aside.move(job)  # one that was done already, too
        self._lookout.soon(self.clock.boot())  # the clip or its JSON may have changed while the job ran

    # -- what --once asks

    def _drained(self) -> bool:
        """Whether nothing can move any more without somebody's help."""
        if self._lookout.away is not None:
            return True
        if self._lookout.scanned_at is None or self._intake.moving or not self._background.idle:
            return False
        for job in self.ledger.in_state(JobState.GRACE, JobState.QUEUED, *CLAIMED):
            if job.waiting_on in STUCK:
                continue
            if job.state is JobState.QUEUED and self._hopeless():
                continue
            if job.state is JobState.PUBLISHING and job.waiting_on is not None:
                continue  # its promise cannot be kept now; the next start tries again
            return False
        return True

    def _hopeless(self) -> bool:
        """Whether this machine runs nothing: no room, or no engine, or it failed as often as a clip may fail."""
        limit, dispatch = self._config.engine.attempts, self._dispatch
        if self._full is not None or dispatch.pauses >= limit:
            return True
        return dispatch.unavailable is not None and (not self._engine_started or dispatch.failed_loads >= limit)

    def _outcome(self) -> Outcome:
        here = self._lookout.clips | {job.path for job in self.ledger.ended.values()}
        jobs = [job for path in sorted(here) if (job := self.ledger.of_path(path))]
        waiting = any(job.state is JobState.QUEUED and job.waiting_on not in STUCK for job in jobs)
        hurdle = self._hurdle() or self._dispatch.hurdle(self.clock.boot()) if waiting else None
        unable = None
        if hurdle is not None:
            engine = hurdle.waiting is Waiting.ENGINE_UNAVAILABLE
            unable = f"The engine is not available: {hurdle.problem}" if engine else hurdle.problem
        return Outcome(jobs, unable, self._lookout.away)

    # -- what others see

    def _status(self) -> str:
        counts = self.ledger.counts
        active = [f"{counts[state]} {state}" for state in JobState if counts[state] and not state.ended]
        text = ", ".join(active) or "nothing to do"
        if hurdle := self._hurdle() or self._dispatch.hurdle(self.clock.boot()):
            text += f"; {hurdle.problem}"
        return text

    def _set_facts(self) -> None:
        facts: dict[str, object] = {
            "pid": os.getpid(),
            "version": __version__,
            "inputs": str(self._config.paths.inputs),
            "outputs": str(self._config.paths.outputs),
            "engine": self.choice.kind,
            "why": self.choice.why,
            "problem": hurdle.problem if (hurdle := self._dispatch.hurdle(self.clock.boot())) else None,
            "blocked": hurdle.problem if (hurdle := self._hurdle()) else None,
            "workers": self._dispatch.workers(),
            "gpus": [{"name": g.name, "memory": g.memory, "free": g.free} for g in gpu.look().found],
        }
        if facts != self._said:  # each note is a write to the disk
            self._said = facts
            self.journal.set_facts(daemon=facts)


def _templates_folder(config: Config) -> Path | None:
    return Path(config.spec.templates) if config.spec.templates else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} cannot be made: {error.strerror}.", "Make it by hand, or set [paths] in config.toml."
        ) from error
