from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "systemd"


UNITS = [
    *("povwatch-gpu.service", "povwatch-notify.service", "povwatch-pool.service", "povwatch-prefetch@.service"),
    "povwatch.service",
]

EXPOSED = {
    "povwatch.service": 10,
    "povwatch-notify.service": 11,
    "povwatch-prefetch@.service": 11,
    "povwatch-pool.service": 18,
    "povwatch-gpu.service": 24,
}
"""What systemd-analyze security may find at most, in tenths. A unit with a network cannot have less than 11, one that
meets others in /tmp less than 18, nor one of root that loads modules much less than 24."""


def lines(name):
    return [line.split() for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("#")]


def every(key):
    """All the values of a key of povwatch.service, which may be in it several times."""
    text = (FOLDER / "povwatch.service").read_text()
    return [
        value for line in text.splitlines() if line.startswith(f"{key}=") for value in line.split("=", 1)[1].split()
    ]


@pytest.fixture
def unit():
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(FOLDER / "povwatch.service")
    return parser


def needs(tool):
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"there is no {tool} here")


@needs("systemd-analyze")
def test_systemd_finds_no_fault(tmp_path):
    """systemd-analyze verify finds no fault with the installed units."""
    prefix = tmp_path / "app"
    program = prefix / ".venv/bin/povwatch"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    installer = [FOLDER / "install.sh", "--root", tmp_path / "root", "--prefix", prefix]
    subprocess.run(installer, check=True, capture_output=True, timeout=60)
    units = sorted((tmp_path / "root/etc/systemd/system").iterdir())
    assert [unit.name for unit in units] == UNITS
    command = ["systemd-analyze", "verify", "--man=no", *units]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # What povwatch-gpu starts is on machines with an NVIDIA driver alone; a condition keeps it from others.
    said = [line for line in result.stderr.splitlines() if "/usr/bin/nvidia-" not in line]
    assert (said, result.stdout) == ([], "")


@needs("systemd-analyze")
@pytest.mark.parametrize(("unit", "most"), EXPOSED.items())
def test_systemd_finds_little_exposed(unit, most):
    """systemd-analyze security rates each unit at most as exposed as is allowed for it."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={most}", FOLDER / unit]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option '--offline" in result.stderr:
        pytest.skip("systemd before 250 has no --offline")
    assert result.returncode == 0, result.stdout


@needs("systemd-analyze")
@pytest.mark.parametrize("fault", ["Type=notifye", "NoSuchKey=1", "WatchdogSec=soon"])
def test_systemd_would_find_a_fault(tmp_path, fault):
    """systemd-analyze verify does find a fault that is put in."""
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
def test_accounts_own_the_folders(tmp_path):
    """The accounts and folders can be made in an empty root."""
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
    assert sorted(groups) == ["povwatch", "povwatch-notify", "render", "video"]


def test_named_accounts_are_created(unit):
    """Every account that a unit or a folder names is created."""
    created = {(words[0], words[1]) for words in lines("povwatch.sysusers.conf")}
    service = unit["Service"]
    assert ("u", service["User"]) in created
    for group in [service["Group"], *service["SupplementaryGroups"].split()]:
        assert ("g", group) in created
    for _, path, _, user, group, _ in lines("povwatch.tmpfiles.conf"):
        assert ("u", user) in created, path
        assert ("g", group) in created, path


def test_service_may_write_its_folders(unit):
    """The service may write where its folders are, on one mount, and nowhere else."""
    service = unit["Service"]
    writable = service["ReadWritePaths"].split()
    assert writable == ["/srv/povwatch"]
    own = {f"/var/lib/{service['StateDirectory']}", f"/var/cache/{service['CacheDirectory']}"}
    for _, path, *_ in lines("povwatch.tmpfiles.conf"):
        assert any(Path(path).is_relative_to(folder) for folder in {*writable, *own}), path


def test_state_folder_has_one_mode(unit):
    """tmpfiles and the unit give the state folder the same mode."""
    modes = {path: mode for _, path, mode, *_ in lines("povwatch.tmpfiles.conf")}
    assert modes["/var/lib/povwatch"] == unit["Service"]["StateDirectoryMode"]


def test_ready_and_wrong_configuration(unit):
    """The service says when it is ready, and is not restarted for a wrong configuration."""
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["ExecStart"].endswith("--config /etc/povwatch/config.toml run")
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_LEASE"


def test_what_breaks_the_gpu_is_not_set(unit):
    """No hardening that breaks CUDA is set, and the GPU's devices are allowed."""
    service = unit["Service"]
    for key in ("MemoryDenyWriteExecute", "ProcSubset", "PrivateUsers"):
        assert key not in service
    assert every("PrivateDevices") == ["yes"]
    assert {"-/dev/nvidiactl", "-/dev/nvidia-uvm", "-/dev/nvidia0", "-/dev/nvidia7"} <= set(every("BindPaths"))
    assert all(path.startswith("-/dev/nvidia") for path in every("BindPaths")), "a machine without one still starts"
    allowed = {name for name in every("DeviceAllow") if name != "rw"}
    assert {"char-nvidia", "char-nvidiactl", "char-nvidia-frontend", "char-nvidia-uvm"} <= allowed
    assert "povwatch-gpu.service" in unit["Unit"]["After"]


