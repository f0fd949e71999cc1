from __future__ import annotations

import threading

import pytest

from povwatch.core.background import Background


class Loop:
    """A loop around a background: woken, then settled."""

    def __init__(self):
        self.woken = threading.Event()
        self.broken = []
        self.ends = []
        self.background = Background(self.woken.set, threads=2, broken=lambda *what: self.broken.append(what))

    def settle(self):
        assert self.woken.wait(10)
        self.woken.clear()
        self.background.handle_results()


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.background.close()


def name_of_the_thread(_):
    return threading.current_thread().name


def raises(_, error):
    raise error


def returns(_, *data, **named):
    return *data, named


def waits(cancelled):
    return cancelled.wait(10)


def waits_for(_, event):
    return event.wait(10)


def test_end_is_handled_in_the_loop(loop):
    """Work runs in a background thread, and its end is handled in the loop's."""
    where = []
    loop.background.submit("a", lambda end: where.append((end, threading.current_thread())), name_of_the_thread)
    assert loop.background.busy("a")
    loop.settle()
    ((name, thread),) = where
    assert name.startswith("background")
    assert thread is threading.main_thread()
    assert loop.background.idle


def test_work_gets_its_data(loop):
    loop.background.submit("a", loop.ends.append, returns, 1, "b", kind="mp4")
    loop.settle()
    assert loop.ends == [(1, "b", {"kind": "mp4"})]


def test_exception_is_an_outcome(loop):
    loop.background.submit("a", loop.ends.append, raises, KeyError("x"))
    loop.settle()
    assert isinstance(loop.ends[0], KeyError)


def test_failed_handler_delays_no_other(loop):
    """An end that cannot be handled is reported, and the next one is handled."""

    def then(_):
        raise ZeroDivisionError

    loop.background.submit(("x", 1), then, returns)
    loop.background.submit(("x", 2), loop.ends.append, returns, "fine")
    while not loop.ends or not loop.broken:
        loop.settle()
    ((key, error),) = loop.broken
    assert key == ("x", 1)
    assert isinstance(error, ZeroDivisionError)
    assert loop.ends == [("fine", {})]
    assert loop.background.idle


def test_work_is_called_off(loop):
    """Work is called off by its key; an unknown key does no harm."""
    loop.background.submit("a", loop.ends.append, waits)
    loop.background.cancel("a")
    loop.background.cancel("nobody")
    loop.settle()
    assert loop.ends == [True]


def test_one_at_a_time_under_a_key(loop):
    go = threading.Event()
    loop.background.submit("a", loop.ends.append, waits_for, go)
    with pytest.raises(ValueError, match="a is under way already"):
        loop.background.submit("a", loop.ends.append, returns)
    go.set()
    loop.settle()


def test_closing_calls_everything_off(loop):
    loop.background.submit("a", loop.ends.append, waits)
    loop.background.close()
    assert loop.ends == []


@pytest.mark.parametrize("work", [lambda _: None, Loop.settle, [].append])
def test_methods_and_lambdas_are_no_work(loop, work):
    """What may hold the journal is no work: a lambda, or a method."""
    with pytest.raises(TypeError, match="is no function of a module"):
        loop.background.submit("a", loop.ends.append, work)
    assert loop.background.idle
