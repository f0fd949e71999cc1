from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "systemd"


def lines(name):
    return [line.split() for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("#")]


@pytest.fixture
def unit():
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(FOLDER / "povwatch.service")
    return parser


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"there is no {tool} here")


@needs("systemd-analyze")
def test_systemd_finds_no_fault_with_the_unit(tmp_path):
    prefix = tmp_path / "app"
    program = prefix / ".venv/bin/povwatch"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    installer = [FOLDER / "install.sh", "--root", tmp_path / "root", "--prefix", prefix]
    subprocess.run(installer, check=True, capture_output=True, timeout=60)
    unit = tmp_path / "root/etc/systemd/system/povwatch.service"
    command = ["systemd-analyze", "verify", "--man=no", unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs("systemd-analyze")
@pytest.mark.parametrize("fault", ["Type=notifye", "NoSuchKey=1", "WatchdogSec=soon"])
def test_systemd_would_have_found_a_fault(tmp_path, fault):
    program = tmp_path / "povwatch"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (FOLDER / "povwatch.service").read_text().replace("/opt/povwatch/.venv/bin/povwatch", str(program))
    unit = tmp_path / "povwatch.service"
    unit.write_text(text.replace("Type=notify\n", f"Type=notify\n{fault}\n"))
    command = ["systemd-analyze", "verify", "--man=no", unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert fault.split("=")[0] in result.stderr or fault.split("=")[1] in result.stderr


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
def test_the_accounts_can_be_made_and_own_the_folders(tmp_path):
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text("")
    for command in (
        ["systemd-sysusers", f"--root={tmp_path}", FOLDER / "povwatch.sysusers.conf"],
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "--dry-run", FOLDER / "povwatch.tmpfiles.conf"],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if "unrecognized option '--dry-run'" in result.stderr:
            continue  # systemd before 256
        assert result.returncode == 0, result.stderr
    groups = [line.split(":")[0] for line in (tmp_path / "etc/group").read_text().splitlines()]
    assert sorted(groups) == ["povwatch", "render", "video"]


def test_every_account_that_is_named_is_created(unit):
    created = {(words[0], words[1]) for words in lines("povwatch.sysusers.conf")}
    service = unit["Service"]
    assert ("u", service["User"]) in created
    for group in [service["Group"], *service["SupplementaryGroups"].split()]:
        assert ("g", group) in created
    for _, path, _, user, group, _ in lines("povwatch.tmpfiles.conf"):
        assert ("u", user) in created, path
        assert ("g", group) in created, path


def test_the_service_may_write_where_its_folders_are_and_on_one_mount(unit):
    service = unit["Service"]
    writable = service["ReadWritePaths"].split()
    assert writable == ["/srv/povwatch"]
    own = {f"/var/lib/{service['StateDirectory']}", f"/var/cache/{service['CacheDirectory']}"}
    for _, path, *_ in lines("povwatch.tmpfiles.conf"):
        assert any(Path(path).is_relative_to(folder) for folder in {*writable, *own}), path


def test_the_state_folder_has_one_mode(unit):
    modes = {path: mode for _, path, mode, *_ in lines("povwatch.tmpfiles.conf")}
    assert modes["/var/lib/povwatch"] == unit["Service"]["StateDirectoryMode"]


def test_the_service_says_when_it_is_ready_and_stays_down_for_a_wrong_configuration(unit):
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].endswith("--config /etc/povwatch/config.toml run")
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_LEASE"


def test_what_breaks_the_gpu_is_not_asked_for(unit):
    for key in ("PrivateDevices", "MemoryDenyWriteExecute", "DeviceAllow", "ProtectProc"):
        assert key not in unit["Service"]
