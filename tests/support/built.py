"""The daemon as production builds it, without its loop: a test gives its parts their turns, and lets time pass.

What is outside of the daemon is replaced: the clock is the test's, there is no GPU, and no worker is started.
"""

from __future__ import annotations

import time
from unittest.mock import patch

from support.hand_clock import HandClock
from support.put import advance

from povwatch.config.settings import Config, Paths
from povwatch.core import events, unforeseen
from povwatch.daemon.app import App
from povwatch.daemon.outside import Outside
from povwatch.daemon.recovery import recover
from povwatch.gpu.nvml import Gpus
from povwatch.workers.process import WorkerProcess

PATIENCE = 60
"""Seconds that child processes may take on a busy machine."""


class NoEvents:
    """A watcher of inputs/ that gives no hints: the test says when the folder is scanned."""

    problem, unwatched = None, 0

    def __init__(self, _root, hints, **_):
        self.hints = hints

    def start(self):
        return True

    def alive(self):
        return True

    def stop(self):
        pass


class Built:
    """Everything that production's builder makes, over inputs/, outputs/ and state/ in a folder."""

    def __init__(self, folder, *, watcher=NoEvents, worker=WorkerProcess, **sections):
        """Build it; `sections` are those of the configuration, and `worker` starts its workers' processes."""
        self.inputs, self.outputs, self.state = (folder / name for name in ("inputs", "outputs", "state"))
        paths = Paths(inputs=self.inputs, outputs=self.outputs, state=self.state)
        self.config = Config(paths=paths, **{"engine": {"kind": "preview"}} | sections)
        self.clock = HandClock()
        self.unforeseen = []
        """The exceptions that a bug raised, for the test to look at."""
        self._watcher = watcher
        self._worker = worker
        self._saying = patch.object(unforeseen, "say", self._say)
        self._saying.start()
        self.open()
        self.app.folder_monitor.start()

    def open(self):
        outside = Outside(clock=self.clock, read_gpus=Gpus, watcher=self._watch, worker=self._worker)
        self.app = App(self.config, outside=outside)

    def restart(self, *, away=0.0):
        """Build it anew, as after a kill -9 and some seconds, and recover the jobs."""
        self._shut()
        self.clock.now += away
        self.open()
        self.app.store.crashed = True
        recover(self.app.store, self.app.mishaps)
        self.app.folder_monitor.start()

    def close(self):
        self._shut()
        self._saying.stop()

    def rescan(self):
        """Scan inputs/ now."""
        self.hint(None)
        self.app.folder_monitor.tick(self.clock.now)
        self.no_bug()

    def give_turns(self, part, when):
        """Let time pass; a part has its turn whenever it asks for one."""
        while (due := part.next_deadline()) is not None and max(due, self.clock.now) <= when:
            self.clock.now = max(self.clock.now, due)
            part.tick(self.clock.now)
            self.clock.now += 0.001
        self.clock.now = when
        self.no_bug()

    def settle(self):
        """Let what runs in the background end, and handle its results."""
        deadline = time.monotonic() + PATIENCE
        while not (self.app.background.idle and self.app.inspections.idle):
            assert time.monotonic() < deadline
            time.sleep(0.01)
            self.app.background.handle_results()
            self.app.inspections.handle_results()
        self.no_bug()

    def no_bug(self):
        assert self.unforeseen == []

    def move(self, job, event, **to):
        """Change a job in the journal, and tell no stage of it: a test's own begins where the stages before it end."""
        advance(self.app.journal, self.app.store.job(job.id), event, self.clock.wall(), **to)
        return self.app.store.reread(job.id)

    def newest(self, path=b"a.mp4"):
        """The newest job of a clip."""
        return self.app.store.of_path(path)

    def _shut(self):
        app = self.app
        app.folder_monitor.stop()
        for part in (
            app.hooks,
            app.run,
            app.prompt_checks,
            app.inspections,
            app.background,
            app.arrival,
            app.journal,
            app.waker,
        ):
            part.close()

    def _watch(self, root, hints, *, recursive):
        self.hint = hints.put
        return self._watcher(root, hints, recursive=recursive)

    def _say(self, event, *job, **fields):
        self.unforeseen.append(fields["exc_info"])
        events.say(event, *job, **fields)
