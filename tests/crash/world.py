"""The child under test: what the daemon does between its start and its end, with a toy for everything slow.

Journal, publishing, dispatch, finishing, endings and recovery are the daemon's own, put together as it does it. A toy
engine, toy media work, no watcher, no grace and a clock that is set by hand take the place of the rest, and background
work is done at once: so every run makes the same calls in the same order, and one takes hundredths of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import toys
from hand_clock import HandClock
from spec_texts import text
from toy_hooks import Programs

from povwatch import fs, layout
from povwatch.arrival.signature import signature
from povwatch.config import Config, Paths
from povwatch.daemon.background import Background
from povwatch.daemon.ends.aside import Aside
from povwatch.daemon.ends.endings import Endings
from povwatch.daemon.ends.finisher import Finisher
from povwatch.daemon.ends.sealing import finish_and_seal
from povwatch.daemon.ends.tidy import Tidy
from povwatch.daemon.hooks import errand
from povwatch.daemon.hooks.stage import HookStage
from povwatch.daemon.ledger import Ledger
from povwatch.daemon.mailbox import Gauge
from povwatch.daemon.notices import Notices
from povwatch.daemon.parts import Parts
from povwatch.daemon.recovery import recover
from povwatch.daemon.runs import workpiece
from povwatch.daemon.runs.availability import Availability
from povwatch.daemon.runs.crew import Crew
from povwatch.daemon.runs.dispatch import Dispatch
from povwatch.daemon.runs.places import Place
from povwatch.job import JobState
from povwatch.journal import Journal, StaleJobError
from povwatch.journal.anew import made_anew
from povwatch.publish import Publisher, files
from povwatch.rebuild import restore, rooms
from povwatch.rebuild.survey import survey
from povwatch.spec import parse
from povwatch.spec.beside import InputsFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.job import Job

SCENARIOS = ("plain", "taken", "late", "hooked", "refused")
"""plain: one clip. taken: somebody takes the result's name when it is promised. late: an attempt that was given up
comes back with its result while, and after, the next one runs. hooked, refused: with hooks, see toy_hooks.py."""

TURNS = 60
"""Of the loop, before a run is taken for stuck; a healthy one takes a dozen."""

SOMEBODY = b"somebody else's video"

workpiece.call = toys.media
errand.see_that_it_is_content = lambda *_: None  # the toy clip is text
SPEC = parse(text(name="a", video_path="a.mp4"), clip_name=b"a.mp4", file="")


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


class Inline(Background):
    """Background work that is done at once; its end is handled by `settle`, as ever."""

    def __init__(self, broken: Callable[[Any, Exception], None]) -> None:
        super().__init__(lambda: None, threads=1, broken=broken)
        self._pool = SimpleNamespace(submit=lambda run, *args: run(*args), shutdown=lambda **_: None)
        self.before: dict[str, Callable[[], None]] = {}
        """Done once, before work of a kind."""
        self.held: Callable[[], None] | None = None

    def submit(self, key, *work, **named):
        if happens := self.before.pop(key[0], None):
            happens()
        super().submit(key, *work, **named)


class World:
    """One life of the daemon on these folders."""

    def __init__(self, folders: Folders, scenario: str, *, apart: Callable[[Callable[[], None]], None]) -> None:
        """Put it together, as Parts does.

        Args:
            folders: where.
            scenario: one of SCENARIOS.
            apart: calls its argument as somebody who is not under test.
        """
        self.programs = Programs(folders.made, scenario, apart=apart)
        errand.run = self.programs.run
        self.config = Config(paths=folders.paths, hooks=self.programs.hooks)
        self.folders, self.scenario, self._apart = folders, scenario, apart
        self.clock = HandClock()
        self.journal = Journal.open(folders.state)
        mutate(self.journal, os.environ.get("CRASH_MUTATION", ""))
        # Every life begins later than the last one ended.
        self.clock.now += 1000.0 * int(self.journal.fact("lives") or 0)
        self.journal.set_facts(lives=int(self.journal.fact("lives") or 0) + 1)
        self.ledger = Ledger(self.journal, self.clock)
        self._background = Inline(self._broken)
        folder = InputsFolder(folders.inputs)
        publisher = Publisher(folders.outputs)
        gates = SimpleNamespace(resume=lambda _: None, drop=lambda _: None, spec_of=lambda _: SPEC)
        eye = SimpleNamespace(watch=lambda _: None, ask=lambda _: None, latest=SimpleNamespace(found=[]))
        self.availability = Availability(self.clock, "toy")
        self.endings = Endings(
            self.config,
            ledger=self.ledger,
            notices=Notices(folder, self.journal),
            publisher=publisher,
            back=lambda _: None,
            ended=lambda _: None,
            pause=self.availability.pause,
        )
        self.hooks = HookStage(
            self.config,
            ledger=self.ledger,
            gates=gates,
            publisher=publisher,
            endings=self.endings,
            wake=lambda: None,
            broken=self._broken,
        )
        self.hooks._background = Inline(self._broken)
        self.finisher = Finisher(
            self.config,
            ledger=self.ledger,
            publisher=publisher,
            background=self._background,
            endings=self.endings,
            aside=Aside(self.config, folder),
            room=lambda: None,
            done=Tidy(self.ledger, publisher, self._background).ended,
            after=self.hooks.after,
        )
        crew = Crew(self.clock, eye)
        crew.places = [Place(toys.Worker(self.programs.missing))]
        self.dispatch = Dispatch(
            self.config,
            kind="toy",
            ledger=self.ledger,
            gates=gates,
            publisher=publisher,
            background=self._background,
            endings=self.endings,
            availability=self.availability,
            crew=crew,
            eye=eye,
            room=lambda: None,
            ready=self.hooks.ready,
            generated=self._generated,
        )
        self.gates, self._crew, self._publisher = gates, crew, publisher
        self._late: tuple[Job, Any] | None = None

    _broken = Parts._broken

    def live(self) -> bool:
        """Start, work until nothing is left to do, end. False if it never came to that."""
        try:
            return self._start_and_work()
        finally:
            self._end()

    def _start_and_work(self) -> bool:
        crashed = self.journal.fact("daemon") is not None
        recover(self.ledger, self.gates, self.endings, self.finisher, self._publisher, crashed=crashed)
        self.hooks.recover()
        self.journal.set_facts(daemon={"pid": 1})
        if self.scenario == "taken":
            self._background.before["publish"] = self._take_the_name
        for _ in range(TURNS):
            self._arrive()
            self._background.settle()
            self.hooks.tick(self.clock.boot(), hurdle=None, fault=None)
            self.dispatch.tick(self.clock.boot(), hurdle=None)
            self.finisher.tick(self.clock.boot())
            if self._background.idle and not self.journal.active():
                self._come_late()
                return True
            self._pass_time()
        return False

    def _end(self) -> None:
        with ExitStack() as closing:
            closing.callback(self.journal.close)
            closing.callback(self.dispatch.close)
            closing.callback(self._background.close)
            closing.callback(self.hooks.close)
            self._crew.stop("It stops.")
            self.dispatch.settle(self.clock.boot())
            self.hooks.close()
            self.dispatch.close()
            self.journal.set_facts(daemon=None)

    # -- what others do

    def _arrive(self) -> None:
        """Bring every clip into the queue, in the steps that it takes."""
        for file in sorted(self.folders.inputs.rglob("*.mp4")):
            path = os.fsencode(file.relative_to(self.folders.inputs))
            job = self.ledger.of_path(path)
            if job is None:
                (job,) = self.ledger.add([(path, signature(file.lstat()))])
            if job.state is JobState.ARRIVING:
                sha = toys.digest(file.read_bytes())
                info = json.dumps(toys.INFO | {"sha256": sha, "size": file.stat().st_size})
                job = self.ledger.set_quietly(
                    job, "arrived", state=JobState.GRACE, source_hash=sha, source_info=info, waiting_on=None
                )
            if job.state is JobState.GRACE:
                self.ledger.set_quietly(job, "queued", state=JobState.QUEUED, spec_hash=SPEC.digest())

    def _pass_time(self) -> None:
        """Until there is something to do."""
        deadlines = [part.next_deadline() for part in (self.hooks, self.dispatch, self.finisher)]
        self.clock.now = max(self.clock.now + 1.0, *(d for d in deadlines if d is not None), 0.0)

    def _take_the_name(self) -> None:
        """Somebody makes a file with the name that was promised, and has it on the disk."""

        def take() -> None:
            if put(self.folders.outputs / "a" / "a_aug.mp4", SOMEBODY):
                put(self.folders.taken, b"")

        self._apart(take)

    # -- the attempt that comes late

    def _generated(self, job: Job, piece: workpiece.Workpiece) -> None:
        if self.scenario != "late" or self._late or job.id != 1:
            if self._late:
                self._come_late()
            self.finisher.check(job, piece)
            return
        # It is sealed, and before the daemon hears of that, the attempt is given back.
        like = self.config.publish.layout
        checked, sealed = finish_and_seal(
            threading.Event(), self._publisher, job, piece, gauge=Gauge(), names_like=like, started_at=""
        )
        self._late = (job, (checked, sealed), piece)
        self.endings.release(job, "It was given back.", not_before=self.clock.wall())

    def _come_late(self) -> None:
        if self._late:
            job, outcome, piece = self._late
            with contextlib.suppress(StaleJobError):
                self.finisher._checked(job, piece, outcome)
            self._background.settle()


def rebuild(folders: Folders, scenario: str) -> None:
    """Make the journal again, as povwatch rebuild does."""
    hooks = Programs(folders.made, scenario, apart=lambda act: act()).hooks
    if os.environ.get("CRASH_MUTATION") == "rooms":
        rooms.look = lambda *_, **__: ([], 0)
    found = survey(Config(paths=folders.paths, hooks=hooks), hold=False, tell=lambda *_: None)
    with made_anew(folders.state) as journal:
        journal.restore(restore.jobs(found.plan, found.clips, 0.0), found.plan.bases)


def mutate(journal: Journal, what: str) -> None:
    """Take one of the rules out, for the test that the harness sees it."""
    if what == "file-fsync":
        files.os = SimpleNamespace(**vars(os) | {"fsync": lambda _: None})
    elif what == "folder-fsync":
        fs.fsync_dir = lambda _: None
    elif what == "copy-fsync":
        workpiece.Workpiece._keep = lambda *_: None
    elif what == "noreplace":
        fs.RENAME_NOREPLACE = 0
    elif what == "compare-and-set":
        sql = Path(layout.__file__).with_name("journal") / "sql" / "write.sql"
        statement = sql.read_text().split("-- name: advance!")[1].split(";")[0]
        statement = statement.replace("AND state = :was AND run_id IS :was_run", "")
        journal._write.__dict__["advance"] = lambda db, **row: db.execute(statement, row).rowcount
    elif what not in {"", "rooms"}:
        raise ValueError(what)


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
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return True
