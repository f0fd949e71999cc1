"""An index that takes long to read: a child reads it, while the daemon takes in other clips and answers."""

from __future__ import annotations

import time
from pathlib import Path

from support import hostile
from support.daemons import Daemon


def _begin() -> None:
    """In the daemon: only brief looks, and the children that read a long index wait for a file called `go`."""
    from povwatch import container  # noqa: PLC0415 - in the daemon's process
    from povwatch.media import run  # noqa: PLC0415

    started, walked = run._started, container.Reader

    def brief(*args, brief=False, **options):
        assert brief, "the daemon reads a long index itself"
        return walked(*args, brief=brief, **options)

    def start(op):
        while op == "examine" and not Path("go").exists():
            time.sleep(0.05)
        return started(op)

    container.Reader = brief
    run._started = start


def test_daemon_goes_on_meanwhile(tmp_path):
    """While a child reads a long index, the daemon takes in other clips and answers requests."""
    with Daemon(tmp_path / "pov") as daemon:
        daemon.before = _begin
        (daemon.inputs / "long.mp4").write_bytes(hostile.long_index(1_000_000))
        daemon.start()
        daemon.clip("a.mp4")
        daemon.wait_for("done", clip="a.mp4")
        assert "held" in daemon.ask("hold", "long.mp4").text
        assert daemon.peek("long.mp4")["waiting_on"] == "settling"
        (daemon.folder / "go").touch()
        found = daemon.wait_state("long.mp4", "arriving", waiting_on="incomplete")
        assert found["detail"] == "It is cut off. About 6 % of it has arrived."
        assert not daemon.events("unforeseen")
