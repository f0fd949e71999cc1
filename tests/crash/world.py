"""The child under test: one life of the daemon that production builds, with a toy for everything outside of it.

A toy worker process, toy media children and hooks, no events from inputs/, no GPU, and a clock that is set by hand: see
`povwatch.daemon.outside`. All else is the product: its parts, its loop and its threads. The loop sleeps until its
threads have done their work, and when they have nothing to do the clock is set forward: so a run makes nearly the same
calls in the same order each time, and takes hundredths of a second.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import toys
from support.hand_clock import HandClock
from toy_hooks import Programs

from povwatch.arrival import inspections
from povwatch.arrival.watch import Watcher
from povwatch.attempt import attempt as workpiece
from povwatch.attempt import soundtrack
from povwatch.config.settings import Arrival, Config, Disk, Engine, Grace, Paths, Quality, Section, SpecDefaults
from povwatch.core import layout
from povwatch.core.background import JobWork
from povwatch.core.job import JobState
from povwatch.core.waker import Waker
from povwatch.daemon.loop import Daemon
from povwatch.daemon.outside import Outside
from povwatch.engines.annotate import annotation
from povwatch.files import fs
from povwatch.gpu.nvml import Gpus
from povwatch.hooks import run as hook_run
from povwatch.journal.anew import made_anew
from povwatch.ops.rebuild import restore, survey
from povwatch.page import results as page_results
from povwatch.publish import files
from povwatch.results import stage as finisher
from povwatch.results.sealing import seal_anew
from povwatch.results.stage import FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from povwatch.core.background import Background
    from povwatch.journal import Journal

SCENARIOS = ("plain", "taken", "late", "hooked", "refused", "looks", "seeds")
"""plain: one clip. taken: somebody takes the result's name when it is promised. late: an attempt that was given up
comes back with its result while, and after, the next one runs. hooked, refused: with hooks, see toy_hooks.py. looks: a
clip with two further looks, which keep what a file in outputs/ shows. seeds: no result passes, and
two are tried, which share a control that is computed before the worker generates."""

SLEEPS = 60
"""Of the loop with nothing under way, before a run is taken for stuck; a healthy one takes a dozen."""

MENDED_AFTER = 12
"""Such sleeps of a daemon to which the machine refuses something, until it does no more."""

WHILE_WAITING = 4.0
"""Seconds of each of them at the least."""

TURNS = 20
"""Of the loop that may pass until what its threads have done is settled; it takes one or two."""

AT_WORK = 60.0
"""Real seconds that the threads may take for what they have at hand."""

LIFE = 1000.0
"""Seconds from the begin of one life to that of the next, on the clock that is set by hand."""

SOMEBODY = b"somebody else's video"

SEEDS = 2
"""Seeds that are tried where results are judged."""

LOOKS = ("night", "rain")
"""The further looks of the clip, where it has any."""

KEPT = "hands.mp4"
"""What is kept in those looks, in the clip's folder in outputs/."""

CONFIG = Config(
    arrival=Arrival(settle="1s"),
    grace=Grace(period="0s"),
    engine=Engine(kind="toys:Worker"),
    disk=Disk(reserve="0B"),
)

annotation.ENGINES |= {CONFIG.engine.kind}
workpiece.call = soundtrack.call = inspections.call = page_results.call = toys.media


@dataclass(frozen=True)
class Folders:
    """Where one point has its files: the journal on one file system, the rest on another."""

    state: Path
    inputs: Path
    outputs: Path

    @property
    def paths(self) -> Paths:
        """For the configuration."""
        return Paths(inputs=self.inputs, outputs=self.outputs, state=self.state)

    @property
    def made(self) -> Path:
        """What hooks make."""
        return self.outputs.with_name("made")

    @property
    def taken(self) -> Path:
        """There from the moment that somebody has a file with the result's name."""
        return self.outputs.with_name("taken")


