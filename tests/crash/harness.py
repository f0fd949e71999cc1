"""Crashes the child under test at one call after another, and sees what is left: one point each.

    python tests/crash/harness.py kill --most 500 --shard 0/2

Prints one JSON object: the points tried, the calls of a whole run, and every point at which an invariant did not hold.
The layers:

kill       the process dies before, in the middle of, and after each call that changes a file
cut        the same, and the power with it: journal and outputs/ are two ext4 file systems that lose what was not synced
errno      each call below the three folders is refused, with every error that a machine has for it: once, and from
           then on until the daemon has waited for a while; it goes on by itself
lost       the process dies, and the journal is lost: povwatch rebuild makes it again from the rest
again      the process dies, and dies again while it recovers; the last recovery is left alone
cut-again  the same with power cuts
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import fcntl
import functools
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import invariants  # noqa: E402
import toy_hooks  # noqa: E402
import world  # noqa: E402
from world import Folders  # noqa: E402

from povwatch.daemon import app as parts  # noqa: E402
from povwatch.journal import statements  # noqa: E402
from povwatch.service import log as log_lines  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAYERS = ("kill", "cut", "errno", "lost", "again", "cut-again")
COUNT, KILL, FAIL, FAIL_ON, CUT = range(5)
BEFORE, HALF, AFTER = range(3)
PHASES = ("before", "in the middle of", "after")
DISK_FULL, GONE = "wsrlomt", "wsrlomutO"

REFUSED = {
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "oO"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), DISK_FULL),
    errno.EROFS: "wrlomuta",
    errno.EACCES: "rlomuaO",
    errno.EPERM: "rlomua",
    errno.ENOMEM: "wsrlomuO",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT), GONE),
}
"""What a machine refuses to the kinds of calls (see intercept.c) in the layer `errno`."""

LASTING = (errno.EMFILE, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOMEM)
"""Those that last for a while, too: one of each cause."""

STATE = 0
"""The folder of the journal, as intercept.c counts them: a daemon whose journal fails ends, unless its disk is full."""

FULL = (errno.ENOSPC, errno.EDQUOT)

AGAIN_STEPS = (1, 7, 19, 37, 61, 97)
"""Calls into a recovery at which it dies too."""

DISK = 24 * 2**20
"""Bytes of each file system of the layer `cut`."""

OPTIONS = "commit=600"
"""No commit by the clock: what is on the disk is there because somebody synced it."""

STUCK, ENDED, JOURNAL_ENDED = 3, 4, 5
"""Exit statuses of a life that came to no end, of one that ended with an error, and of one that its journal ended."""

NOT_HERE = 77
"""Exit status where a layer cannot be run: no root, no loop devices."""

BLKFLSBUF = 0x1261
CLONE_NEWNS = 0x20000
MEMORY = "/dev/shm"  # noqa: S108 - folders of our own are made in it


class Fault(NamedTuple):
    """What happens at a call."""

    action: int
    at: int
    phase: int = BEFORE
    code: int = 0

    def __str__(self) -> str:
        if self.action in (FAIL, FAIL_ON):
            return f"{errno.errorcode[self.code]} {'at' if self.action == FAIL else 'from'} call {self.at}"
        return f"{'power cut' if self.action == CUT else 'kill'} {PHASES[self.phase]} call {self.at}"


class Point(NamedTuple):
    """One try: a scenario and what happens in it, life by life."""

    scenario: str
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return f"{self.scenario}: {', then '.join(map(str, self.faults))}"


@dataclass
class Findings:
    """What a layer came to."""

    layer: str
    points: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    """Scenario to the mutating calls of a whole run."""
    failures: list[dict[str, object]] = field(default_factory=list)


def main() -> None:
    """Try a layer's points."""
    asked = argparse.ArgumentParser(description="Crash povwatch's protocol at every call.")
    asked.add_argument("layer", choices=LAYERS)
    asked.add_argument("--most", type=int, default=0, help="points, evenly spread over all of them; 0: all")
    asked.add_argument("--shard", default="0/1", help="this part of how many")
    asked.add_argument("--scenarios", default=",".join(world.SCENARIOS))
    asked.add_argument("--codes", default="", help="of the layer errno, these error numbers alone: ENOSPC,EDQUOT")
    asked.add_argument("--stop-after", type=int, default=0, help="failures")
    asked.add_argument("--only", default="", help='one point, by its name: "plain: kill before call 12"')
    args = asked.parse_args()
    part, parts = map(int, args.shard.split("/"))
    with ExitStack() as opened:
        library = os.environ.get("LD_PRELOAD")
        if not library:
            start_anew(
                build(Path(os.environ.get("CRASH_BUILD") or opened.enter_context(tempfile.TemporaryDirectory())))
            )
        base = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="povwatch-crash-", dir=quick())))
        place = opened.enter_context(Disks.mounted(base)) if args.layer.startswith("cut") else Plain(base)
        harness = Harness(ctypes.CDLL(None), place, base / "log", layer=args.layer)
        found = Findings(args.layer)
        points = []
        for scenario in args.scenarios.split(","):
            kinds, violations = harness.count(scenario)
            if violations:
                found.failures.append(
                    {"point": f"{scenario}: no crash", "violations": violations, "log": harness.tail()}
                )
            found.calls[scenario] = len(kinds)
            points += [Point(scenario, faults) for faults in plan(args.layer, kinds)]
        if args.codes:
            points = [point for point in points if errno.errorcode[point.faults[0].code] in args.codes.split(",")]
        points = [point for point in points[part::parts] if args.only in ("", str(point))]
        if args.most and len(points) > args.most:
            points = [points[n * len(points) // args.most] for n in range(args.most)]
        for point in points:
            found.points += 1
            if violations := harness.try_point(point):
                found.failures.append({"point": str(point), "violations": violations, "log": harness.tail()})
            if len(found.failures) >= args.stop_after > 0:
                break
    json.dump(vars(found), sys.stdout, indent=1)


def plan(layer: str, kinds: str) -> Iterator[tuple[Fault, ...]]:
    """The faults of a layer's points, for a run that makes these calls."""
    for n, kind in enumerate(kinds, 1):
        if layer == "errno":
            for code, kinds_refused in REFUSED.items():
                if kind in kinds_refused:
                    yield (Fault(FAIL, n, code=code),)
                    if code in LASTING:
                        yield (Fault(FAIL_ON, n, code=code),)
            continue
        action = CUT if layer.startswith("cut") else KILL
        for phase in (BEFORE, HALF, AFTER) if kind == "w" else (BEFORE, AFTER):
            if layer.endswith("again"):
                for m in AGAIN_STEPS:
                    yield (Fault(action, n, phase), Fault(action, m + n % 7))
            else:
                yield (Fault(action, n, phase),)


class Plain:
    """Points in an ordinary folder."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def fresh(self, number: int):
        return make(self._base / f"{number}", self._base / f"{number}")

    def settled(self) -> None:
        """Nothing is to be done for what was made."""

    def restart(self) -> None:
        """A killed process leaves the files as they are."""

    def clear(self, number: int) -> None:
        shutil.rmtree(self._base / f"{number}", ignore_errors=True)


class Disks:
    """Points on two small ext4 file systems in loop devices, whose power can be cut."""

    def __init__(self, base: Path, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._devices: list[str] = []
        self._held: list[int] = []
        self._mounts = [base / "journal", base / "outputs"]
        self._images = [base / "journal.img", base / "outputs.img"]

    @classmethod
    @contextmanager
    def mounted(cls, base: Path) -> Iterator[Disks]:
        """In a mount namespace of its own: whatever becomes of this process, no mount is left behind."""
        libc = ctypes.CDLL(None, use_errno=True)
        disks = cls(base, libc)
        try:
            disks._prepare()
        except (OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"no file systems of one's own can be mounted here: {error}\n")
            raise SystemExit(NOT_HERE) from error
        try:
            yield disks
        finally:
            disks._unmount()

    def _prepare(self) -> None:
        if self._libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare needs root")
        run("mount", "--make-rprivate", "/")
        for image, folder in zip(self._images, self._mounts, strict=True):
            folder.mkdir()
            with image.open("wb") as file:
                file.truncate(DISK)
            run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-J", "size=4", str(image))
            # Held open, the loop device stays when it is unmounted; it goes when this process does.
            run("mount", "-o", f"loop,{OPTIONS}", str(image), str(folder))
            device = device_of(folder)
            self._devices.append(device)
            self._held.append(os.open(device, os.O_RDONLY | os.O_CLOEXEC))
        self._open()

    def fresh(self, number: int):
        return make(*(folder / f"{number}" for folder in self._mounts))

    def settled(self) -> None:
        """All that is there now is on the disks; from here on the power may go."""
        for fd in self._fds:
            self._libc.syncfs(fd)

    def restart(self) -> None:
        """The power was cut: what the disks have is all that there is."""
        self._unmount()
        self._mount()

    def clear(self, number: int) -> None:
        for folder in self._mounts:
            shutil.rmtree(folder / f"{number}", ignore_errors=True)

    def _mount(self) -> None:
        for device, folder in zip(self._devices, self._mounts, strict=True):
            fail = self._libc.mount(device.encode(), bytes(folder), b"ext4", 0, OPTIONS.encode())
            if fail:
                raise OSError(ctypes.get_errno(), f"mount {device}")
        self._open()

    def _open(self) -> None:
        self._fds = [os.open(folder, os.O_RDONLY | os.O_CLOEXEC) for folder in self._mounts]
        self._libc.crash_disks(*self._fds)

    def _unmount(self) -> None:
        for fd in self._fds:
            os.close(fd)
        for folder in self._mounts:
            if self._libc.umount2(bytes(folder), 0):
                raise OSError(ctypes.get_errno(), f"umount {folder}")
        for fd in self._held:
            fcntl.ioctl(fd, BLKFLSBUF)  # as the last close of a device does: nothing of it stays in memory


class Harness:
    """Lives and deaths of the child."""

    def __init__(self, library: ctypes.CDLL, place: Plain | Disks, log: Path, *, layer: str) -> None:
        self._loses, self._refuses = layer == "lost", layer == "errno"
        self._world, self._invariants = world, invariants
        self._library = library
        self._library.crash_kind.restype = ctypes.c_char
        self._place = place
        self._log = log
        self._number = 0
        self._said = log.open("a", buffering=1)
        log_lines.configure(self._said)
        once_for_all()
        gc.collect()
        gc.freeze()  # a child is not to touch, and so to copy, what it will not collect

    def count(self, scenario: str) -> tuple[str, list[str]]:
        """The kinds of the mutating calls of a whole run without a crash, and what is wrong even so."""
        folders = self._fresh()
        code = self._life(folders, scenario, Fault(COUNT, 0))
        found = [f"the run ended with {code}"] if code else []
        found += [*self._invariants.in_the_end(folders, scenario, {}), *self._unforeseen()]
        found += self._invariants.computed_once(folders) if scenario == "looks" else ()
        self._place.clear(self._number)
        calls = self._library.crash_count()
        return b"".join(self._library.crash_kind(n) for n in range(1, calls + 1)).decode(), found

    def try_point(self, point: Point) -> list[str]:
        """Crash there, recover, and say which invariants did not hold."""
        folders = self._fresh()
        found, before, over = [], {}, {}
        for life, fault in enumerate(point.faults, 1):
            code = self._life(folders, point.scenario, fault, life)
            if fault.action in (KILL, CUT):
                self._place.restart() if fault.action == CUT else None
                if code not in (-signal.SIGKILL, 0):  # 0: it was over before
                    found.append(f"the child ended with {code} instead of being killed")
            if self._refuses and code and not self._may_end(fault, code):
                found.append(f"the daemon does not go on by itself: it ended with {code}")
            found += [f"{said} (at the crash)" for said in self._invariants.at_any_moment(folders)]
            before, over = self._invariants.visible(folders.outputs), self._invariants.hooks_over(folders)
        promised = self._invariants.promised(folders) if self._loses else None
        if self._loses:
            shutil.rmtree(folders.state, ignore_errors=True)
        try:
            if self._loses:
                self._world.rebuild(folders, point.scenario)
            # In this process: it is to live, and a fork costs more than the whole recovery.
            scenario = point.scenario if point.scenario in {*toy_hooks.SCENARIOS, "seeds"} else "plain"
            life = len(point.faults) + 1
            if not self._world.World(folders, scenario, life=life, apart=self._apart).live():
                found.append("the recovery comes to no end")
            found += self._invariants.in_the_end(folders, scenario, before)
            found += () if self._loses else self._invariants.ran_no_more(folders, over)
            found += self._invariants.nothing_charged(folders, scenario) if self._refuses else ()
            found += [*self._invariants.is_kept(folders, promised), *self._unforeseen()]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            found.append(f"the recovery fails: {type(error).__name__}: {error}")
            traceback.print_exc(file=self._said)
            gc.collect()  # it may hold files open, and with them a disk
        self._place.clear(self._number)
        return found

    def _may_end(self, fault: Fault, code: int) -> bool:
        """Whether a daemon may end so: where its journal fails, and the disk is not full."""
        if self._library.crash_failing() != STATE or code not in (ENDED, JOURNAL_ENDED):
            return False
        kind = self._library.crash_kind(fault.at)
        # A sync that fails for once says nothing about room that a look would find.
        unsynced = fault.action == FAIL and kind == b"s"
        no_folder = code == ENDED and kind == b"m"  # paths.state itself cannot be made
        return fault.code not in FULL or unsynced or no_folder

    def _unforeseen(self) -> Iterator[str]:
        """Faults in povwatch itself, of which it says so: in whatever life of this point."""
        for line in self._log.read_text(errors="replace").splitlines():
            if '"event": "unforeseen"' in line:
                yield json.loads(line)["message"]

    def tail(self) -> str:
        """The end of what the last point's lives said."""
        return self._log.read_text(errors="replace")[-9000:]

    def _fresh(self):
        self._number += 1
        self._log.write_bytes(b"")
        folders = self._place.fresh(self._number)
        self._place.settled()
        return folders

    def _life(self, folders, scenario: str, fault: Fault, life: int = 1) -> int:
        """One process from start to end; its exit status, negative for a signal."""
        pid = os.fork()
        if pid == 0:
            self._child(folders, scenario, fault, life)
        _, status = os.waitpid(pid, 0)
        self._library.crash_pause(1)
        return os.waitstatus_to_exitcode(status)

    def _child(self, folders, scenario: str, fault: Fault, life: int) -> None:
        code = ENDED
        mended = None
        try:
            gc.disable()
            if self._refuses:
                mended = self._library.crash_mend
                self._library.crash_refuse(REFUSED.get(fault.code, "").encode())
                self._library.crash_below(*map(bytes, (folders.state, folders.inputs, folders.outputs)))
            self._library.crash_arm(fault.at, fault.action, fault.phase, fault.code)
            ours = self._world.World(folders, scenario, life=life, apart=self._apart, mended=mended)
            try:
                code = 0 if ours.live() else STUCK
            except statements.JournalFailed:
                code = JOURNAL_ENDED
                raise
        except BaseException:  # noqa: BLE001 - as a daemon that ends with a traceback
            self._library.crash_pause(1)
            traceback.print_exc(file=self._said)
        finally:
            os._exit(code)

    def _apart(self, act: Callable[[], None]) -> None:
        self._library.crash_pause(1)
        act()
        self._library.crash_pause(0)


def make(state: Path, rest: Path):
    """The folders of a new point: one clip that has arrived, and a user's own files in outputs/."""
    folders = Folders(state / "state", rest / "inputs", rest / "outputs")
    for folder in (state, rest, folders.inputs, folders.outputs, folders.made):
        folder.mkdir(exist_ok=True)
    (folders.inputs / "a.mp4").write_bytes(invariants.CLIP)
    for name, data in invariants.USERS.items():
        (folders.outputs / name).parent.mkdir(exist_ok=True)
        (folders.outputs / name).write_bytes(data)
    return folders


def once_for_all() -> None:
    """Parse once for all lives what each parses at its start."""
    statements.aiosql = SimpleNamespace(from_str=functools.cache(statements.aiosql.from_str))
    parts.configured_templates = once(parts.configured_templates, world.CONFIG)


def once(function, argument):
    """A function that answers for whatever it is given with what is true of one argument."""
    found = function(argument)
    return lambda _: found


def build(folder: Path) -> Path:
    """Compile intercept.c."""
    folder.mkdir(exist_ok=True, parents=True)
    library = folder / "intercept.so"
    run("cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "intercept.c"))
    return library


def start_anew(library: Path) -> None:
    """Run this program anew with the library between it and libc."""
    env = os.environ | {"LD_PRELOAD": str(library), "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=env, check=False)
    raise SystemExit(done.returncode)


def device_of(folder: Path) -> str:
    """The device that is mounted there."""
    (line,) = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(folder)]
    return line.split(" - ")[1].split()[1]


def quick() -> str | None:
    """A folder in memory, if there is one: the layers that kill ask nothing of the disk."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def run(*command: str) -> None:
    """Run a program."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(f"{' '.join(command)}: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
