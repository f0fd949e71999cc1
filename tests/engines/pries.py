"""Tries to get out of the sandbox that the service is in, and notes what it could do in the file TOY_PRIED."""

import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import shutil
import socket
import stat
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)


class Engine:
    def load(self, config, report):
        self.notes = pathlib.Path(os.environ["TOY_PRIED"])
        return {"name": "pries", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        found = {"could": {name: could(attempt) for name, attempt in attempts(context.workdir).items()}, **sees()}
        self.notes.write_text(json.dumps(found))
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"]}


def could(attempt):
    """Whether it went well, or what stopped it."""
    try:
        result = attempt()
    except OSError as error:
        return os.strerror(error.errno)
    return True if result is None else result


def attempts(workdir):
    own = pathlib.Path(workdir, "own")
    own.touch()
    return {
        "write the program": lambda: write("/opt/povwatch/povwatch/x"),
        "write the configuration": lambda: write("/etc/povwatch/x"),
        "write the system": lambda: write("/usr/local/x"),
        "write the kernel's settings": lambda: write("/proc/sys/kernel/domainname"),
        "write a control group": lambda: write("/sys/fs/cgroup/cgroup.subtree_control"),
        "look into homes": lambda: next(pathlib.Path("/root").iterdir()) and None,
        "reach another machine": lambda: reach("192.0.2.1", 9),
        "reach a service of this machine": lambda: reach("127.0.0.1", int(os.environ["TOY_PORT"])),
        "reach itself": talk_to_itself,
        "open a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
        "make a namespace": lambda: checked(subprocess.run(["unshare", "--user", "true"], check=False).returncode),
        "mount": lambda: checked(LIBC.mount(b"none", workdir.encode(), b"tmpfs", 0, None)),
        "make a device": lambda: os.mknod(own.with_name("device"), 0o600 | stat.S_IFBLK, os.makedev(254, 0)),
        "make a file run as its owner": lambda: own.chmod(0o4755),
        "give a file away": lambda: os.chown(own, -1, os.getgid()),
        "become root": lambda: os.setuid(0),
        "rename the machine": lambda: checked(LIBC.sethostname(b"x", 1)),
        "end the manager": lambda: os.kill(1, 0),
        "compile code and run it": lambda: compile_and_load(pathlib.Path(os.environ["STATE_DIRECTORY"])),
        "write code into memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
        "be nice": lambda: os.nice(1) and None,
        "use a GPU's device file": lambda: write("/dev/nvidiactl"),
    }


def sees():
    status = dict(line.split(":\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    devices = [path for path in pathlib.Path("/dev").iterdir() if not path.is_symlink() and not path.is_dir()]
    return {
        "capabilities": {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")},
        "new privileges": status["NoNewPrivs"] == "0",
        "devices": sorted(path.name for path in devices),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "processes of others": [
            at.name for at in pathlib.Path("/proc").iterdir() if at.name.isdigit() and not ours(at)
        ],
        "files of others in /tmp": [at.name for at in pathlib.Path("/tmp").iterdir()],
        "offline": os.environ.get("HF_HUB_OFFLINE"),
    }


def ours(process):
    with contextlib.suppress(FileNotFoundError):
        return process.stat().st_uid == os.getuid()
    return True


def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))


def reach(host, port):
    with socket.socket() as to:
        to.settimeout(5)
        to.connect((host, port))


def talk_to_itself():
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach(*server.getsockname())


def compile_and_load(folder):
    """Does what torch's compilers do in their cache."""
    source, library = folder / "code.c", folder / "code.so"
    source.write_text("int answer(void) { return 42; }")
    checked(subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=False).returncode)
    checked(ctypes.CDLL(str(library)).answer() != 42)


def checked(result):
    if result:
        raise OSError(ctypes.get_errno(), "")
