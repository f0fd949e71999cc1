from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import itertools
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.core import layout
from povwatch.core.errors import CheckFailed, DiskFull, JournalError, OutputsAway, OutputsTaken, WriteFailed
from povwatch.files import fs
from povwatch.publish import (
    Entry,
    OutputRefused,
    Published,
    Publisher,
    PublishStopped,
    Sealed,
    TargetTaken,
)
from povwatch.publish.faults import translate_output_error

VIDEO = b"a whole video " * 1000
CALLS = ("open", "mkdir", "fsync", "fchmod", "link", "unlink", "rename", "stat")


class Crash(BaseException):
    """The machine goes down here."""


def names_of(path=b"clip.mp4"):
    base = layout.stem_of(layout.split(path)[1])
    return lambda version: [layout.output("{folder}/{stem}/{stem}_{kind}.mp4", path, base, "aug", version)]


def describe(entries):
    rows = [{"output": layout.shown(e.target), "sha256": e.sha256} for e in entries]
    return json.dumps(rows).encode()


def promise(outputs, job=1, path=b"clip.mp4", data=VIDEO, names=None):
    publisher = Publisher(outputs)
    file = publisher.staging.make(job, "ab") / "out.mp4"
    file.write_bytes(data)
    return publisher, publisher.seal(job, "ab", [file], names=names or names_of(path), describe=describe)


def need_folder(outputs, name):
    """Ask for a result's folder, or for povwatch's own."""
    if name == ".povwatch":
        Publisher(outputs).staging.make(1, "r1")
    else:
        Publisher(outputs).preflight(os.fsencode(name) + b"/clip_aug.mp4")


def visible(outputs):
    """Every file outside the staging folder, with its bytes."""
    return {
        str(file.relative_to(outputs)): file.read_bytes()
        for file in outputs.rglob("*")
        if file.is_file() and ".povwatch" not in file.relative_to(outputs).parts
    }


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def path_of(fd):
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def crash_at(monkeypatch, number):
    """Raise Crash in place of call `number` of those that this process makes to the system, or just after it."""
    counter = itertools.count()

    def counted(real):
        def call(*args, **kwargs):
            if next(counter) == number:
                raise Crash
            result = real(*args, **kwargs)
            if next(counter) == number:
                raise Crash
            return result

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(fs, "rename_noreplace", counted(fs.rename_noreplace))
    return counter


