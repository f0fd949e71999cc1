"""What the installed service may do, tried from within; and that what it is for works all the same."""

from __future__ import annotations

import json

import pytest
from support.clips import make_clip
from support.systemd_service import INPUTS, SHORT, TOYS

pytestmark = pytest.mark.timeout(300)  # the first test boots the machine

CAP_LEASE = 1 << 28
PLAIN = {"full", "null", "random", "tty", "urandom", "zero"}
"""The devices of every service."""


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        *(("povwatch", 1.0), ("povwatch-notify", 1.1), ("povwatch-prefetch@cosmos", 1.1), ("povwatch-pool", 1.8)),
        ("povwatch-gpu", 2.4),
    ],
)
def test_systemd_finds_little_exposed(machine, unit, most):
    """A unit with a network cannot have less than 1.1, nor root with modules than 2.4."""
    done = machine.run("systemd-analyze", "security", f"--threshold={most * 10:.0f}", f"{unit}.service", check=False)
    assert done.returncode == 0, done.stdout


def test_systemd_finds_no_fault(machine):
    """systemd-analyze verify finds no fault with the units where they are installed."""
    names = ("povwatch", "povwatch-gpu", "povwatch-notify", "povwatch-pool", "povwatch-prefetch@")
    units = [f"/etc/systemd/system/{name}.service" for name in names]
    done = machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.stdout, done.stderr) == ("", "")


def test_engine_finds_nothing_to_take(machine):
    """An engine that is taken over can do no more than what its work needs."""
    machine.at("/tmp/of-somebody-else").touch()
    driver = machine.at("/usr/bin/nvidia-modprobe")
    driver.write_text(DRIVER)
    driver.chmod(0o755)
    listener = machine.start("/opt/povwatch/.venv/bin/python", "-c", LISTENER)
    try:
        port = listener.stdout.readline().strip()
        machine.settle("pries", service=f"Environment=TOY_PORT={port}")
        machine.clip("pried.mp4")
        machine.wait_for("done", video="pried.mp4")
    finally:
        listener.communicate()
        driver.unlink()
    found = json.loads(machine.at(TOYS / "TOY_PRIED").read_text())
    could = {attempt for attempt, result in found["could"].items() if result is True}
    # Each has its reason in the unit: gpus_per_worker, torch and its compilers, media work, the GPU.
    allowed = {"reach itself", "compile code and run it", "write code into memory", "be nice"}
    assert could == {*allowed, "use a GPU's device file"}, found["could"]
    assert set(found["capabilities"].values()) == {CAP_LEASE}
    assert not found["new privileges"]
    assert found["interfaces"] == ["lo"]
    assert set(found["devices"]) == PLAIN | {"nvidiactl"}
    assert found["processes of others"] == []
    assert found["files of others in /tmp"] == []
    assert found["offline"] == "1"


DRIVER = """\
#!/bin/sh
[ "$*" = "-c 0 -u" ] || exit 1
# Of the null device, which a service may open anyway: only the file is in question.
[ -e /dev/nvidiactl ] || mknod -m 660 /dev/nvidiactl c 1 3
chown root:video /dev/nvidiactl
"""
"""What povwatch-gpu.service runs where there is a driver, before povwatch is started."""

LISTENER = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""


RECEIVER = """
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
"""


