"""What a child inherits, and what is the daemon's alone."""

from povwatch.process.environment import child_environment

OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


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