def test_service_fetches_nothing(unit):
    """The service has no network and is told so; the prefetch unit has one, and the same cache."""
    assert every("PrivateNetwork") == ["yes"]
    assert "HF_HUB_OFFLINE=1" in every("Environment")
    # NCCL and the processes of gpus_per_worker talk over the loopback interface.
    assert (every("IPAddressDeny"), every("IPAddressAllow")) == (["any"], ["localhost"])
    assert "AF_INET" in every("RestrictAddressFamilies")
    prefetch = (FOLDER / "povwatch-prefetch@.service").read_text()
    (home,) = [word for word in every("Environment") if word.startswith("HF_HOME=")]
    assert f"Environment={home}\n" in prefetch
    assert "HF_HUB_OFFLINE" not in prefetch


def test_notify_unit_sees_the_spool_alone():
    """The unit with a network gets the spool of the daemon's state, and it is told who sends."""
    notify = (FOLDER / "povwatch-notify.service").read_text()
    (spool,) = [words for words in lines("povwatch.tmpfiles.conf") if words[1] == "/var/lib/povwatch/notify"]
    assert spool[2:5] == ["2770", "povwatch", "povwatch-notify"]
    for line in (
        "TemporaryFileSystem=/var/lib/povwatch:ro",
        "BindPaths=/var/lib/povwatch/notify",
        "InaccessiblePaths=-/srv/povwatch -/var/cache/povwatch",
        "User=povwatch-notify",
        "RestartPreventExitStatus=2",
    ):
        assert f"\n{line}\n" in notify
    assert "PrivateNetwork" not in notify
    assert "POVWATCH_NOTIFIER=unit" in every("Environment")
    assert "povwatch-notify.service" in every("Wants")


def test_pool_unit_meets_daemon_and_ray(unit):
    """It is of the daemon's user and state folder, may write in outputs/ alone, and meets Ray's node in /tmp."""
    pool = (FOLDER / "povwatch-pool.service").read_text()
    service = unit["Service"]
    for line in (
        f"User={service['User']}",
        f"StateDirectory={service['StateDirectory']}",
        f"StateDirectoryMode={service['StateDirectoryMode']}",
        "ReadWritePaths=/srv/povwatch/outputs",
        "InaccessiblePaths=-/srv/povwatch/inputs",
        "EnvironmentFile=-/etc/povwatch/pool.env",
        "RestartPreventExitStatus=2",
        "KillMode=mixed",
    ):
        assert f"\n{line}\n" in pool
    assert "PartOf=" not in pool, "a restart of the daemon would end its workers"
    for key in ("PrivateNetwork=", "PrivateTmp=", "PrivateIPC=", "PrivateUsers="):
        assert f"\n{key}" not in pool
    assert "RuntimeDirectory" not in service, "the socket is in the state folder, which both have"
    assert "povwatch-pool.service" in every("Wants")
