"""Shared by tests of the supervisor: a log to query, a fake worker, and a small loop."""

import sys
import threading
import time
from collections import deque
from pathlib import Path

from povwatch.workers import protocol
from povwatch.workers.deadlines import Timeouts
from povwatch.workers.launch import Launch
from povwatch.workers.process import Exited, Received
from povwatch.workers.states import SupervisorState
from povwatch.workers.supervisor import Supervisor

ENGINES = Path(__file__).parents[1] / "engines"


class ListLog:
    def __init__(self):
        self.lines = []

    def say(self, event, **fields):
        self.lines.append((event, fields))

    def names(self):
        return [event for event, _ in self.lines]


class FakeProcess:
    """A fake worker: it does what the test says, and records what is done to it."""

    count = 0

    def __init__(self, _launch, *, clock, **_wake):
        FakeProcess.count += 1
        self.pid = FakeProcess.count
        self.clock = clock
        self.items = deque()
        self.sent = []
        self.signals = []
        self.listens = True
        self.gone = False

    def says(self, message):
        self.items.append(Received(self.clock(), message))

    def exits(self, returncode):
        self.gone = True
        self.items.append(Exited(returncode))

    def send(self, message):
        self.sent.append(message)
        return self.listens

    def take(self):
        items = list(self.items)
        self.items.clear()
        return items

    def signal(self, number):
        self.signals.append(number)

    def kill(self):
        self.signals.append(9)

    def join(self, _timeout):
        return self.gone


def request(run_id="r1", job_id=1, workdir="/nowhere", checkpoints="/nowhere", **job):
    return protocol.Generate({"id": job_id, **job}, run_id, str(workdir), str(checkpoints))


class World:
    """A supervisor with the test's time and workers."""

    def __init__(self):
        self.now = 1000.0
        self.workers = []
        self.log = ListLog()
        self.cannot_start = None
        self.clear = True
        self.supervisor = Supervisor(
            Launch("python", "x:Y", {"model": "edge"}, {}),
            Timeouts(load=1800, stall=600),
            clock=lambda: self.now,
            wake=lambda: None,
            say=self.log.say,
            spawn=self.spawn,
            may_start=lambda _: self.clear,
        )

    def spawn(self, *args, **kwargs):
        if self.cannot_start:
            raise self.cannot_start
        self.workers.append(FakeProcess(*args, **kwargs))
        return self.workers[-1]

    @property
    def worker(self):
        return self.workers[-1]

    def poll(self):
        return self.supervisor.poll(self.now)

    def wait(self, seconds, *, beating=True):
        """Let time pass as in the daemon's loop, one deadline after the other."""
        end = self.now + seconds
        told = self.poll()
        while True:
            due = self.supervisor.next_deadline()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            if beating and self.workers and not self.worker.gone:
                self.worker.says(protocol.Heartbeat())
            told += self.poll()
        self.now = end
        return told + self.poll()

    def loaded(self):
        self.supervisor.start()
        self.worker.says(protocol.Loaded({"name": "fake"}))
        self.poll()
        return self

    def busy(self):
        self.loaded()
        self.supervisor.generate(request())
        self.worker.says(protocol.Started(1, "r1"))
        self.poll()
        return self


class Loop:
    """A daemon's loop around a real worker: it waits for wake-ups and deadlines, and collects events."""

    def __init__(self, engine, *, python=sys.executable, config=None, env=None, **limits):
        self.log = ListLog()
        self.woken = threading.Event()
        self.events = []
        name = engine if ":" in engine else f"{ENGINES / engine}.py:Engine"
        self.supervisor = Supervisor(
            Launch(python, name, config or {}, env or {}),
            Timeouts(**{"load": 20.0, "stall": 20.0, "heartbeat": 20.0, **limits}),
            clock=time.monotonic,
            wake=self.woken.set,
            say=self.log.say,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.supervisor.close()

    def until(self, kind, *, within=15.0):
        """Run until an event of this kind; returns it."""
        return self._run(lambda: next((event for event in self.events if isinstance(event, kind)), None), kind, within)

    def until_state(self, state, *, within=15.0):
        return self._run(lambda: self.supervisor.state is state or None, state, within)

    def ready(self, **limits):
        self.supervisor.start()
        self.until_state(SupervisorState.READY, **limits)
        return self

    def forget(self):
        self.events.clear()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def _run(self, found, what, within):
        end = time.monotonic() + within
        while (value := found()) is None:
            assert time.monotonic() < end, (what, self.supervisor.state, self.events, self.log.lines)
            due = self.supervisor.next_deadline()
            self.woken.wait(max(0.0, min(end, due if due is not None else end) - time.monotonic()))
            self.woken.clear()
            self.events += self.supervisor.poll(time.monotonic())
        return value