def test_notifications_leave_by_another_unit(machine):
    """What the daemon leaves is sent by povwatch-notify, whose URL it cannot read, and which reads nothing else."""
    receiver = machine.start("/opt/povwatch/.venv/bin/python", "-c", RECEIVER)
    try:
        port = receiver.stdout.readline().strip()
        secret = machine.at("/etc/povwatch/notify")
        secret.write_text(f"json://user:geheim@127.0.0.1:{port}/\n")
        machine.run("chown", "root:povwatch-notify", "/etc/povwatch/notify")
        machine.run("chmod", "640", "/etc/povwatch/notify")
        machine.settle("waits", config=f'{SHORT}[[notify]]\nurl = "@/etc/povwatch/notify"\n')
        pid = machine.run("systemctl", "show", "--value", "--property=MainPID", "povwatch-notify").stdout.strip()
        seen = machine.at(f"/proc/{pid}/root")
        assert [path.name for path in (seen / "var/lib/povwatch").iterdir()] == ["notify"]
        machine.let_go()
        machine.clip("told.mp4")
        machine.wait_for("done", video="told.mp4")
        machine.run("systemctl", "stop", "povwatch")  # what waits to be grouped is sent before the end
        message = json.loads(receiver.stdout.readline())
        assert "- told.mp4: told/told_preview.mp4" in message["message"]
        spool = machine.at("/var/lib/povwatch/notify")
        machine.until(lambda: not list(spool.glob("*.notice")), "what was sent is deleted")
        assert "geheim" not in machine.run("journalctl", "--output=json").stdout
    finally:
        receiver.communicate()


def test_service_starts_without_a_gpu(machine):
    machine.run("rm", "-f", "/dev/nvidiactl")
    machine.settle("waits")
    machine.run("systemctl", "restart", "povwatch")
    assert machine.shown("ActiveState") == "active"


@pytest.fixture
def alice(machine):
    """Somebody who may use povwatch; starts copying a clip into inputs/, and leaves it open until `close` is called."""
    if machine.run("id", "alice", check=False).returncode:
        machine.run("useradd", "--groups", "povwatch", "alice")
    copying = []

    def copy(name):
        make_clip(machine.at(f"/var/tmp/{name}"))
        script = f"exec 3>{INPUTS / name}; cat /var/tmp/{name} >&3; echo open; read over"
        copying.append(machine.start("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "sh", "-c", script))
        assert copying[-1].stdout.readline() == "open\n"

    def close():
        for process in copying:
            process.communicate()

    copy.close = close
    yield copy
    close()


def test_open_file_of_another_user(machine, alice):
    """A clip that another user has open is waited for."""
    machine.settle("waits")
    machine.let_go()
    alice("open.mp4")
    machine.until(lambda: "open.mp4" in machine.run("povwatch", "status").stdout, "it is seen")
    machine.until(lambda: machine.shows("open.mp4")["waiting_on"] == "writer-open", "its writer is seen")
    assert machine.said("arrived", video="open.mp4") == []
    alice.close()
    machine.wait_for("done", video="open.mp4")


def test_unseen_without_its_capability(machine, alice):
    """What the test before rests on: the writer's process is hidden, so that a lease alone tells."""
    machine.settle("waits", service="AmbientCapabilities=\nCapabilityBoundingSet=\n")
    machine.let_go()
    alice("unseen.mp4")
    machine.wait_for("done", video="unseen.mp4")


def test_prefetch_unit_fetches_models(machine):
    """With the token in a file for root alone; who may use povwatch then finds them where the service does."""
    hub = machine.start("/opt/povwatch/.venv/bin/python", "-c", HUB)
    try:
        url, token = hub.stdout.readline().split()
        secrets = machine.at("/etc/povwatch/prefetch.env")
        secrets.write_text(f"HF_ENDPOINT={url}\nHF_TOKEN={token}\nHF_HUB_DISABLE_TELEMETRY=1\n")
        secrets.chmod(0o600)
        machine.mark()
        machine.run("systemctl", "start", "povwatch-prefetch@diffusers")
    finally:
        hub.communicate()
    machine.until(lambda: "needs no network now" in machine.texts(), "it says that it has everything")
    look = ["povwatch", "prefetch", "--engine", "diffusers", "--check"]
    there = machine.run("setpriv", "--reuid=nobody", "--regid=povwatch", "--clear-groups", *look)
    assert "needs no network now" in there.stdout
    assert machine.run("povwatch", "prefetch", check=False).returncode == 2


HUB = """
import sys
sys.path.insert(0, "/usr/src/povwatch/tests")
from support.hubs import Hub, furnish
with Hub() as hub:
    furnish(hub)
    print(hub.url, hub.token, flush=True)
    sys.stdin.read()
"""
