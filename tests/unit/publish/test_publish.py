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
from povwatch.publish.faults import translated

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


def test_nothing_is_visible_until_publish_and_then_the_pair_is(outputs):
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
    publisher.staging.finish(1)
    assert listing(outputs / ".povwatch") == []


def test_publishing_again_changes_nothing(outputs):
    publisher, sealed = promise(outputs)
    first = publisher.publish(sealed)
    before = {p: p.stat().st_ino for p in (outputs / "clip").iterdir()}
    assert publisher.publish(sealed) == first
    assert {p: p.stat().st_ino for p in (outputs / "clip").iterdir()} == before


def test_a_crash_at_any_call_of_publish_is_recovered_to_one_whole_pair(tmp_path):
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


def test_a_crash_during_the_recovery_is_recovered_too(tmp_path):
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


def test_a_crash_at_any_call_of_seal_shows_nothing_and_leaves_only_what_sweep_takes(tmp_path):
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
        assert Publisher(outputs).staging.sweep(keep={1}, keep_runs=()) == 1
        assert listing(outputs / ".povwatch") == []
        if not crashed:
            break
    assert number > 15


def test_a_crash_at_any_call_of_reseal_keeps_the_old_promise_good(tmp_path):
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


def test_bytes_and_names_are_on_the_disk_in_the_right_order(outputs, monkeypatch):
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


def test_an_observer_never_sees_part_of_a_file(outputs):
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


def test_another_run_gets_the_next_version_for_all_its_files(outputs):
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher, second = promise(outputs, job=2, data=b"another")
    assert second.version == 2
    assert publisher.publish(second).visible == (b"clip/clip_aug_v2.mp4", b"clip/clip_aug_v2.json")
    shown = visible(outputs)
    assert shown["clip/clip_aug.mp4"] == VIDEO
    assert shown["clip/clip_aug_v2.mp4"] == b"another"
    assert b"clip_aug_v2.mp4" in shown["clip/clip_aug_v2.json"]


def test_the_same_bytes_are_published_once(outputs):
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
    (outputs / "clip").mkdir()
    at = outputs / "clip" / name
    occupy(at)
    before = os.lstat(at)
    publisher, sealed = promise(outputs)
    assert sealed.version == 2
    assert publisher.publish(sealed).gone == ()
    assert (outputs / "clip/clip_aug_v2.mp4").read_bytes() == VIDEO
    assert os.lstat(at).st_ino == before.st_ino


def test_the_other_files_of_the_folder_are_left_alone(outputs):
    (outputs / "clip").mkdir()
    overlay = outputs / "clip/1_mano_overlay.mp4"
    overlay.write_bytes(b"hands")
    before = overlay.stat()
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher.staging.finish(1)
    assert sealed.version == 1
    assert overlay.read_bytes() == b"hands"
    assert overlay.stat().st_ctime_ns == before.st_ctime_ns


@pytest.mark.parametrize("when", ["seal", "preflight", "publish", "reseal"])
def test_a_symlink_in_place_of_a_folder_is_refused_by_name(outputs, tmp_path, when):
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


def test_a_file_in_place_of_a_folder_is_refused_by_name(outputs):
    (outputs / "day1").write_text("")
    with pytest.raises(OutputRefused, match=r"outputs/day1 is a file, where a folder is needed"):
        Publisher(outputs).preflight(b"day1/clip/clip_aug.mp4")


@pytest.mark.parametrize(
    ("mode", "kind"), [(stat.S_IFREG, "a file"), (stat.S_IFIFO, "a named pipe"), (stat.S_IFSOCK, "a socket")]
)
@pytest.mark.parametrize("name", ["day1", ".povwatch"])
def test_only_of_a_link_it_is_said_that_nothing_is_written_through_one(outputs, mode, kind, name):
    os.mknod(outputs / name, mode | 0o600)
    with pytest.raises((OutputRefused, OutputsTaken)) as refusal:
        need_folder(outputs, name)
    assert refusal.value.what == f"{outputs}/{name} is {kind}, where a folder is needed."
    assert refusal.value.todo == "Remove it or move it away: povwatch makes that folder itself."


