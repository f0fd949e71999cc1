"""Why Ray has ended here, from what `ray start --block` printed; and the folders that killed runs leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from povwatch.bridge import ray_here
from povwatch.bridge.ray_here import RayHere, folder_of_ray

DIED = """
2026-11-30 21:28:21,045\tERR scripts.py:1301 -- Some Ray subprocesses exited unexpectedly:
2026-11-30 21:28:21,045\tERR scripts.py:87 --   gcs_server  [exit code=-9]
2026-11-30 21:28:21,046\tERR scripts.py:1315 -- Remaining processes will be killed.
"""

NEW_HEAD = """node_manager.cc:524: GCS returned an authentication error. \
This may happen when GCS is not backed by a DB and restarted or there is data loss"""

STUBBORN = """
import subprocess, sys
child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
started = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
print("pid", started.pid, flush=True)
started.wait()
"""

OTHER = "2026-11-30 21:28:21,045\tERR scripts.py:1301 -- ValueError: no such option\nusage"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (DIED, "Its gcs_server was killed by SIGKILL (often the kernel's out-of-memory killer: see journalctl -k)."),
        (NEW_HEAD, "The head was started anew."),
        (OTHER, "ValueError: no such option."),
        ("", "It said nothing."),
    ],
)
def test_its_end_is_explained(monkeypatch, tmp_path, said, why):
    """A program prints what Ray would; how it is read is ours."""
    monkeypatch.setattr(ray_here, "PROGRAM", f"print({said!r})")
    ray = RayHere([], tmp_path)
    while ray.listen(5):
        pass
    ray.end()
    assert ray.why == why


def test_end_leaves_no_process(monkeypatch, tmp_path):
    """A process that has gone into a session of its own, and ignores SIGTERM, ends too."""
    monkeypatch.setattr(ray_here, "PROGRAM", STUBBORN)
    ray = RayHere([], tmp_path)
    while "here" not in ray.last_words:
        assert ray.listen(30)
    pid = int(ray.last_words.partition("pid ")[2].split()[0])
    ray.end()
    assert not Path(f"/proc/{pid}").exists()


def test_left_folders_are_removed():
    """A folder that a killed run has left goes; one in use stays, and goes with its own run."""
    left = Path("/tmp/povwatch-ray-left-by-a-test")  # noqa: S108
    (left / "session").mkdir(parents=True, exist_ok=True)
    with folder_of_ray() as used:
        assert not left.exists()
        (used / "file").touch()
        with folder_of_ray():
            assert (used / "file").exists()
    assert not used.exists()
