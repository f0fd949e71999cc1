"""What a child inherits, and what is the daemon's alone."""

from povwatch.process.environment import child_environment

OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def test_what_speaks_to_the_daemon_alone_is_not_inherited_unless_it_is_given(monkeypatch):
    for name in OURS_ALONE:
        monkeypatch.setenv(name, "ours")
    monkeypatch.setenv("HOME", "/home/povwatch")
    found = child_environment()
    assert not set(OURS_ALONE) & found.keys()
    assert found["HOME"] == "/home/povwatch"
    assert child_environment({"PYTHONPATH": "/given"})["PYTHONPATH"] == "/given"


def test_the_last_one_to_name_a_variable_counts(monkeypatch):
    monkeypatch.setenv("A", "inherited")
    assert child_environment({"A": "first"}, {"A": "last"})["A"] == "last"
