"""script/upstream-proof, where upstream's tree, its environment or the checkpoints are not as they should be."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.upstream_source import PIPELINE, ROOT, UTILS, needed

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "script/upstream-proof"
PINNED = re.search(r"^pinned=([0-9a-f]{40})$", (REPOSITORY / "script/cosmos").read_text(), re.MULTILINE)[1]

pytestmark = needed


def git(tree, *arguments):
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "safe.directory=*")
    subprocess.run(["git", "-C", tree, *who, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Upstream's tree at the pinned commit."""
    try:
        git(ROOT, "cat-file", "-e", PINNED)
    except subprocess.CalledProcessError:
        pytest.skip(f"{ROOT} is no clone that has {PINNED[:12]}")
    tree = tmp_path_factory.mktemp("clone") / "tree"
    git(".", "clone", "--quiet", "--shared", "--no-checkout", ROOT, tree)
    git(tree, "checkout", "--quiet", "--detach", PINNED)
    return tree


@pytest.fixture
def tree(clone):
    """The same, as it was before the test."""
    yield clone
    git(clone, "checkout", "--quiet", "--force", "--detach", PINNED)


def check(tree, environment):
    """What the script says is wrong."""
    env = {**os.environ, "POVWATCH_UPSTREAM": str(tree), "POVWATCH_UPSTREAM_ENV": str(environment)}
    done = subprocess.run([SCRIPT, "--check"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    return done.stderr


def test_renamed_module_is_named(tree, tmp_path):
    """A tree in which a module has another name is told with both names and both commits."""
    git(tree, "mv", PIPELINE, PIPELINE.replace("inference_pipeline", "pipeline"))
    git(tree, "commit", "--quiet", "-m", "rename")
    said = check(tree, tmp_path)
    renamed = re.escape(PIPELINE.replace("inference_pipeline", "pipeline"))
    assert re.search(rf"^R\d+\t{re.escape(PIPELINE)}\t{renamed}$", said, re.MULTILINE), said
    assert f"povwatch is written for {PINNED[:12]}: git -C {tree} checkout {PINNED}" in said


def test_moved_function_is_named(tree, tmp_path):
    """A tree in which a function has another name is told with the file and the function."""
    file = tree / UTILS
    text = file.read_text()
    assert "def generate_control_weight_mask_from_prompt(" in text
    file.write_text(text.replace("generate_control_weight_mask_from_prompt", "make_mask"))
    git(tree, "commit", "--quiet", "--all", "-m", "rename")
    said = check(tree, tmp_path)
    assert f"M\t{UTILS}\n" in said
    assert re.search(r"in or near: .*\bgenerate_control_weight_mask_from_prompt\b.*\bmake_mask\b", said), said


def test_clone_without_the_pinned_commit(tree, tmp_path):
    """A shallow clone at another commit is told what to fetch, so that the difference can be told."""
    git(tree, "commit", "--quiet", "--allow-empty", "-m", "newer")
    git(tree, "branch", "--force", "newer")
    shallow = tmp_path / "shallow"
    git(".", "clone", "--quiet", "--depth", "1", "--branch", "newer", f"file://{tree}", shallow)
    said = check(shallow, tmp_path)
    assert f"and povwatch is written for {PINNED[:12]}, which this clone lacks" in said
    assert f"git -C {shallow} fetch --depth 1 https://github.com/nvidia-cosmos/cosmos-transfer2.5.git {PINNED}" in said


def test_changed_file_is_named(tree, tmp_path):
    """A tree at the right commit whose files were changed is told as that."""
    (tree / UTILS).write_text("")
    said = check(tree, tmp_path)
    assert f" M {UTILS}\n" in said
    assert f"Have them as they were: git -C {tree} stash" in said


def test_tree_without_git(tree, tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(tree / "cosmos_transfer2", copy / "cosmos_transfer2")
    assert f"{copy} is no git work tree" in check(copy, tmp_path)


def test_environment_is_not_there(tree, tmp_path):
    said = check(tree, tmp_path / "env")
    assert f"{tmp_path / 'env'} is not there." in said
    assert f"{tmp_path / 'env' / 'hf'} was cut short." in said
    assert "script/upstream-proof --setup mends it" in said


def test_environment_lacks_a_package(tree, tmp_path):
    """An environment that lacks what was installed into it is told with the package."""
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (env / ".povwatch-packages").write_text("loguru-0.7.3.dist-info\n")
    assert f"{env} lacks loguru-0.7.3." in check(tree, env)


@pytest.mark.parametrize("damage", ["short", "gone"])
def test_checkpoints_were_cut_short(tree, tmp_path, damage):
    """A cache of which a file is not whole, or not there, is told with the file."""
    snapshot, blobs = (tmp_path / "hf/hub/models--nvidia--some" / name for name in ("snapshots/main", "blobs"))
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (tmp_path / "hf/povwatch-complete").touch()
    blob = blobs / hashlib.sha256(b"weights").hexdigest()
    (snapshot / "model.pt").symlink_to(f"../../blobs/{blob.name}")
    blob.write_bytes(b"weights")
    assert f"{tmp_path / 'hf'} is of another version." in check(tree, tmp_path)
    if damage == "short":
        blob.write_bytes(b"wei")
    else:
        blob.unlink()
    bad = blob if damage == "short" else snapshot / "model.pt"
    said = check(tree, tmp_path)
    assert f"{tmp_path / 'hf'} was cut short, or is damaged: ./{bad.relative_to(tmp_path / 'hf/hub')}." in said
