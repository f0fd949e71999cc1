"""A clip between its arrival and its claim, with real files, a real journal, and a clock that the test sets."""

from __future__ import annotations

import json
import time

from support.clips import make_clip
from support.hand_clock import HandClock
from support.stages import Mishaps, Others

from povwatch.arrival.stage import described
from povwatch.config.settings import Config, Engine, Grace
from povwatch.core.background import Background
from povwatch.core.changes import Arrived
from povwatch.core.job import JobState, Waiting
from povwatch.files.signature import signature
from povwatch.grace.stage import GraceStage
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.media.info import VideoInfo
from povwatch.media.run import call
from povwatch.spec.error_files import ErrorFiles
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.prompts import load_templates

GRACE, QUEUED = (JobState.GRACE, Waiting.GRACE), (JobState.QUEUED, Waiting.TURN)
INVALID = (JobState.GRACE, Waiting.INVALID_SPEC)


def inspected(folder, **shape):
    """The result of a clip's probe."""
    clip = make_clip(folder / "a.mp4", **shape)
    return VideoInfo.from_json(call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60))


class Post:
    """A clip in its grace, and what happens to it."""

    def __init__(self, folder, info, *, kind="toy.py:Engine", **engine):
        self.folder, self.info = folder, info
        self.engine = {"kind": kind} | engine
        self.inputs = folder / "inputs"
        self.inputs.mkdir()
        (self.inputs / "a.mp4").touch()
        self.spec, self.error = self.inputs / "a.json", self.inputs / "a.error.txt"
        self.clock = HandClock()
        self.mishaps, self.others = Mishaps(), Others(JobState.GRACE, JobState.QUEUED)
        self.background = Background(lambda: None, threads=1, broken=self.mishaps.of)
        self.open()
        (self.first,) = self.store.add([(b"a.mp4", signature((self.inputs / "a.mp4").stat()))])

    def open(self):
        self.journal = Journal.open(self.folder / "state")
        self.store = JobStore(self.journal, self.clock)
        self.store.mishaps = self.mishaps
        self.beside = InputsFolder(self.inputs)
        self.gates = GraceStage(
            Config(grace=Grace(period="2m", max="1h"), engine=Engine(**self.engine)),
            store=self.store,
            folder=self.beside,
            error_files=ErrorFiles(self.beside, self.journal),
            background=self.background,
            failed_attempts=None,
            templates=load_templates(None),
            engine=self.engine["kind"],
        )
        self.store.route((self.gates, self.others))

    def restart(self, *, away):
        """Restart as after a kill -9 and some time."""
        self.journal.close()
        self.clock.now += away
        self.open()
        self.gates.resume(self.job, crashed=True)

    def close(self):
        self.background.close()
        self.journal.close()

    def admit(self):
        """Let the clip arrive."""
        info, job = self.info, self.job
        found = {"source_hash": info.sha256, "source_stat": job.source_stat, "source_info": json.dumps(info.to_json())}
        self.store.apply(job, Arrived(described=described(info), now=self.clock.wall(), **found))
        if self.mishaps.broken:
            raise self.mishaps.broken[0]

    def until(self, when):
        while (due := self.gates.next_deadline()) is not None and max(due, self.clock.now) <= when:
            self.clock.now = max(self.clock.now, due)
            self.gates.tick(self.clock.now)
            self.clock.now += 0.001
        self.clock.now = when
        assert self.mishaps.broken == []

    def measured(self, when):
        """Let time pass until then, and finish the measurements that begin meanwhile."""
        self.until(when)
        deadline = time.monotonic() + 60
        while not self.background.idle:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            self.background.settle()
        self.until(when + 0.1)

    def edit(self, **changes):
        self.spec.write_text(json.dumps(json.loads(self.spec.read_text()) | changes))

    @property
    def ended(self):
        return self.others.jobs_ended

    @property
    def job(self):
        return self.store.of_path(b"a.mp4")

    def at(self):
        return self.job.state, self.job.waiting_on
