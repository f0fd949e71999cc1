"""Looking at the GPUs without ever waiting for them."""

from __future__ import annotations

import threading

import pytest
from support.hand_clock import HandClock

from povwatch.gpu import monitor
from povwatch.gpu.monitor import SILENT, GpuMonitor
from povwatch.gpu.nvml import Gpu, Gpus

GB = 10**9


class World:
    """A machine whose looks come back when the test says so."""

    def __init__(self):
        self.clock = HandClock()
        self.woken = threading.Event()
        self.may = threading.Event()
        self.may.set()
        self.looks = 0
        self.now: Gpus | Exception = free(140)
        self.told = []
        self.monitor = GpuMonitor(self.clock, self.woken.set, self.look)

    def look(self):
        self.looks += 1
        self.may.wait(10)
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    def tick(self):
        self.monitor.tick(self.clock.now, every=10)

    def seen(self):
        """Let the look under way come back, and take it in."""
        assert self.woken.wait(5)
        while self.monitor._query is not None and not self.monitor._query.over.wait(0.01):
            pass
        self.woken.clear()
        self.tick()


def free(much, *processes):
    return Gpus((Gpu(0, "GPU-0", "NVIDIA X", 140 * GB, much * GB, None, processes),))


@pytest.fixture
def world():
    world = World()
    yield world
    world.may.set()


def test_looks_come_in_time(world):
    """Looks come in their interval, and are told to all who watch."""
    world.monitor.watch(world.told.append)
    world.tick()
    world.seen()
    assert world.told == [world.now]
    assert world.monitor.latest is world.now
    world.clock.now += 9
    world.tick()
    assert world.looks == 1
    world.clock.now += 1
    world.tick()
    world.seen()
    assert world.looks == 2


def test_look_begins_after_the_question(world):
    """Who asks gets a look that began afterwards."""
    world.may.clear()
    world.tick()
    world.monitor.ask(world.told.append)
    world.may.set()
    world.seen()
    assert world.told == []
    world.seen()
    assert len(world.told) == 1
    assert world.looks == 2


def test_query_soon(world):
    """Another look is taken before its time, and begins afterwards; the interval starts anew."""
    world.may.clear()
    world.monitor.watch(world.told.append)
    world.tick()
    world.monitor.query_soon()
    world.may.set()
    world.seen()
    world.seen()
    assert world.looks == 2
    assert world.told == [world.now, world.now]
    assert world.monitor.next_deadline() == world.clock.now + 10


def test_late_look_is_told_once(world):
    """A look that does not come back is told once it is late, and no other is begun."""
    world.may.clear()
    world.monitor.watch(world.told.append)
    world.tick()
    world.clock.now += monitor.PATIENCE - 1
    world.tick()
    assert world.told == []
    assert world.monitor.next_deadline() == world.clock.now + 1
    world.clock.now += 1
    asked = []
    world.monitor.ask(asked.append)
    world.tick()
    assert world.told == asked == [SILENT]
    assert world.monitor.latest.lost
    world.clock.now += 1000
    world.tick()
    assert world.looks == 1
    world.may.set()
    world.seen()
    assert world.told[-1] is world.now


def test_first_look_has_a_limit(world, monkeypatch):
    """The first look is waited for, but not for ever."""
    assert world.monitor.first() is world.now
    monkeypatch.setattr(monitor, "PATIENCE", 0.05)
    world.may.clear()
    assert world.monitor.first() is SILENT


def test_error_in_a_look_is_an_answer(world):
    world.now = OSError("no such library")
    assert "no such library" in world.monitor.first().problem