@pytest.fixture
def outputs(tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def test_nothing_visible_until_publish(outputs):
    """Nothing is visible until publish, and then the pair is."""
    publisher, sealed = promise(outputs)
    assert visible(outputs) == {}

    published = publisher.publish(sealed)

    assert published == Published((b"clip/clip_aug.mp4", b"clip/clip_aug.json"))
    assert published.note == ""
    shown = visible(outputs)
    assert shown["clip/clip_aug.mp4"] == VIDEO
    assert json.loads(shown["clip/clip_aug.json"]) == [
        {"output": "clip/clip_aug.mp4", "sha256": hashlib.sha256(VIDEO).hexdigest()}
    ]
    assert len(shown) == 2
    assert sealed.output == b"clip/clip_aug.mp4"
    publisher.staging.delete_job(1)
    assert listing(outputs / ".povwatch") == []


def test_publishing_again_changes_nothing(outputs):
    publisher, sealed = promise(outputs)
    first = publisher.publish(sealed)
    before = {p: p.stat().st_ino for p in (outputs / "clip").iterdir()}
    assert publisher.publish(sealed) == first
    assert {p: p.stat().st_ino for p in (outputs / "clip").iterdir()} == before


def test_crash_at_any_call_of_publish(tmp_path):
    """A crash at any call of publish is recovered to one whole pair."""
    for number in itertools.count():
        outputs = tmp_path / f"{number}"
        outputs.mkdir()
        _, sealed = promise(outputs)
        crashed = False
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            try:
                Publisher(outputs).publish(sealed)
            except Crash:
                crashed = True
        shown = visible(outputs)
        assert set(shown) <= {"clip/clip_aug.mp4", "clip/clip_aug.json"}
        assert shown.get("clip/clip_aug.mp4", VIDEO) == VIDEO
        assert "clip/clip_aug.mp4" in shown or not shown  # the manifest comes last

        stored = Sealed.from_json(sealed.to_json())
        assert Publisher(outputs).publish(stored) == Published((b"clip/clip_aug.mp4", b"clip/clip_aug.json"))
        assert visible(outputs).keys() == {"clip/clip_aug.mp4", "clip/clip_aug.json"}
        assert visible(outputs)["clip/clip_aug.mp4"] == VIDEO
        if not crashed:
            break
    assert number > 20


def test_crash_during_the_recovery(tmp_path):
    """A crash during the recovery is recovered, too."""
    for number in itertools.count(0, 3):
        outputs = tmp_path / f"{number}"
        outputs.mkdir()
        _, sealed = promise(outputs)
        crashes = 0
        for again in (number, number // 2, 5):
            with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Crash):
                crash_at(patch, again)
                crashes += 1
                Publisher(outputs).publish(sealed)
                crashes -= 1
        assert Publisher(outputs).publish(sealed).gone == ()
        assert visible(outputs).keys() == {"clip/clip_aug.mp4", "clip/clip_aug.json"}
        if crashes < 2:
            break
    assert number > 20


def test_crash_at_any_call_of_seal(tmp_path):
    """A crash at any call of seal shows nothing, and leaves only what sweep removes."""
    for number in itertools.count():
        outputs = tmp_path / f"{number}"
        outputs.mkdir()
        publisher = Publisher(outputs)
        file = publisher.staging.make(1, "ab") / "out.mp4"
        file.write_bytes(VIDEO)
        crashed = False
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            try:
                publisher.seal(1, "ab", [file], names=names_of(), describe=describe)
            except Crash:
                crashed = True
        assert visible(outputs) == {}
        assert Publisher(outputs).staging.sweep(keep={1}, keep_attempts=()) == 1
        assert listing(outputs / ".povwatch") == []
        if not crashed:
            break
    assert number > 15


def test_crash_at_any_call_of_reseal(tmp_path):
    """A crash at any call of reseal keeps the old promise good."""
    for number in itertools.count():
        outputs = tmp_path / f"{number}"
        outputs.mkdir()
        publisher, sealed = promise(outputs)
        (outputs / "clip").mkdir()
        (outputs / "clip/clip_aug.json").write_text("somebody's")
        with pytest.raises(TargetTaken):
            publisher.publish(sealed)
        crashed = False
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            try:
                publisher.reseal(sealed, names=names_of(), describe=describe)
            except Crash:
                crashed = True
        with pytest.raises(TargetTaken):
            publisher.publish(sealed)
        renewed = publisher.reseal(sealed, names=names_of(), describe=describe)
        assert publisher.publish(renewed).gone == ()
        assert visible(outputs).keys() == {"clip/clip_aug.json", "clip/clip_aug_v2.mp4", "clip/clip_aug_v2.json"}
        assert visible(outputs)["clip/clip_aug.json"] == b"somebody's"
        if not crashed:
            break
    assert number > 15


def test_syncs_and_renames_in_order(outputs, monkeypatch):
    """Bytes and names are on the disk in the right order."""
    done = []
    real_sync, real_rename = os.fsync, fs.rename_noreplace

    def sync(fd):
        done.append(("sync", os.path.relpath(path_of(fd), outputs)))
        real_sync(fd)

    def rename(here, old, there, new):
        done.append(("rename", new.decode()))
        real_rename(here, old, there, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(fs, "rename_noreplace", rename)
    publisher, sealed = promise(outputs)
    assert [name for _, name in done] == [
        ".povwatch/1.ab/out.mp4",
        ".povwatch/1.ab/manifest_v1.json",
        ".povwatch/1.ab",
        ".povwatch",
        ".",
    ]
    done.clear()
    publisher.publish(sealed)
    assert done == [
        ("sync", "."),  # the new folder's name
        ("rename", "clip_aug.mp4"),
        ("sync", "clip"),
        ("sync", "."),
        ("rename", "clip_aug.json"),
        ("sync", "clip"),
        ("sync", ".povwatch/1.ab"),
    ]


def test_observer_sees_no_part_of_a_file(outputs):
    whole = {VIDEO * 20 + bytes([n]) for n in range(25)}
    digests = {hashlib.sha256(data).hexdigest() for data in whole}
    over, seen, wrong = threading.Event(), set(), []

    def look():
        while not over.is_set():
            for file in outputs.glob("clip*/*.mp4"):
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                seen.add(digest)
                if digest not in digests:
                    wrong.append(file)

    observer = threading.Thread(target=look)
    observer.start()
    try:
        for job, data in enumerate(sorted(whole), start=1):
            publisher, sealed = promise(outputs, job=job, path=b"clip%d.mp4" % (job % 3), data=data)
            publisher.publish(sealed)
    finally:
        over.set()
        observer.join()
    assert wrong == []
    assert seen <= digests
    assert seen
    assert len(list(outputs.glob("clip*/*.mp4"))) == 25


def test_next_version_for_all_files(outputs):
    """Another run gets the next version for all its files."""
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher, second = promise(outputs, job=2, data=b"another")
    assert second.version == 2
    assert publisher.publish(second).visible == (b"clip/clip_aug_v2.mp4", b"clip/clip_aug_v2.json")
    shown = visible(outputs)
    assert shown["clip/clip_aug.mp4"] == VIDEO
    assert shown["clip/clip_aug_v2.mp4"] == b"another"
    assert b"clip_aug_v2.mp4" in shown["clip/clip_aug_v2.json"]


def test_same_bytes_are_published_once(outputs):
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher, second = promise(outputs, job=2)
    assert second.version == 1
    assert publisher.publish(second).gone == ()
    assert visible(outputs).keys() == {"clip/clip_aug.mp4", "clip/clip_aug.json"}


@pytest.mark.parametrize(
    "occupy",
    [
        lambda at: at.symlink_to("/etc/hostname"),
        lambda at: at.symlink_to("nowhere"),
        Path.mkdir,
        os.mkfifo,
        lambda at: at.write_bytes(VIDEO[:-1] + b"X"),
    ],
    ids=["symlink", "dangling", "folder", "fifo", "same-size"],
)
@pytest.mark.parametrize("name", ["clip_aug.mp4", "clip_aug.json"])
def test_whatever_has_a_name_keeps_it(outputs, occupy, name):
    """Whatever has a name keeps it, and the result gets the next version."""
    (outputs / "clip").mkdir()
    at = outputs / "clip" / name
    occupy(at)
    before = os.lstat(at)
    publisher, sealed = promise(outputs)
    assert sealed.version == 2
    assert publisher.publish(sealed).gone == ()
    assert (outputs / "clip/clip_aug_v2.mp4").read_bytes() == VIDEO
    assert os.lstat(at).st_ino == before.st_ino


def test_other_files_are_left_alone(outputs):
    """The other files of the folder are not even touched."""
    (outputs / "clip").mkdir()
    overlay = outputs / "clip/1_mano_overlay.mp4"
    overlay.write_bytes(b"hands")
    before = overlay.stat()
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher.staging.delete_job(1)
    assert sealed.version == 1
    assert overlay.read_bytes() == b"hands"
    assert overlay.stat().st_ctime_ns == before.st_ctime_ns


@pytest.mark.parametrize("when", ["seal", "preflight", "publish", "reseal"])
def test_symlink_for_a_folder_is_refused(outputs, tmp_path, when):
    """A symlink in place of a folder is refused by name, at every step."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    publisher, sealed = Publisher(outputs), None
    if when in {"publish", "reseal"}:
        publisher, sealed = promise(outputs)
    (outputs / "clip").symlink_to(elsewhere)
    calls = {
        "seal": lambda: promise(outputs),
        "preflight": lambda: publisher.preflight(b"clip/clip_aug.mp4"),
        "publish": lambda: publisher.publish(sealed),
        "reseal": lambda: publisher.reseal(sealed, names=names_of(), describe=describe),
    }
    with pytest.raises(OutputRefused) as refusal:
        calls[when]()
    assert f"{outputs}/clip is a symlink to {elsewhere}" in refusal.value.what
    assert list(elsewhere.iterdir()) == []


def test_file_for_a_folder_is_refused(outputs):
    """A file in place of a folder is refused by name."""
    (outputs / "day1").write_text("")
    with pytest.raises(OutputRefused, match=r"outputs/day1 is a file, where a folder is needed"):
        Publisher(outputs).preflight(b"day1/clip/clip_aug.mp4")


@pytest.mark.parametrize(
    ("mode", "kind"), [(stat.S_IFREG, "a file"), (stat.S_IFIFO, "a named pipe"), (stat.S_IFSOCK, "a socket")]
)
@pytest.mark.parametrize("name", ["day1", ".povwatch"])
def test_other_kinds_are_not_called_links(outputs, mode, kind, name):
    """What is no link is called by its kind, and links are not mentioned."""
    os.mknod(outputs / name, mode | 0o600)
    with pytest.raises((OutputRefused, OutputsTaken)) as refusal:
        need_folder(outputs, name)
    assert refusal.value.what == f"{outputs}/{name} is {kind}, where a folder is needed."
    assert refusal.value.todo == "Remove it or move it away: povwatch makes that folder itself."


@pytest.mark.parametrize("name", ["day1", ".povwatch"])
def test_link_is_called_one(outputs, tmp_path, name):
    """A link is called one, with where it leads."""
    (outputs / name).symlink_to(tmp_path)
    with pytest.raises((OutputRefused, OutputsTaken)) as refusal:
        need_folder(outputs, name)
    assert refusal.value.what == f"{outputs}/{name} is a symlink to {tmp_path}, where a folder is needed."
    assert refusal.value.todo == "Results are never written through a link: remove it or move it away."


def test_preflight_passes_other_folders(outputs):
    """preflight passes a folder that is there or missing, and makes none."""
    (outputs / "there").mkdir()
    Publisher(outputs).preflight(b"there/clip_aug.mp4")
    Publisher(outputs).preflight(b"missing/deeper/clip_aug.mp4")
    assert listing(outputs) == ["there"]


def test_symlink_for_staging_is_refused(outputs, tmp_path):
    """A symlink in place of the staging folder is refused."""
    (tmp_path / "elsewhere").mkdir()
    (outputs / ".povwatch").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputsAway, match=r"outputs/\.povwatch is a symlink"):
        Publisher(outputs).staging.make(1, "ab")
    with pytest.raises(OutputRefused, match=r"outputs/\.povwatch is a symlink"):
        Publisher(outputs).staging.sweep((), ())


def test_name_taken_after_the_seal(outputs):
    """A name that is taken after the seal is told, and resealed."""
    publisher, sealed = promise(outputs)
    (outputs / "clip").mkdir()
    (outputs / "clip/clip_aug.mp4").write_text("somebody's")
    with pytest.raises(TargetTaken, match=r"clip/clip_aug\.mp4 has appeared meanwhile"):
        publisher.publish(sealed)
    renewed = publisher.reseal(sealed, names=names_of(), describe=describe)
    assert renewed.version == 2
    assert publisher.publish(renewed).visible == (b"clip/clip_aug_v2.mp4", b"clip/clip_aug_v2.json")
    assert visible(outputs)["clip/clip_aug.mp4"] == b"somebody's"
    assert b"clip_aug_v2.mp4" in visible(outputs)["clip/clip_aug_v2.json"]


def test_uncommitted_reseal(outputs):
    """A reseal that was never committed leaves the old promise whole."""
    publisher, sealed = promise(outputs)
    (outputs / "clip").mkdir()
    (outputs / "clip/clip_aug.mp4").write_text("somebody's")
    with pytest.raises(TargetTaken):
        publisher.publish(sealed)
    (outputs / "clip/clip_aug.mp4").unlink()
    assert publisher.reseal(sealed, names=names_of(), describe=lambda _: b"later").version == 2
    assert publisher.publish(sealed).gone == ()
    assert hashlib.sha256(visible(outputs)["clip/clip_aug.json"]).hexdigest() == sealed.entries[-1].sha256


def test_removed_result_is_noted(outputs):
    """What somebody removed is noted, and not made again."""
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    (outputs / "clip/clip_aug.mp4").unlink()
    published = publisher.publish(sealed)
    assert published == Published((b"clip/clip_aug.json",), (b"clip/clip_aug.mp4",))
    assert "clip/clip_aug.mp4" in published.note
    assert not (outputs / "clip/clip_aug.mp4").exists()


def test_changed_result_is_noted(outputs):
    """What somebody changed is noted, and kept."""
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    (outputs / "clip/clip_aug.mp4").write_text("cut")
    assert publisher.publish(sealed).gone == (b"clip/clip_aug.mp4",)
    assert (outputs / "clip/clip_aug.mp4").read_text() == "cut"


def test_gone_staging_is_no_obstacle(outputs):
    """A staging folder that is gone is no obstacle where the files are visible."""
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher.staging.delete_attempt(1, "ab")
    assert publisher.publish(sealed).gone == ()


def test_empty_mount_point_is_no_removal(outputs, tmp_path):
    """An empty mount point is not taken for a removal."""
    publisher, sealed = promise(outputs)
    outputs.rename(tmp_path / "disk")
    outputs.mkdir()
    with pytest.raises(OutputsAway, match="mounted"):
        publisher.publish(sealed)
    assert listing(outputs) == []
    outputs.rmdir()
    with pytest.raises(OutputsAway, match="mounted"):
        publisher.publish(sealed)
    (tmp_path / "disk").rename(outputs)
    assert publisher.publish(sealed).gone == ()


def failing(monkeypatch, code, matches):
    real = os.fsync

    def fsync(fd):
        if matches(path_of(fd)):
            raise OSError(code, os.strerror(code))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, WriteFailed)]
)
@pytest.mark.parametrize("at", ["out.mp4", "manifest_v1.json", "1.ab", ".povwatch"])
def test_failed_sync_before_the_promise(outputs, monkeypatch, code, error, at):
    """What was generated was synced before; no file is synced a second time after its sync has failed."""
    room = Publisher(outputs).staging.make(1, "ab")
    (room / "generated.mp4").write_bytes(b"a quarter of an hour of GPU time")
    with monkeypatch.context() as patch:
        failing(patch, code, lambda path: path.endswith(f"/{at}"))
        with pytest.raises(error, match=os.strerror(code)):
            promise(outputs)
    assert not (room / "out.mp4").exists()
    assert visible(outputs) == {}
    assert (room / "generated.mp4").read_bytes() == b"a quarter of an hour of GPU time"
    publisher, sealed = promise(outputs)
    assert publisher.publish(sealed).gone == ()


@pytest.mark.parametrize(("code", "error"), [(errno.EIO, WriteFailed), (errno.ENOSPC, DiskFull)])
def test_failed_sync_of_the_target(outputs, code, error):
    """A failed sync of the target is told, and the promise stands."""
    publisher, sealed = promise(outputs)
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, code, lambda path: path.endswith("/clip"))
        with pytest.raises(error, match=r"outputs/clip/clip_aug\.mp4"):
            publisher.publish(sealed)
    assert publisher.publish(sealed).gone == ()


def test_called_off_while_reading(outputs):
    """seal and publish can be called off while a large file is read."""
    publisher = Publisher(outputs)
    room = publisher.staging.make(1, "run")
    (room / "final.mp4").write_bytes(VIDEO)
    files = [room / "final.mp4"]
    with pytest.raises(PublishStopped):
        publisher.seal(1, "run", files, names=names_of(), describe=describe, stopped=lambda: True)
    sealed = publisher.seal(1, "run", files, names=names_of(), describe=describe)
    publisher.publish(sealed)
    with pytest.raises(PublishStopped):
        publisher.publish(sealed, lambda: True)
    assert publisher.publish(sealed).visible == tuple(entry.target for entry in sealed.entries)


def test_engine_leaves_plain_files(outputs, tmp_path):
    """Only plain files of the engine's own are taken, and no mode of another file changes."""
    publisher = Publisher(outputs)
    room = publisher.staging.make(1, "ab")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"the user's")
    clip.chmod(0o600)
    (room / "linked.mp4").hardlink_to(clip)
    (room / "symlink.mp4").symlink_to(clip)
    (room / "folder.mp4").mkdir()
    os.mkfifo(room / "fifo.mp4")
    for name in ("missing", "linked", "symlink", "folder", "fifo"):
        with pytest.raises(CheckFailed, match=f"{name}.mp4"):
            publisher.seal(1, "ab", [room / f"{name}.mp4"], names=names_of(), describe=describe)
    assert stat.S_IMODE(clip.stat().st_mode) == 0o600


def test_without_renameat2(outputs, monkeypatch):
    """Without renameat2 a link does, and still nothing is overwritten."""

    def unsupported(*_):
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(fs, "_renameat2", lambda: unsupported)
    publisher, sealed = promise(outputs)
    assert publisher.publish(sealed).gone == ()
    assert visible(outputs)["clip/clip_aug.mp4"] == VIDEO
    assert (outputs / "clip/clip_aug.mp4").stat().st_nlink == 1
    publisher, second = promise(outputs, job=2, data=b"another")
    (outputs / "clip/clip_aug_v2.mp4").write_text("somebody's")
    with pytest.raises(TargetTaken):
        publisher.publish(second)
    assert visible(outputs)["clip/clip_aug_v2.mp4"] == b"somebody's"


@pytest.mark.parametrize("umask", [0o007, 0o022])
def test_modes_and_group_of_results(outputs, umask):
    """Results are readable under the umask, and get the folder's group."""
    os.chown(outputs, -1, 4242 if os.geteuid() == 0 else os.getegid())
    outputs.chmod(0o2770)
    before = os.umask(umask)
    try:
        publisher = Publisher(outputs)
        file = publisher.staging.make(1, "ab") / "out.mp4"
        file.touch(mode=0o600)
        file.write_bytes(VIDEO)
        publisher.publish(publisher.seal(1, "ab", [file], names=names_of(), describe=describe))
    finally:
        os.umask(before)
    for path, mode in (("clip", 0o2777 & ~umask), ("clip/clip_aug.mp4", 0o666 & ~umask)):
        found = (outputs / path).stat()
        assert stat.S_IMODE(found.st_mode) == mode
        assert found.st_gid == outputs.stat().st_gid
    assert stat.S_IMODE((outputs / "clip/clip_aug.json").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((outputs / ".povwatch").stat().st_mode) & 0o777 == 0o700


@pytest.mark.parametrize("stem", [b"x" * 251, "\u00e9".encode() * 125, b"\xff\xfe \n\"'", "\U0001f44b".encode()])
def test_any_name_goes_through(outputs, stem):
    """A clip of any name is published under it, and its promise survives the journal."""
    path = b"day 1/" + stem + b".mp4"
    base = next(layout.bases(layout.split(path)[1]))

    def names(version):
        return [layout.output("{folder}/{stem}/{stem}_{kind}.mp4", path, base, "aug", version)]

    publisher, sealed = promise(outputs, names=names)
    stored = Sealed.from_json(sealed.to_json())
    assert stored == sealed
    assert publisher.publish(stored).gone == ()
    folder = outputs / "day 1" / os.fsdecode(base)
    assert [os.fsencode(name) for name in listing(folder)] == [base + b"_aug.json", base + b"_aug.mp4"]


def test_too_long_a_name_is_refused(outputs):
    with pytest.raises(OutputRefused, match="File name too long"):
        promise(outputs, names=lambda version: [b"y" * 300 + b"%d.mp4" % version])


def test_every_version_taken_is_refused(outputs, monkeypatch):
    """A clip that has every version already is refused in words."""
    monkeypatch.setattr("povwatch.publish.publisher.VERSION_MAX", 2)
    for job in (1, 2):
        publisher, sealed = promise(outputs, job=job, data=b"%d" % job)
        publisher.publish(sealed)
    with pytest.raises(OutputRefused, match="all its versions up to 2"):
        promise(outputs, job=3, data=b"3")


def test_two_files_never_share_a_name(outputs):
    with pytest.raises(ValueError, match="one name"):
        promise(outputs, names=lambda _: [b"clip.json"])


def test_staging_is_private(outputs):
    """Staging is private, and safe to ask for twice."""
    publisher = Publisher(outputs)
    room = publisher.staging.make(7, "ab")
    assert room == outputs / ".povwatch/7.ab"
    (room / "kept").touch()
    assert publisher.staging.make(7, "ab") == room
    assert (room / "kept").exists()
    for folder in (room, room.parent):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
    assert publisher.staging.checkpoints(7) == outputs / ".povwatch/7/chunks"
    assert (outputs / ".povwatch/7/chunks").is_dir()


def test_discard_keeps_the_checkpoints(outputs):
    """discard keeps the checkpoints, and finish does not."""
    publisher = Publisher(outputs)
    for job, run in ((1, "a"), (1, "b"), (11, "a")):
        (publisher.staging.make(job, run) / "sub").mkdir()
        publisher.staging.checkpoints(job)
    publisher.staging.delete_attempt(1, "a")
    assert listing(outputs / ".povwatch") == ["1", "1.b", "11", "11.a"]
    publisher.staging.delete_job(1)
    assert listing(outputs / ".povwatch") == ["11", "11.a"]
    publisher.staging.delete_job(1)


def test_sweep_takes_no_strangers(outputs):
    """sweep removes what belongs to no job, and nothing of others."""
    publisher = Publisher(outputs)
    assert publisher.staging.sweep((), ()) == 0
    for job, run in ((1, "a"), (1, "b"), (2, "c")):
        publisher.staging.make(job, run)
        publisher.staging.checkpoints(job)
    (outputs / ".povwatch/notes").mkdir()
    (outputs / ".povwatch/3").symlink_to(outputs)
    (outputs / "clip").mkdir()
    assert publisher.staging.sweep(keep={1}, keep_attempts={"b"}) == 3
    assert listing(outputs / ".povwatch") == ["1", "1.b", "3", "notes"]
    assert (outputs / "clip").is_dir()


def test_sweep_takes_hook_copies(outputs):
    """sweep removes the copies for any job's hook, and leaves its checkpoints."""
    publisher = Publisher(outputs)
    for job in (1, 2):
        (publisher.staging.for_hooks(job) / "clip.mp4").touch()
    (publisher.staging.checkpoints(1) / "0.mp4").touch()
    publisher.staging.sweep(keep={1, 2}, keep_attempts=())
    assert listing(outputs / ".povwatch") == ["1"]
    assert listing(outputs / ".povwatch/1") == ["chunks"]
    assert listing(outputs / ".povwatch/1/chunks") == ["0.mp4"]


def test_no_descriptor_is_left_open(outputs):
    def run(job):
        publisher, sealed = promise(outputs, job=job, data=b"%d" % job)
        publisher.publish(sealed)
        with contextlib.suppress(CheckFailed):
            publisher.seal(job, "ab", [outputs], names=names_of(), describe=describe)
        publisher.staging.delete_job(job)

    run(1)
    before = len(listing(Path("/proc/self/fd")))
    for job in range(2, 6):
        run(job)
    assert len(listing(Path("/proc/self/fd"))) == before


entries = st.builds(Entry, st.binary(), st.binary(), st.integers(0, 2**60), st.text("0123456789abcdef"))


@given(st.builds(Sealed, st.integers(1), st.text(), st.integers(1, 999), st.lists(entries, min_size=1).map(tuple)))
def test_promise_survives_the_journal(sealed):
    text = sealed.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert Sealed.from_json(text) == sealed


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", '{"job_id": 1, "run_id": "a", "version": 1, "entries": []}']
)
def test_broken_promise_is_a_journal_error(text):
    with pytest.raises(JournalError, match="cannot be read"):
        Sealed.from_json(text)


def test_full_disk_stops_staging_in_words(outputs, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", functools.partial(full))
    with pytest.raises(DiskFull, match="No space left on device"):
        Publisher(outputs).staging.make(1, "ab")


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EXDEV, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_no_advice_to_do_it_by_hand(tmp_path, number):
    """Nobody is told to do again what is tried again by itself."""
    error = translate_output_error(OSError(number, os.strerror(number)), tmp_path, b"a/a_aug.mp4")
    assert error.todo
    assert "retry" not in str(error)
