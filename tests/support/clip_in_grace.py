"""A clip between its arrival and its claim, with real files, a real journal, and a clock that the test sets."""

from __future__ import annotations

import json

from support.built import Built
from support.clips import make_clip

from povwatch.arrival.settled import described
from povwatch.core.changes import Arrived
from povwatch.core.job import JobState, Waiting
from povwatch.files.signature import signature
from povwatch.media.info import VideoInfo
from povwatch.media.run import call
from povwatch.workers.process import WorkerProcess

GRACE, QUEUED = (JobState.GRACE, Waiting.GRACE), (JobState.QUEUED, Waiting.TURN)
INVALID = (JobState.GRACE, Waiting.INVALID_SPEC)


def inspected(folder, **shape):
    """The result of a clip's probe."""
    clip = make_clip(folder / "a.mp4", **shape)
    return VideoInfo.from_json(call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60))


class ClipInGrace(Built):
    """An empty file that passes for the clip of `info`, and what happens to it."""

    def __init__(self, folder, info, *, kind="toy.py:Engine", hooks=(), spec=None, worker=WorkerProcess, **engine):
        grace = {"period": "2m", "max": "1h"}
        engine = {"kind": kind} | engine
        page = {"enabled": False}  # it has no turns here, and --once would wait for it
        super().__init__(folder, worker=worker, grace=grace, hooks=hooks, spec=spec or {}, engine=engine, page=page)
        self.info = info
        clip = self.inputs / "a.mp4"
        clip.touch()
        self.spec, self.error = self.inputs / "a.json", self.inputs / "a.error.txt"
        (self.first,) = self.store.add([(b"a.mp4", signature(clip.stat()))])

    def admit(self):
        """Let the clip arrive."""
        info, job = self.info, self.job
        found = {"source_hash": info.sha256, "source_stat": job.source_stat, "source_info": json.dumps(info.to_json())}
        self.store.apply(job, Arrived(described=described(info), now=self.clock.wall(), **found))
        self.no_bug()

    def until(self, when):
        """Let time pass, and have the clip checked whenever that is due."""
        self.give_turns(self.grace, when)

    def measured(self, when):
        """Let time pass until then, and finish the measurements that begin meanwhile."""
        self.until(when)
        self.settle()
        self.until(when + 0.1)

    def edit(self, **changes):
        self.spec.write_text(json.dumps(json.loads(self.spec.read_text()) | changes))

    @property
    def store(self):
        return self.app.store

    @property
    def grace(self):
        return self.app.grace

    @property
    def job(self):
        return self.newest(b"a.mp4")

    def at(self):
        return self.job.state, self.job.waiting_on