@pytest.mark.parametrize("name", ["day1", ".povwatch"])
def test_of_a_link_it_is_said(outputs, tmp_path, name):
    (outputs / name).symlink_to(tmp_path)
    with pytest.raises((OutputRefused, OutputsTaken)) as refusal:
        need_folder(outputs, name)
    assert refusal.value.what == f"{outputs}/{name} is a symlink to {tmp_path}, where a folder is needed."
    assert refusal.value.todo == "Results are never written through a link: remove it or move it away."


def test_preflight_is_content_with_a_folder_that_is_there_or_missing(outputs):
    (outputs / "there").mkdir()
    Publisher(outputs).preflight(b"there/clip_aug.mp4")
    Publisher(outputs).preflight(b"missing/deeper/clip_aug.mp4")
    assert listing(outputs) == ["there"]


def test_a_symlink_in_place_of_the_staging_folder_is_refused(outputs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (outputs / ".povwatch").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputsAway, match=r"outputs/\.povwatch is a symlink"):
        Publisher(outputs).staging.make(1, "ab")
    with pytest.raises(OutputRefused, match=r"outputs/\.povwatch is a symlink"):
        Publisher(outputs).staging.sweep((), ())


def test_a_name_taken_after_the_seal_is_told_and_resealed(outputs):
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


def test_a_reseal_that_was_never_committed_leaves_the_old_promise_whole(outputs):
    publisher, sealed = promise(outputs)
    (outputs / "clip").mkdir()
    (outputs / "clip/clip_aug.mp4").write_text("somebody's")
    with pytest.raises(TargetTaken):
        publisher.publish(sealed)
    (outputs / "clip/clip_aug.mp4").unlink()
    assert publisher.reseal(sealed, names=names_of(), describe=lambda _: b"later").version == 2
    assert publisher.publish(sealed).gone == ()
    assert hashlib.sha256(visible(outputs)["clip/clip_aug.json"]).hexdigest() == sealed.entries[-1].sha256


def test_what_somebody_took_is_noted_and_not_made_again(outputs):
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    (outputs / "clip/clip_aug.mp4").unlink()
    published = publisher.publish(sealed)
    assert published == Published((b"clip/clip_aug.json",), (b"clip/clip_aug.mp4",))
    assert "clip/clip_aug.mp4" in published.note
    assert not (outputs / "clip/clip_aug.mp4").exists()


def test_what_somebody_changed_is_noted_and_kept(outputs):
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    (outputs / "clip/clip_aug.mp4").write_text("cut")
    assert publisher.publish(sealed).gone == (b"clip/clip_aug.mp4",)
    assert (outputs / "clip/clip_aug.mp4").read_text() == "cut"


def test_a_room_that_is_gone_is_no_obstacle_where_the_files_are_there(outputs):
    publisher, sealed = promise(outputs)
    publisher.publish(sealed)
    publisher.staging.discard(1, "ab")
    assert publisher.publish(sealed).gone == ()


def test_an_empty_mount_point_is_not_mistaken_for_a_theft(outputs, tmp_path):
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
def test_a_failed_sync_costs_the_sealed_files_and_nothing_that_was_generated(outputs, monkeypatch, code, error, at):
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
def test_a_failed_sync_of_the_target_is_told_and_the_promise_stands(outputs, code, error):
    publisher, sealed = promise(outputs)
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, code, lambda path: path.endswith("/clip"))
        with pytest.raises(error, match=r"outputs/clip/clip_aug\.mp4"):
            publisher.publish(sealed)
    assert publisher.publish(sealed).gone == ()


def test_it_can_be_called_off_while_a_large_file_is_read(outputs):
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


def test_the_engine_has_to_leave_plain_files_of_its_own(outputs, tmp_path):
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


def test_without_renameat2_a_link_does_and_still_nothing_is_overwritten(outputs, monkeypatch):
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
def test_results_are_readable_under_the_umask_and_get_the_folders_group(outputs, umask):
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


def test_a_name_too_long_is_refused_in_words(outputs):
    with pytest.raises(OutputRefused, match="File name too long"):
        promise(outputs, names=lambda version: [b"y" * 300 + b"%d.mp4" % version])


