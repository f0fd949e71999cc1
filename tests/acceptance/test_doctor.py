"""povwatch doctor: the real command, on this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from support.daemons import Daemon


def test_each_finding_is_one_line(tmp_path):
    """Each finding is one line with ok, hm or no, and a command in it can be pasted as it is."""
    here = Daemon(tmp_path / "pov")
    here.env |= {"HF_HOME": str(here.folder / "hf"), "HF_HUB_OFFLINE": "1"}
    config = here.folder / "config.toml"
    done = here.call("--config", str(config), "doctor", "--engine", "diffusers")
    assert done.returncode in {0, 3}, done.stderr
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "hm", "no"}, "a finding each"
    assert f"ok  python       {sys.version.split()[0]}" in lines
    fetch = f"Run povwatch --config {config} prefetch --engine diffusers."
    assert [line for line in lines if line.endswith(fetch)]


FEW = "echo 4 >/proc/sys/user/max_inotify_watches && exec "
"""In a user namespace of its own: there the limit is that namespace's."""


def few_watches():
    """How to run a program that may watch four folders."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-Ur", "sh", "-c", f"{FEW} true"], check=False).returncode
    ):
        pytest.skip("no user namespaces here")
    return ["unshare", "-Ur", "sh", "-c", FEW + '"$@"', "sh"]


def test_too_few_watches_name_the_command(tmp_path):
    """doctor and the daemon say how to raise inotify's limit, and unwatched folders are still scanned."""
    with Daemon(tmp_path / "pov") as here:
        for name in "abcdef":
            (here.inputs / name).mkdir()
        here.wrapper = few_watches()
        doctor = [*here.wrapper, sys.executable, "-m", "povwatch", "doctor", "--engine", "preview"]
        done = subprocess.run(doctor, cwd=here.folder, capture_output=True, text=True, check=False)
        said = (
            "3 folders are not watched, since inotify allows 4 watches. Raise it: sudo sysctl user.max_inotify_watches="
        )
        assert [line for line in done.stdout.splitlines() if line.startswith("hm  events") and said in line], (
            done.stdout
        )
        here.start()
        assert said in here.wait_for("watch-short")["message"]
        here.clip("f/late.mp4")
        here.wait_for("arrived", clip="f/late.mp4")
