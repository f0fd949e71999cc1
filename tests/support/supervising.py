"""Shared by tests of the supervisor: a log to query, a fake worker, and a small loop."""

import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from unittest import mock

from support.hand_clock import HandClock

from povwatch.core.clock import Clock
from povwatch.process import protocol
from povwatch.workers import supervisor
from povwatch.workers.launch import Launch
from povwatch.workers.process import Exited, Received, WorkerProcess
from povwatch.workers.states import SupervisorState, Timeouts
from povwatch.workers.supervisor import Supervisor

ENGINES = Path(__file__).parents[1] / "engines"


class ListLog:
    """The supervisor's log, until it is closed."""

    def __init__(self):
        self.lines = []
        self._patch = mock.patch.object(supervisor, "say", self.say)
        self._patch.start()

    def close(self):
        self._patch.stop()

    def say(self, event, **fields):
        self.lines.append((event, fields))

    def names(self):
        return [event for event, _ in self.lines]


class FakeProcess:
    """A fake worker: it does what the test says, and records what is done to it."""

    count = 0

    def __init__(self, clock):
        FakeProcess.count += 1
        self.pid = FakeProcess.count
        self.clock = clock
        self.items = deque()
        self.sent = []
        self.signals = []
        self.listens = True
        self.gone = False

    def says(self, message):
        self.items.append(Received(self.clock.boot(), message))

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


class World(HandClock):
    """A supervisor with the test's time and workers."""

    def __init__(self):
        super().__init__()
        self.workers = []
        self.log = ListLog()
        self.cannot_start = None
        self.clear = True
        self.supervisor = Supervisor(
            Launch("python", "x:Y", {"model": "edge"}, {}),
            Timeouts(load=1800, stall=600),
            clock=self,
            new_process=self.new_process,
        )

    def new_process(self, _launch):
        if self.cannot_start:
            raise self.cannot_start
        self.workers.append(FakeProcess(self))
        return self.workers[-1]

    @property
    def worker(self):
        return self.workers[-1]

    def start(self):
        self.supervisor.start()
        self.spawn()

    def poll(self):
        told = self.supervisor.poll(self.now)
        self.spawn()
        return told

    def spawn(self):
        """Start the next worker if it is due, as the pool does."""
        if self.clear and self.supervisor.due(self.now):
            self.supervisor.spawn(self.now)

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
        self.start()
        self.worker.says(protocol.Loaded({"name": "fake"}))
        self.poll()
        return self

    def busy(self):
        self.loaded()
        self.supervisor.generate(request())
        self.worker.says(protocol.Started(1, "r1"))
        self.poll()
        return self


class Monotonic(Clock):
    """The clock of real workers."""

    def boot(self):
        return time.monotonic()


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
            clock=Monotonic(),
            new_process=partial(WorkerProcess, clock=time.monotonic, wake=self.woken.set),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.supervisor.close()
        self.log.close()

    def start(self):
        self.supervisor.start()
        self.supervisor.spawn(time.monotonic())
        return self

    def poll(self):
        """Take in the worker's events, and start the next worker if it is due."""
        self.events += self.supervisor.poll(time.monotonic())
        if self.supervisor.due(time.monotonic()):
            self.supervisor.spawn(time.monotonic())

    def until(self, kind, *, within=15.0):
        """Run until an event of this kind; returns it."""
        return self._run(lambda: next((event for event in self.events if isinstance(event, kind)), None), kind, within)

    def until_state(self, state, *, within=15.0):
        return self._run(lambda: self.supervisor.state is state or None, state, within)

    def ready(self, **limits):
        self.start().until_state(SupervisorState.READY, **limits)
        return self

    def checked(self, *texts, within=15.0):
        """Have the worker check some texts; returns its answer."""
        self.supervisor.check_prompts(protocol.CheckPrompts(1, list(texts)))
        [answer] = self._run(lambda: self.supervisor.take_checked() or None, "checked", within)
        return answer

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
            self.poll()
        return value
