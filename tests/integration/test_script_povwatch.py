"""script/povwatch and script/run: on which configuration they run povwatch, and what it tells people to type."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "script"

POVWATCH = f"""#!/bin/sh
exec {sys.executable} -c '
import sys
from povwatch.core import command
from typer import Context
from povwatch.cli.app import app, shared
sys.argv[0] = "{{0}}"
@app.command()
def status(context: Context):
    shared(context).config()  # which takes what the scripts set
    print(command.command("go", clip=b"my a.mp4"))
@app.command()
def run(once: bool = False):
    print(command.command("go", clip=b"a.mp4"), once)
app()
' "$@"
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with the scripts; setting up is played, and so is what povwatch does."""
    root = tmp_path / "my checkout"
    (root / ".venv/bin").mkdir(parents=True)
    (root / "script").mkdir()
    for name in ("lib.sh", "povwatch", "run"):
        shutil.copy(SCRIPTS / name, root / "script")
    program = root / ".venv/bin/povwatch"
    (root / "script/bootstrap").write_text("#!/bin/sh\n")
    program.write_text(POVWATCH.replace("{0}", str(program)))
    for file in (program, root / "script/bootstrap"):
        file.chmod(0o755)
    (root / "config.toml").touch()
    (root / "other.toml").touch()
    return root


def call(*words, cwd, **env):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("POVWATCH_")}
    done = subprocess.run(words, cwd=cwd, env=kept | env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_commands_begin_as_typed(checkout):
    """Commands that are told begin with the script as it was typed."""
    assert call("script/povwatch", "status", cwd=checkout) == "script/povwatch go 'my a.mp4'"
    assert call("script/run", "--once", cwd=checkout) == "script/povwatch go a.mp4 True"
    assert call("./run", cwd=checkout / "script") == "./povwatch go a.mp4 False"
    there = checkout / "script/povwatch"
    assert call(there, "status", cwd="/") == f"'{there}' go 'my a.mp4'"


def test_another_configuration_is_repeated(checkout):
    """Commands that are told repeat --config."""
    assert call("script/povwatch", "--config", "other.toml", "status", cwd=checkout) == (
        "script/povwatch --config other.toml go 'my a.mp4'"
    )


def test_without_the_script(checkout):
    """Without the script, commands that are told name the program, by its path where it is not on the PATH."""
    assert call(".venv/bin/povwatch", "status", cwd=checkout) == f"'{checkout}/.venv/bin/povwatch' go 'my a.mp4'"
    path = f"{checkout}/.venv/bin:{os.environ['PATH']}"
    assert call("povwatch", "status", cwd=checkout, PATH=path) == "povwatch go 'my a.mp4'"
    assert call("povwatch", "--config", "config.toml", "status", cwd=checkout, PATH=path) == "povwatch go 'my a.mp4'"
