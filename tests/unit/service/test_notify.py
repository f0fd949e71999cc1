from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from povwatch.service import notify
from povwatch.service.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    """The service manager's end: a datagram socket, and its address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.bind(str(tmp_path / "notify"))
        yield end


@pytest.fixture
def notifier(manager):
    made = Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})
    yield made
    made.close()


def test_messages_arrive(manager, notifier):
    """Ready, watchdog and stopping arrive, with a status where there is one."""
    assert notifier.ready("watches /srv/povwatch/inputs")
    assert manager.recv(4096) == b"READY=1\nSTATUS=watches /srv/povwatch/inputs"
    assert notifier.ready()
    assert manager.recv(4096) == b"READY=1"
    assert notifier.watchdog()
    assert manager.recv(4096) == b"WATCHDOG=1"
    assert notifier.stopping()
    assert manager.recv(4096) == b"STOPPING=1"


def test_status_is_sent_when_it_changes(manager, notifier):
    assert notifier.status("1 clip waits")
    assert not notifier.status("1 clip waits")
    assert notifier.status("2 clips wait")
    assert manager.recv(4096) == b"STATUS=1 clip waits"
    assert manager.recv(4096) == b"STATUS=2 clips wait"


def test_status_is_one_short_line(manager, notifier):
    notifier.status("runs a\nREADY=1\x0b\u2028b \udcff" + "x" * 1000)
    message = manager.recv(4096)
    assert message.startswith(rb"STATUS=runs a READY=1 b \udcff")
    assert len(message) < notify.STATUS_MAX + 20


def test_abstract_socket_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        name = f"povwatch-test-{os.getpid()}"
        end.bind(f"\0{name}")
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}"})
        assert notifier.ready()
        assert end.recv(4096) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_manager_nothing_happens(environ):
    notifier = Notifier.from_environment(environ)
    assert notifier.interval is None
    assert not notifier.ready("x")
    assert not notifier.status("x")
    assert not notifier.watchdog()
    assert not notifier.stopping()
    notifier.close()


def test_lost_manager_is_no_error(manager, notifier):
    Path(manager.getsockname()).unlink()
    assert not notifier.watchdog()


def test_full_queue_is_given_up_on(manager, monkeypatch):
    monkeypatch.setattr(notify, "PATIENCE", 0.05)
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})
    sent = 0
    while notifier.watchdog():
        sent += 1
        assert sent < 10_000
    assert sent > 0
    notifier.close()


def test_unsent_status_is_tried_again(manager, notifier, tmp_path):
    Path(manager.getsockname()).rename(tmp_path / "aside")
    assert not notifier.status("1 clip waits")
    (tmp_path / "aside").rename(manager.getsockname())
    assert notifier.status("1 clip waits")
    assert manager.recv(4096) == b"STATUS=1 clip waits"


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("60000000", "our own", 30.0),
        ("60000000", "", 30.0),
        ("2000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
        ("-5", "", None),
    ],
)
def test_watchdog_twice_as_often_as_asked(usec, pid, interval):
    """The watchdog is told twice as often as asked, if it asks this process."""
    pid = str(os.getpid()) if pid == "our own" else pid
    assert Notifier.from_environment({"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}).interval == interval


def test_no_child_inherits_the_socket(manager, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier.from_environment()
    child = subprocess.run(
        [sys.executable, "-c", "import os; print([k for k in os.environ if k.startswith(('NOTIFY', 'WATCHDOG'))])"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert child.stdout == "[]\n"
    assert notifier.interval == 30.0
    assert notifier.ready()
    assert manager.recv(4096) == b"READY=1"
    assert not os.get_inheritable(notifier._socket.fileno())
    notifier.close()