def test_a_clip_that_has_every_version_already_is_refused_in_words(outputs, monkeypatch):
    monkeypatch.setattr("povwatch.publish.publisher.VERSION_MAX", 2)
    for job in (1, 2):
        publisher, sealed = promise(outputs, job=job, data=b"%d" % job)
        publisher.publish(sealed)
    with pytest.raises(OutputRefused, match="all its versions up to 2"):
        promise(outputs, job=3, data=b"3")


def test_two_files_of_a_job_never_share_a_name(outputs):
    with pytest.raises(ValueError, match="one name"):
        promise(outputs, names=lambda _: [b"clip.json"])


def test_staging_is_private_and_safe_to_ask_for_twice(outputs):
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


def test_discard_keeps_the_checkpoints_and_finish_does_not(outputs):
    publisher = Publisher(outputs)
    for job, run in ((1, "a"), (1, "b"), (11, "a")):
        (publisher.staging.make(job, run) / "sub").mkdir()
        publisher.staging.checkpoints(job)
    publisher.staging.discard(1, "a")
    assert listing(outputs / ".povwatch") == ["1", "1.b", "11", "11.a"]
    publisher.staging.finish(1)
    assert listing(outputs / ".povwatch") == ["11", "11.a"]
    publisher.staging.finish(1)


def test_sweep_takes_what_belongs_to_nobody_and_no_strangers(outputs):
    publisher = Publisher(outputs)
    assert publisher.staging.sweep((), ()) == 0
    for job, run in ((1, "a"), (1, "b"), (2, "c")):
        publisher.staging.make(job, run)
        publisher.staging.checkpoints(job)
    (outputs / ".povwatch/notes").mkdir()
    (outputs / ".povwatch/3").symlink_to(outputs)
    (outputs / "clip").mkdir()
    assert publisher.staging.sweep(keep={1}, keep_runs={"b"}) == 3
    assert listing(outputs / ".povwatch") == ["1", "1.b", "3", "notes"]
    assert (outputs / "clip").is_dir()


def test_sweep_takes_the_copies_for_a_hook_whosever_they_are_and_leaves_the_checkpoints(outputs):
    publisher = Publisher(outputs)
    for job in (1, 2):
        (publisher.staging.for_hooks(job) / "clip.mp4").touch()
    (publisher.staging.checkpoints(1) / "0.mp4").touch()
    publisher.staging.sweep(keep={1, 2}, keep_runs=())
    assert listing(outputs / ".povwatch") == ["1"]
    assert listing(outputs / ".povwatch/1") == ["chunks"]
    assert listing(outputs / ".povwatch/1/chunks") == ["0.mp4"]


def test_no_descriptor_is_left_open(outputs):
    def run(job):
        publisher, sealed = promise(outputs, job=job, data=b"%d" % job)
        publisher.publish(sealed)
        with contextlib.suppress(CheckFailed):
            publisher.seal(job, "ab", [outputs], names=names_of(), describe=describe)
        publisher.staging.finish(job)

    run(1)
    before = len(listing(Path("/proc/self/fd")))
    for job in range(2, 6):
        run(job)
    assert len(listing(Path("/proc/self/fd"))) == before


entries = st.builds(Entry, st.binary(), st.binary(), st.integers(0, 2**60), st.text("0123456789abcdef"))


@given(st.builds(Sealed, st.integers(1), st.text(), st.integers(1, 999), st.lists(entries, min_size=1).map(tuple)))
def test_a_promise_survives_the_journal(sealed):
    text = sealed.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert Sealed.from_json(text) == sealed


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "{}", '{"job_id": 1, "run_id": "a", "version": 1, "entries": []}']
)
def test_a_broken_promise_is_a_journal_error(text):
    with pytest.raises(JournalError, match="cannot be read"):
        Sealed.from_json(text)


def test_a_full_disk_stops_the_making_of_rooms_in_words(outputs, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", functools.partial(full))
    with pytest.raises(DiskFull, match="No space left on device"):
        Publisher(outputs).staging.make(1, "ab")


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EXDEV, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EIO])
def test_nobody_is_told_to_do_again_what_is_tried_again_by_itself(tmp_path, number):
    error = translated(OSError(number, os.strerror(number)), tmp_path, b"a/a_aug.mp4")
    assert error.todo
    assert "retry" not in str(error)