class World:
    """One life of the daemon on these folders."""

    def __init__(
        self,
        folders: Folders,
        scenario: str,
        *,
        life: int = 1,
        apart: Callable[[Callable[[], None]], None],
        mended: Callable[[], None] | None = None,
    ) -> None:
        """Put it together.

        Args:
            folders: where.
            scenario: one of SCENARIOS.
            life: the how many-th on these folders, so that it begins later than the last one ended.
            apart: calls its argument as somebody who is not under test.
            mended: called when the daemon has waited for a while: whatever the machine refuses, it does no more. The
                daemon then is one that goes on until all is done, in place of `--once`, which would give up.
        """
        if scenario == "looks" and life == 1:
            apart(lambda: [put(folders.inputs / f"a.{look}.json", spec(look)) for look in LOOKS])
            apart(lambda: put(folders.outputs / "a" / KEPT, SOMEBODY))
        programs = Programs(folders.made, scenario, apart=apart)
        hook_run.run_program = programs.run
        self._folders, self._scenario, self._apart = folders, scenario, apart
        self._clock = HandClock()
        self._clock.now += LIFE * life
        self._sleeps = 0
        self._turns = 0
        """Turns in a row in which something was still to be settled."""
        self._mended = mended
        self.daemon: Daemon | None = None
        self._background: list[Background] = []
        self._given_back = False
        self._late: tuple[Callable[[Any], None], Any] | None = None
        outside = Outside(
            clock=self._clock,
            waker=HandWaker(self._sleep),
            read_gpus=lambda: Gpus(problem="there is none"),
            watcher=Unwatched,
            worker=lambda *_, **__: toys.Worker(self._clock, programs.missing),
            annotator=lambda _: toys.Annotator(),
        )
        self.daemon = Daemon(config(folders, programs, scenario), once=mended is None, outside=outside)
        app = self.daemon.app
        mutate(app.journal, os.environ.get("CRASH_MUTATION", ""))
        if scenario == "taken":
            publish = app.publisher.publish
            app.publisher.publish = lambda *given: (self._take_the_name(), publish(*given))[1]
        self._background = [
            app.background,
            *app.inspections.queues,
            app.hooks._background,
            app.page._background,
        ]

    def live(self) -> bool:
        """Start, work until nothing is left to do, end. False if it never came to that."""
        try:
            self.daemon.run()
        finally:
            for thread in threading.enumerate():  # one that looks at the GPUs ends by itself; then this may be forked
                if thread is not threading.current_thread():
                    thread.join()
        return self._sleeps < SLEEPS

    # -- time

    def _sleep(self, seconds: float) -> None:
        """Wait until every thread is done; if nothing has come of that, let time pass until all is due."""
        deadline = time.monotonic() + AT_WORK
        while any(at_work(background) for background in self._background):
            if time.monotonic() > deadline:
                raise TimeoutError("the daemon's threads come to no end")
            time.sleep(0.0002)
        if self.daemon is None or self.daemon.journal_wait.problem is not None:
            # In the middle of a step, or before the first one: nobody else's turn comes.
            self._pass(max(seconds, WHILE_WAITING))
            return
        if self._scenario == "late":
            self._come_late()
        self._turns = 0 if all(background.idle for background in self._background) else self._turns + 1
        if (
            not self._turns or self._turns > TURNS
        ):  # a part that failed is left alone, and with it what it has to settle
            app = self.daemon.app
            seconds = seconds if self._mended is None else max(seconds, WHILE_WAITING)
            if self._mended is not None and self._over():
                self.daemon.stop("all is done")
                return
            waits = (app.hooks, app.run, app.results, app.arrival, app.mishaps)
            due = [when for part in waits if (when := part.next_deadline()) is not None]
            self._pass(max([max(seconds, 0.0), *(when - self._clock.now for when in due)]))

    def _pass(self, seconds: float) -> None:
        """Let time pass; some of it is all that the machine refuses anything for."""
        if self._mended is not None and self._sleeps == MENDED_AFTER:
            self._mended()
        self._clock.now += seconds
        self._sleeps += 1
        if self._sleeps == SLEEPS and self.daemon is None:
            raise TimeoutError("the daemon never starts")
        if self._sleeps == SLEEPS:
            self.daemon.stop("it comes to no end")

    def _over(self) -> bool:
        counts = self.daemon.app.store.counts
        return any(counts.values()) and all(state.ended for state, many in counts.items() if many)

    # -- what others do

    def _take_the_name(self) -> None:
        """Somebody makes a file with the name that was promised, and has it on the disk."""

        def take() -> None:
            if put(self._folders.outputs / "a" / "a_aug.mp4", SOMEBODY):
                put(self._folders.taken, b"")

        self._apart(take)

    def _come_late(self) -> None:
        """The first attempt is given back when its result is sealed, before the daemon hears of that.

        Its result comes then, again when the next attempt has its own, and again when all is over.
        """
        app, key = self.daemon.app, JobWork(1, FINISHED)
        sealed = dict(app.background._ended._things).get(key)
        if sealed is not None and not isinstance(sealed, Exception) and not self._given_back:
            self._given_back, then = True, app.background._thens[key]
            app.failed_attempts.requeue_uncharged(app.store.job(1), "It was given back.", not_before=self._clock.wall())
            self._late = (then, sealed)
        elif self._late is not None and (sealed is not None or app.store.counts[JobState.DONE]):
            then, outcome = self._late
            self._late = self._late if sealed is not None else None
            try:
                then(outcome)
            except Exception as error:  # noqa: BLE001 - as Background does it
                app.mishaps.work_failed(key, error)


