"""What a child inherits, and the words for its end."""

import signal

import pytest

from povwatch.process.start import child_environment, describe_end

OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "exited with status 0"),
        (9, "exited with status 9"),
        (-signal.SIGTERM, "was killed by SIGTERM"),
        (-signal.SIGKILL, "was killed by SIGKILL (often the kernel's out-of-memory killer: see journalctl -k)"),
        (-40, "was killed by signal 40"),
    ],
)
def test_end_is_told_in_words(returncode, words):
    """A status or a signal is a phrase that follows a name."""
    assert describe_end(returncode) == words


def test_caller_may_explain_a_signal():
    """The caller may say what is behind a signal."""
    assert describe_end(-signal.SIGKILL, {signal.SIGKILL: "too big"}) == "was killed by SIGKILL (too big)"
    assert describe_end(-signal.SIGSEGV, {}) == "was killed by SIGSEGV"


def test_daemons_own_is_not_inherited(monkeypatch):
    """What speaks to the daemon alone is not inherited, unless it is given."""
    for name in OURS_ALONE:
        monkeypatch.setenv(name, "ours")
    monkeypatch.setenv("HOME", "/home/povwatch")
    found = child_environment()
    assert not set(OURS_ALONE) & found.keys()
    assert found["HOME"] == "/home/povwatch"
    assert child_environment({"PYTHONPATH": "/given"})["PYTHONPATH"] == "/given"


def test_last_to_name_a_variable_wins(monkeypatch):
    monkeypatch.setenv("A", "inherited")
    assert child_environment({"A": "first"}, {"A": "last"})["A"] == "last"
