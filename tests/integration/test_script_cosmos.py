"""script/cosmos with the real git and a real repository in upstream's place; uv and nvidia-smi are stand-ins."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "script/cosmos"
PINNED = re.search(r"^pinned=([0-9a-f]{40})$", SCRIPT.read_text(), re.MULTILINE)[1]

UV = """#!/bin/sh
echo "uv $* in $(basename "$PWD") lfs=$GIT_LFS_SKIP_SMUDGE python=$UV_PYTHON_INSTALL_DIR" >>"$UV_LOG"
[ "$1" = sync ] || exit 0
[ -z "$UV_BROKEN" ] || { echo 'error: Failed to fetch: https://pypi.org' >&2; exit 2; }
mkdir -p .venv/bin
printf '#!/bin/sh\\nexit 0\\n' >.venv/bin/python
chmod +x .venv/bin/python
"""
GIT = {
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "protocol.file.allow",
    "GIT_CONFIG_VALUE_0": "always",
    "GIT_CONFIG_KEY_1": "user.name",
    "GIT_CONFIG_VALUE_1": "Test",
    "GIT_CONFIG_KEY_2": "user.email",
    "GIT_CONFIG_VALUE_2": "test@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(folder, *arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **GIT}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Project:
    """A checkout of povwatch, with a small repository as its submodule."""

    def __init__(self, folder, *, archive=False):
        self.root, self.bin, self.upstream = folder / "povwatch", folder / "bin", folder / "upstream"
        for made in (self.root / "script", self.bin, self.upstream):
            made.mkdir(parents=True)
        git(self.upstream, "init", "--quiet")
        (self.upstream / "pyproject.toml").write_text("[project]\n")
        git(self.upstream, "add", ".")
        git(self.upstream, "commit", "--quiet", "-m", "x")
        git(self.upstream, "config", "uploadpack.allowAnySHA1InWant", "true")
        self.commit = git(self.upstream, "rev-parse", "HEAD")
        text = SCRIPT.read_text().replace(PINNED, self.commit)
        text = text.replace("https://github.com/nvidia-cosmos/cosmos-transfer2.5.git", self.upstream.as_uri())
        (self.root / "script/cosmos").write_text(text)
        (self.root / "script/cosmos").chmod(0o755)
        # Nothing of the system's is installed by a test.
        lib = (ROOT / "script/lib.sh").read_text()
        (self.root / "script/lib.sh").write_text(lib + "\napt_needs() { :; }\n")
        if not archive:
            git(self.root, "init", "--quiet")
            (self.root / ".gitmodules").write_text(
                '[submodule "cosmos-transfer2.5"]\n\tpath = cosmos-transfer2.5\n'
                f"\turl = {self.upstream.as_uri()}\n\tshallow = true\n"
            )
            git(self.root, "add", ".")
            git(self.root, "update-index", "--add", "--cacheinfo", f"160000,{self.commit},cosmos-transfer2.5")
            git(self.root, "commit", "--quiet", "-m", "x")
        self.program("uv", UV)
        self.driver("580.65.06")

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def driver(self, version):
        self.program("nvidia-smi", f"#!/bin/sh\necho {version}\n")

    def run(self, *arguments, **env):
        path = f"{self.bin}:/usr/bin:/bin"
        return subprocess.run(
            [self.root / "script/cosmos", *arguments],
            env={"HOME": "/nowhere", "PATH": path, "UV_LOG": str(self.bin / "log"), **GIT, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self):
        log = self.bin / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def checked_out(self):
        return git(self.root / "cosmos-transfer2.5", "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_pin_is_the_submodules():
    """The commit in the code is the submodule's."""
    entry = git(ROOT, "ls-files", "--stage", "cosmos-transfer2.5") if (ROOT / ".git").exists() else ""
    if not entry:
        pytest.skip("no git checkout")
    assert entry.split()[:2] == ["160000", PINNED]


@pytest.mark.parametrize("archive", [False, True])
def test_checks_out_the_pinned_commit(tmp_path, archive):
    """The pinned commit is checked out and its environment set up, in a clone and in an archive."""
    project = Project(tmp_path, archive=archive)
    done = project.run()
    assert done.returncode == 0, done.stderr
    assert project.checked_out == project.commit
    install, sync = project.calls
    python = f"lfs=1 python={project.root}/.uv/python"
    assert install == f"uv python install --quiet 3.13 in cosmos-transfer2.5 {python}"
    assert sync == f"uv sync --frozen --python 3.13 --extra cu130 in cosmos-transfer2.5 {python}"
    assert "Next: script/povwatch prefetch, which" in done.stderr


def test_second_run_does_nothing(project):
    project.run()
    calls = project.calls
    done = project.run()
    assert (done.returncode, project.calls) == (0, calls)


@pytest.mark.parametrize(
    ("driver", "extra", "python"),
    [("570.124.06", "cu128", "3.10"), ("579.99", "cu128", "3.10"), ("600.1", "cu130", "3.13")],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="cu128 is for x86-64")
def test_driver_chooses_the_build(project, driver, extra, python):
    """The driver's version chooses the CUDA build and the Python."""
    project.driver(driver)
    assert project.run().returncode == 0
    assert f"--python {python} --extra {extra} " in project.calls[-1]


def test_another_build_is_set_up_anew(project):
    project.run()
    assert project.run("--extra", "cu128").returncode == 0
    assert "--extra cu128" in project.calls[-1]
    assert "cu128" in (project.root / "cosmos-transfer2.5/.venv/.povwatch-stamp").read_text()


def test_unfit_machine_is_told(project):
    """An old driver, none at all, and an unknown build are told, and nothing is fetched."""
    project.driver("535.1")
    done = project.run()
    assert (done.returncode, "driver 535.1 is too old: install 570.124.06" in done.stderr) == (1, True)
    project.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
    done = project.run()
    assert (done.returncode, "no NVIDIA driver answers" in done.stderr) == (1, True)
    assert project.run("--extra", "cu131").returncode == 2
    assert not (project.root / "cosmos-transfer2.5/.git").exists()
    assert project.run("--extra=cu130").returncode == 0


def test_no_network_is_one_clear_line(project):
    """No network is one clear line, and a later run goes on."""
    shutil.move(project.upstream, project.upstream.with_name("away"))
    done = project.run()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "git could not fetch Cosmos-Transfer2.5 (see above). Check the network"
    )
    shutil.move(project.upstream.with_name("away"), project.upstream)
    done = project.run(UV_BROKEN="1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("uv could not set up upstream's environment (see above).")
    assert "missing  environment" in project.run("--check").stdout
    assert project.run().returncode == 0


def test_check_changes_nothing(project):
    """--check says what is missing and changes nothing."""
    before = sorted(project.root.rglob("*"))
    done = project.run("--check")
    assert done.returncode == 1
    assert "missing  cosmos-transfer2.5 is not checked out: run script/cosmos" in done.stdout
    assert "ok       GPU: cu130 fits driver 580.65.06" in done.stdout
    assert project.calls == []
    assert sorted(project.root.rglob("*")) == before
    project.run()
    done = project.run("--check")
    assert (done.returncode, "missing" in done.stdout) == (0, False), done.stdout
    git(project.root / "cosmos-transfer2.5", "commit", "--quiet", "--allow-empty", "-m", "y")
    done = project.run("--check")
    assert (done.returncode, f"pinned is {project.commit[:12]}: run script/cosmos" in done.stdout) == (1, True)
