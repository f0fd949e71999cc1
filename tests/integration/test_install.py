from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("povwatch", "script", "requirements", "systemd", "pyproject.toml", "README.md", "LICENSE", "config.toml")


@pytest.fixture
def source(tmp_path):
    """A copy of what the installer reads, which a test may change."""
    copy = tmp_path / "source"
    copy.mkdir()
    for part in PARTS:
        at = REPOSITORY / part
        if at.is_dir():
            shutil.copytree(at, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(at, copy / part)
    return copy


def install(source, *arguments, **kwargs):
    command = [source / "systemd/install.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **kwargs)


def installed(source, root, *arguments):
    result = install(source, "--root", root, *arguments)
    assert result.returncode == 0, result.stderr
    return result


def tree(root):
    """Every file and folder: its mode, and its time and digest where it is a file."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        mode = stat.filemode(status.st_mode)
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(root))] = (mode, content, status.st_mtime_ns if content else 0)
    return found


def test_files_go_where_systemd_looks(source, tmp_path):
    """Every installed file is where systemd and users look for it, with its mode."""
    root = tmp_path / "root"
    installed(source, root)
    for path, mode in {
        "etc/systemd/system/povwatch.service": 0o644,
        "etc/systemd/system/povwatch-gpu.service": 0o644,
        "etc/systemd/system/povwatch-notify.service": 0o644,
        "etc/systemd/system/povwatch-pool.service": 0o644,
        "etc/systemd/system/povwatch-prefetch@.service": 0o644,
        "etc/sysusers.d/povwatch.conf": 0o644,
        "etc/tmpfiles.d/povwatch.conf": 0o644,
        "etc/povwatch/config.toml": 0o644,
        "usr/local/bin/povwatch": 0o755,
        "opt/povwatch/povwatch/__init__.py": 0o644,
        "opt/povwatch/script/bootstrap": 0o755,
        "opt/povwatch/requirements/run.lock": 0o644,
        "opt/povwatch/pyproject.toml": 0o644,
    }.items():
        assert stat.S_IMODE((root / path).stat().st_mode) == mode, path
    assert sorted(p.name for p in (root / "opt/povwatch").iterdir()) == [
        "LICENSE",
        "README.md",
        "config.toml",
        "povwatch",
        "pyproject.toml",
        "requirements",
        "script",
    ]


def test_configuration_fits_tmpfiles(source, tmp_path):
    """The installed config.toml names the folders that tmpfiles makes, and is else unchanged."""
    root = tmp_path / "root"
    installed(source, root)
    text = (root / "etc/povwatch/config.toml").read_text()
    config = tomllib.loads(text)
    assert config["paths"] == {
        "inputs": "/srv/povwatch/inputs",
        "outputs": "/srv/povwatch/outputs",
        "state": "/var/lib/povwatch",
    }
    assert config["engine"]["python"] == "/opt/povwatch/cosmos-transfer2.5/.venv/bin/python"
    made = (root / "etc/tmpfiles.d/povwatch.conf").read_text().split()
    assert set(config["paths"].values()) <= set(made)
    ours = tomllib.loads((source / "config.toml").read_text())
    assert {**config, "paths": 0, "engine": 0} == {**ours, "paths": 0, "engine": 0}


def test_unfillable_configuration_is_told(source, tmp_path):
    """A config.toml that cannot be filled in is an error that names the line."""
    config = source / "config.toml"
    config.write_text(config.read_text().replace('outputs = "outputs"', 'outputs = "results"'))
    result = install(source, "--root", tmp_path / "root")
    assert result.returncode == 1
    assert 'outputs = "/srv/povwatch/outputs"' in result.stderr
    assert not (tmp_path / "root/etc/povwatch/config.toml").exists()


def test_twice_is_as_good_as_once(source, tmp_path):
    """A second installation changes no file."""
    root = tmp_path / "root"
    installed(source, root)
    once = tree(root)
    installed(source, root)
    assert tree(root) == once
    assert "opt/povwatch/povwatch/__init__.py" in once


def test_steps_left_for_an_image(source, tmp_path):
    """With --root, the steps that are left are told for that root, not for this machine."""
    root = tmp_path / "my root"
    said = installed(source, root).stderr
    steps = [
        shlex.split(line.partition("sudo ")[2].partition("    (")[0]) for line in said.splitlines() if "sudo" in line
    ]
    assert [step[0] for step in steps] == ["chroot", "systemd-sysusers", "systemd-tmpfiles", "systemctl"]
    for step in steps:
        assert str(root) in step or f"--root={root}" in step, step
    assert "--now" not in said  # that would be this machine's


def test_edited_configuration_is_kept(source, tmp_path):
    """An edited config.toml keeps its text and its mode."""
    root = tmp_path / "root"
    installed(source, root)
    config = root / "etc/povwatch/config.toml"
    config.write_text('[grace]\nperiod = "10m"\n')
    config.chmod(0o600)
    installed(source, root)
    assert config.read_text() == '[grace]\nperiod = "10m"\n'
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_update_removes_what_is_gone(source, tmp_path):
    """An update replaces what changed, removes what is gone, and leaves the environment."""
    root = tmp_path / "root"
    (source / "povwatch/old.py").write_text("")
    installed(source, root)
    cached = root / "opt/povwatch/povwatch/__pycache__"
    cached.mkdir()
    (root / "opt/povwatch/.venv").mkdir()
    (source / "povwatch/old.py").unlink()
    (source / "povwatch/new.py").write_text("")
    (source / "systemd/povwatch.service").write_text("[Unit]\n")
    installed(source, root)
    assert not (root / "opt/povwatch/povwatch/old.py").exists()
    assert (root / "opt/povwatch/povwatch/new.py").exists()
    assert (root / "opt/povwatch/.venv").exists()
    assert (root / "etc/systemd/system/povwatch.service").read_text() == "[Unit]\n"
    assert [p.name for p in (root / "opt/povwatch").iterdir() if p.name.startswith(".install")] == []


def test_umask_does_not_matter(source, tmp_path):
    """Files are readable for all, whatever the umask and the modes of the source."""
    (source / "povwatch/__init__.py").chmod(0o600)
    installed(source, tmp_path / "root", "--no-start")
    before = os.umask(0o077)
    try:
        installed(source, tmp_path / "strict")
    finally:
        os.umask(before)
    modes = {path: mode for path, (mode, _, _) in tree(tmp_path / "root").items()}
    assert {path: mode for path, (mode, _, _) in tree(tmp_path / "strict").items()} == modes
    assert modes["opt/povwatch/povwatch/__init__.py"] == "-rw-r--r--"


def test_another_prefix_is_used_throughout(source, tmp_path):
    root = tmp_path / "root"
    installed(source, root, "--prefix", "/usr/lib/povwatch")
    assert (root / "usr/lib/povwatch/povwatch/__init__.py").exists()
    assert not (root / "opt").exists()
    prefetch = "etc/systemd/system/povwatch-prefetch@.service"
    for path in ("etc/systemd/system/povwatch.service", prefetch, "usr/local/bin/povwatch", "etc/povwatch/config.toml"):
        text = (root / path).read_text()
        assert "/usr/lib/povwatch/" in text
        assert "/opt/" not in text


def test_command_is_the_services(source, tmp_path):
    """The installed command has the service's configuration and caches, and refuses to fetch without root's unit."""
    installed(source, tmp_path / "root", "--prefix", tmp_path / "app")
    program = tmp_path / "app/.venv/bin/povwatch"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$POVWATCH_COMMAND $POVWATCH_CONFIG $HF_HOME" "$@"\n')
    program.chmod(0o755)

    def typed(*words):
        command = [tmp_path / "root/usr/local/bin/povwatch", *words]
        env = {"PATH": os.environ["PATH"]}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)

    own = "povwatch /etc/povwatch/config.toml /var/cache/povwatch/huggingface"
    for words in ([], ["show", "prefetch"], ["prefetch", "--engine", "cosmos", "--check"]):
        done = typed(*words)
        assert (done.returncode, done.stdout) == (0, " ".join([own, *words]) + "\n")
    done = typed("prefetch", "--engine", "cosmos")
    assert (done.returncode, done.stdout) == (2, "")
    assert "sudo systemctl start povwatch-prefetch@cosmos" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--frobnicate"], "Unknown option: --frobnicate"),
        (["--prefix"], "--prefix needs a folder"),
        (["--prefix", "opt"], "absolute path"),
        (["--prefix", "/opt/a b|c"], "plain characters"),
        (["--prefix", "/"], "absolute path"),
    ],
)
def test_wrong_command_line_does_nothing(source, tmp_path, arguments, words):
    """A wrong command line is told, and nothing is done."""
    result = install(source, "--root", tmp_path / "root", *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert "--no-start" in result.stderr
    assert not (tmp_path / "root").exists()


def test_without_root_it_says_so():
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        result = install(REPOSITORY, **nobody)
    except PermissionError:
        pytest.skip("the repository is in a folder that other users cannot enter")
    assert result.returncode == 1
    assert "needs root: sudo" in result.stderr


# On a machine of its own: the folders that an installation changes are bound over in a mount namespace, the accounts
# are made by the real systemd-sysusers and systemd-tmpfiles, and systemctl and script/bootstrap are played.

MACHINE = ("etc", "opt", "srv", "usr/local/bin", "var/lib", "run")
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>"{log}"
case $1 in restart | start) [ ! -e "{log}.broken" ] ;; esac
"""
BOOTSTRAP = """\
#!/usr/bin/env bash
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
[ ! -e "$root/povwatch/unbuildable" ] || { echo "no network" >&2; exit 1; }
mkdir -p "$root/.venv/bin"
[ -e "$root/.venv/bin/python" ] || ln -s "$(readlink -f "$POVWATCH_PYTHON")" "$root/.venv/bin/python"
sha256sum <"$root/requirements/run.lock" >"$root/.venv/.povwatch-stamp"
"""


class Machine:
    """A machine whose folders are below `at`."""

    def __init__(self, source, at):
        self.source, self.at, self.log = source, at, at / "systemctl"
        for folder in MACHINE:
            (at / folder).mkdir(parents=True)
        for name in ("passwd", "group", "shadow", "gshadow", "nsswitch.conf", "login.defs"):
            if Path("/etc", name).exists():
                shutil.copy2(Path("/etc", name), at / "etc" / name)
        (at / "run/systemd/system").mkdir(parents=True)
        (at / "bin").mkdir()
        self.script(at / "bin/systemctl", SYSTEMCTL.format(log=self.log))
        self.script(source / "script/bootstrap", BOOTSTRAP)

    @staticmethod
    def script(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def install(self, *arguments):
        """Run the installer on this machine; gives its result and what systemctl was told."""
        self.log.write_text("")
        binds = "\n".join(f"mount --bind '{self.at / folder}' '/{folder}'" for folder in MACHINE)
        program = textwrap.dedent("""\
            set -e
            {binds}
            export PATH='{bin}':$PATH
            exec '{source}/systemd/install.sh' "$@"
            """).format(binds=binds, bin=self.at / "bin", source=self.source)
        command = ["unshare", "--mount", "bash", "-c", program, "bash", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return result, self.log.read_text().splitlines()


@pytest.fixture
def machine(source, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a mount namespace over /etc needs root")
    for tool in ("unshare", "systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mount namespaces are not allowed here")
    return Machine(source, tmp_path / "machine")


def test_first_installation_starts_it(machine):
    """The first installation makes the account and the folders, starts the service and says what to do next."""
    result, told = machine.install()
    assert result.returncode == 0, result.stderr
    assert told == ["enable --quiet povwatch.service", "daemon-reload", "restart povwatch.service"]
    for words in ("usermod -aG povwatch", "/srv/povwatch/inputs", "/srv/povwatch/outputs", "journalctl -fu povwatch"):
        assert words in result.stderr
    users = dict(line.split(":", 1) for line in (machine.at / "etc/passwd").read_text().splitlines())
    groups = {line.split(":")[0]: line.split(":") for line in (machine.at / "etc/group").read_text().splitlines()}
    assert users["povwatch"].endswith(":/var/lib/povwatch:/usr/sbin/nologin")
    for group in ("video", "render"):
        assert "povwatch" in groups[group][3].split(",")
    for folder, mode in {
        "srv/povwatch": 0o2750,
        "srv/povwatch/inputs": 0o2770,
        "srv/povwatch/outputs": 0o2770,
        "var/lib/povwatch": 0o2750,
        "var/lib/povwatch/requests": 0o2770,
    }.items():
        found = (machine.at / folder).stat()
        assert stat.S_IMODE(found.st_mode) == mode, folder
        assert found.st_gid == int(groups["povwatch"][2])
    spool = (machine.at / "var/lib/povwatch/notify").stat()
    assert (stat.S_IMODE(spool.st_mode), spool.st_gid) == (0o2770, int(groups["povwatch-notify"][2]))


def test_restart_only_for_something_new(machine):
    """A running service is restarted only if something has changed since its start."""
    machine.install()
    result, told = machine.install()
    assert result.returncode == 0, result.stderr
    assert told == ["enable --quiet povwatch.service", "start povwatch.service"]
    assert "Everything was up to date." in result.stderr
    (machine.source / "requirements/run.lock").write_text("another==1\n")
    _, told = machine.install()
    assert told[-1] == "restart povwatch.service"
    (machine.source / "povwatch/new.py").write_text("")
    _, told = machine.install("--no-start")
    assert told == ["enable --quiet povwatch.service", "daemon-reload"]
    _, told = machine.install()
    assert told[-1] == "restart povwatch.service"


def test_failed_installation_is_finished(machine):
    """An installation that failed half way is finished by the next one."""
    machine.install()
    (machine.source / "povwatch/unbuildable").write_text("")
    result, told = machine.install()
    assert result.returncode == 1
    assert told == []
    (machine.source / "povwatch/unbuildable").unlink()
    _, told = machine.install()
    assert told[-1] == "restart povwatch.service"
    (machine.at / "systemctl.broken").touch()
    (machine.source / "povwatch/new.py").write_text("")
    result, _ = machine.install()
    assert result.returncode == 1
    assert "journalctl -u povwatch" in result.stderr
    (machine.at / "systemctl.broken").unlink()
    result, told = machine.install()
    assert result.returncode == 0
    assert told[-1] == "restart povwatch.service"


def test_without_systemd_it_waits_for_boot(machine):
    """Where systemd does not run, the service is enabled and left for the next boot."""
    (machine.at / "run/systemd/system").rmdir()
    result, told = machine.install()
    assert result.returncode == 0
    assert told == ["enable --quiet povwatch.service"]
    assert "starts at the next boot" in result.stderr
    assert "up to date" not in result.stderr
    result, _ = machine.install()
    assert "up to date" in result.stderr


def test_prefix_in_a_home_is_refused(machine):
    """A prefix in a home folder is refused, since the service cannot see it."""
    result, told = machine.install("--prefix", "/home/me/povwatch")
    assert result.returncode == 1
    assert "cannot see home folders" in result.stderr
    assert told == []
