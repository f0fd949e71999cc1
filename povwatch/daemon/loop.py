"""The daemon itself: everything is put together here, and one loop drives it.

Signal handlers set and wake; the loop acts. Nothing in the loop waits but its sleep, and whatever takes longer runs in
`Background` or in a worker.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch import __version__
from povwatch.arrival.health import Identity, RootGuard
from povwatch.arrival.writers import ignore_sigio
from povwatch.daemon.aside import Aside
from povwatch.daemon.availability import Availability
from povwatch.daemon.background import Background
from povwatch.daemon.clock import Clock
from povwatch.daemon.crew import Crew
from povwatch.daemon.dispatch import Dispatch
from povwatch.daemon.drain import Drain
from povwatch.daemon.endings import Endings
from povwatch.daemon.engine_room import EngineRoom
from povwatch.daemon.facts import Facts
from povwatch.daemon.finisher import Finisher
from povwatch.daemon.free_space import FreeSpace
from povwatch.daemon.gates import Gates
from povwatch.daemon.gpu_eye import GpuEye
from povwatch.daemon.gpu_faults import GpuFaults
from povwatch.daemon.intake import Intake
from povwatch.daemon.ledger import Ledger
from povwatch.daemon.lookout import Lookout
from povwatch.daemon.notices import Notices
from povwatch.daemon.outputs_watch import OutputsWatch
from povwatch.daemon.places import Hurdle
from povwatch.daemon.recovery import recover
from povwatch.daemon.respec import Respec
from povwatch.daemon.unforeseen import in_words
from povwatch.daemon.verbs import Verbs
from povwatch.daemon.waker import Waker
from povwatch.engine.abilities import REAL
from povwatch.engine.choice import choose
from povwatch.errors import ConfigError
from povwatch.job import Job, JobState, Waiting
from povwatch.journal import Journal
from povwatch.notify import Notifier
from povwatch.publish import Publisher
from povwatch.spec.beside import InputsFolder
from povwatch.spec.prompts import load_templates
from povwatch.spool import Spool
from povwatch.voice import say

if TYPE_CHECKING:
    from povwatch.config import Config
    from povwatch.daemon.summary import Outcome
    from povwatch.media.info import VideoInfo

REQUESTS_EVERY = 0.5
"""Seconds between two looks into the spool."""

SAMPLE_EVERY = 3.0
"""Seconds between two looks at the GPUs while a worker generates."""

LOOK_EVERY = 15.0
"""The same while none does."""

STOP_PATIENCE = 8.0
"""Seconds for workers to end; the manager's own limit is longer."""


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
        self._eye = GpuEye(self.clock, self._waker.wake)
        self.choice = choose(config, self._eye.first(), self.journal.real_engine())
        self._background = Background(self._waker.wake, threads=4, broken=self._broken)
        # Apart: a thousand clips that arrive must not keep one waiting that runs.
        self._inspections = Background(self._waker.wake, threads=2, broken=self._broken)
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
            background=self._inspections,
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
            background=self._inspections,
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
        self._availability = Availability(self.clock, self.choice.kind)
        self._crew = Crew(self.clock, self._eye, self.choice.kind)
        self._dispatch = Dispatch(
            config,
            kind=self.choice.kind,
            ledger=self.ledger,
            gates=self._gates,
            publisher=self._publisher,
            background=self._background,
            endings=self._endings,
            availability=self._availability,
            crew=self._crew,
            eye=self._eye,
            generated=self._finisher.check,
        )
        self._engine_room = EngineRoom(
            config,
            self.choice,
            clock=self.clock,
            background=self._background,
            eye=self._eye,
            availability=self._availability,
            crew=self._crew,
            wake=self._waker.wake,
        )
        self._gpu_faults = GpuFaults(
            ledger=self.ledger,
            eye=self._eye,
            crew=self._crew,
            availability=self._availability,
            wake=self._waker.wake,
        )
        self._free_space = FreeSpace(config)
        self._outputs_watch = OutputsWatch(config.paths.outputs)
        self._drain = Drain(
            config,
            ledger=self.ledger,
            lookout=self._lookout,
            intake=self._intake,
            idle=lambda: self._background.idle and self._inspections.idle,
            availability=self._availability,
            engine_room=self._engine_room,
            hurdle=self._hurdle,
        )
        self._facts = Facts(
            config,
            self.choice,
            self.ledger,
            crew=self._crew,
            availability=self._availability,
            eye=self._eye,
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
        self._requests_at = 0.0
        self._stop: str | None = None

    # -- the life of a daemon

    def run(self) -> Outcome:
        """Run until told to stop; with --once, until nothing can move any more.

        Returns:
            What became of the clips.
        """
        self._set_signals()
        try:
            self._start()
            while self._stop is None and not (self._once and self._drain.over()):
                self._turn()
                self._waker.sleep(self._pause())
            return self._drain.outcome()
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
        if self.choice.kind in REAL and not self._config.engine.guardrails:
            say("guardrails-off")
        self._spool.prepare()
        self._spool.sweep(self.clock.wall())
        self._keep_root()
        crashed = self.journal.fact("daemon") is not None  # `_end` takes it back
        recover(self.ledger, self._gates, self._endings, self._finisher, self._publisher, crashed=crashed)
        self._lookout.start()
        if self._lookout.away is None:
            self._folder.sweep()
        self._engine_room.start()
        self._facts.tick(self.clock.boot(), self._hurdle())
        self._notifier.ready(self._facts.status(self._hurdle()))

    def _turn(self) -> None:
        """One turn of the loop."""
        now = self.clock.boot()
        self._background.settle()
        self._inspections.settle()
        self._lookout.tick(now)
        if self._lookout.away is None:
            self._intake.tick(now)
            self._gates.tick(now)
        if now >= self._requests_at:
            self._requests_at = now + REQUESTS_EVERY
            self._verbs.tick(now)
        self._outputs_watch.tick(now)
        self._free_space.tick(now)
        self._eye.tick(now, every=SAMPLE_EVERY if self._crew.generating else LOOK_EVERY)
        self._gpu_faults.tick(now)
        self._engine_room.tick(now)
        self._dispatch.tick(now, hurdle=self._hurdle())
        self._finisher.tick(now)
        self._facts.tick(now, self._hurdle())
        self._notifier.status(self._facts.status(self._hurdle()))
        self._notifier.watchdog()

    def _pause(self) -> float:
        deadlines = [
            self._lookout.next_deadline(),
            self._intake.next_deadline(),
            self._gates.next_deadline(),
            self._dispatch.next_deadline(),
            self._finisher.next_deadline(),
            self._eye.next_deadline(),
            self._requests_at,
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
            closing.callback(self._inspections.close)
            self._lookout.stop()
            self._crew.stop(f"povwatch stops ({self._stop or 'all is done'}).")
            self._gpu_faults.stop()
            deadline = self.clock.boot() + STOP_PATIENCE
            while not self._crew.stopped and self.clock.boot() < deadline:
                self._waker.sleep(0.1)
                self._dispatch.settle(self.clock.boot())
            self._inspections.close()
            self._background.close()
            self._dispatch.close()
            self._facts.close()
        if self._stop is not None:
            say("daemon-stopped", left=sum(n for state, n in self.ledger.counts.items() if not state.ended))

    def _set_signals(self) -> None:
        ignore_sigio()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _: self.stop(signal.Signals(n).name))

    # -- what holds everything up

    def _hurdle(self) -> Hurdle | None:
        if self._lookout.away is not None:
            return Hurdle(Waiting.INPUTS_AWAY, self._lookout.away)
        return self._outputs_watch.hurdle or self._free_space.hurdle

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
            self._inspections.cancel(("inspect", job.id))
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
        if waiting in {Waiting.GPU_LOST, Waiting.GPU_BUSY} and self._crew.loaded:
            return  # the other workers have GPUs of their own
        self._availability.pause(waiting, problem, until)

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


def _templates_folder(config: Config) -> Path | None:
    return Path(config.spec.templates) if config.spec.templates else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} cannot be made: {error.strerror}.", "Make it by hand, or set [paths] in config.toml."
        ) from error