class HandWaker(Waker):
    """How a loop sleeps whose time is set by hand."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        super().__init__()
        self._slept = sleep

    def sleep(self, seconds: float) -> None:
        self._slept(seconds)


class Unwatched(Watcher):
    """Tells nothing, and the rescan finds all."""

    def start(self) -> bool:
        return True

    alive = start

    def stop(self) -> None:
        pass


def at_work(background: Background) -> bool:
    """Whether a thread of it has not come to its end; that end may not have been handled yet."""
    return len(background._ended._things) < len(background._cancels)


def config(folders: Folders, programs: Programs, scenario: str) -> Config:
    """Without a grace."""
    judged: dict[str, Section] = {}
    if scenario == "seeds":
        spec = SpecDefaults(controls={"edge": 0.6, "depth": 0.4})
        judged = {"quality": Quality(edge_f1=toys.EDGE_F1 + 0.1, tries=SEEDS), "spec": spec}
    return CONFIG.model_copy(update={"paths": folders.paths, "hooks": tuple(programs.hooks), **judged})


def rebuild(folders: Folders, scenario: str) -> None:
    """Make the journal again, as povwatch rebuild does."""
    if os.environ.get("CRASH_MUTATION") == "rooms":
        survey.find_promises = lambda *_, **__: ([], 0)
    programs = Programs(folders.made, scenario, apart=lambda act: act())
    found = survey.survey(config(folders, programs, scenario), hold=False, tell=lambda *_: None)
    with made_anew(folders.state) as journal:
        journal.restore(restore.jobs(found.plan, found.clips, 0.0), found.plan.bases)


def mutate(journal: Journal, what: str) -> None:
    """Take one of the rules out, for the test that the harness sees it."""
    if what == "file-fsync":
        files.os = SimpleNamespace(**vars(os) | {"fsync": lambda _: None})
    elif what == "folder-fsync":
        fs.fsync_dir = lambda _: None
    elif what == "copy-fsync":
        workpiece.Attempt.sync = lambda *_: None
    elif what == "noreplace":
        fs.RENAME_NOREPLACE = 0
    elif what == "compare-and-set":
        sql = Path(layout.__file__).parents[1] / "journal" / "sql" / "write.sql"
        statement = sql.read_text().split("-- name: advance!")[1].split(";")[0]
        statement = statement.replace("AND state = :was AND run_id IS :was_run", "")
        journal._write.__dict__["advance"] = lambda db, **row: db.execute(statement, row).rowcount
    elif what == "thread":
        finisher.seal_anew = seals_anew_by_the_journal
        seals_anew_by_the_journal.journal = journal
    elif what not in {"", "rooms"}:
        raise ValueError(what)


def seals_anew_by_the_journal(cancelled, publisher, sealed, job, *given, **named):
    """As it was once: a thread that reads the journal itself."""
    seals_anew_by_the_journal.journal.events(job.id)
    return seal_anew(cancelled, publisher, sealed, job, *given, **named)


def spec(look: str) -> bytes:
    """The JSON of a further look."""
    asked = {"name": look, "video_path": "a.mp4", "prompt": f"By {look}.", "edge": {}, "depth": {}}
    return json.dumps(asked | {"povwatch": {"keep": KEPT}}).encode()


def put(path: Path, data: bytes) -> bool:
    """A new file that is on the disk for certain, with its name; False if something has that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    for folder in (path.parent, path.parent.parent):
        with ExitStack() as closing:
            fd = os.open(folder, os.O_RDONLY)
            closing.callback(os.close, fd)
            os.fsync(fd)
    return True
