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
    for name in ("lib.sh", "povwatch", "run", "pool-node"):
        shutil.copy(SCRIPTS / name, root / "script")
    program = root / ".venv/bin/povwatch"
    (root / "script/bootstrap").write_text("#!/bin/sh\n")
    program.write_text(POVWATCH.replace("{0}", str(program)))
    python = root / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for file in (program, python, root / "script/bootstrap"):
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


def refused(*words, cwd):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("POVWATCH_")}
    done = subprocess.run(words, cwd=cwd, env=kept, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    return done.stderr


def test_a_word_of_ray_is_no_pool(checkout):
    """What only names ray, and is no pool, runs the daemon alone."""
    for text in ('[pool]\nkind = "local"  # or "ray"\n', '[metrics]\ntextfile = "ray"\n'):
        (checkout / "config.toml").write_text(text)
        assert call("script/run", "--once", cwd=checkout) == "script/povwatch go a.mp4 True"


def test_a_node_has_to_know_its_engine(checkout):
    """A further machine sets up the engine that is named there; auto may come to another one."""
    assert "script/pool-node gpu-01 --engine diffusers" in refused("script/pool-node", "gpu-01", cwd=checkout)
    (checkout / "config.toml").write_text('[engine]\nkind = "preview"\n')
    said = refused("script/pool-node", "no.such.example.", "--gpus", "1", cwd=checkout)
    assert said.startswith("No machine is called no.such.example.")
    assert "needs a value" in refused("script/pool-node", "gpu-01", "--engine", cwd=checkout)
    assert "script/pool-node HEAD[:PORT]" in refused("script/pool-node", cwd=checkout)
