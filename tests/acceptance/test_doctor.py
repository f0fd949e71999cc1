"""povwatch doctor: the real command, on this machine."""

from __future__ import annotations

import sys

from daemons import Daemon


def test_each_finding_is_one_line_from_which_its_command_can_be_pasted(tmp_path):
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
