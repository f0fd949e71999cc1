"""The table of what the machine may refuse: every error number in every place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from povwatch.core import errors, machine_faults, retry
from povwatch.core.job import Waiting
from povwatch.core.machine_faults import CAUSES, IN_INPUTS, IN_OUTPUTS, KINDS, TABLE, UNTIL, Cause, Place
from povwatch.media.errors import NoProcess

ASKED = [
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT),
    *(errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT),
]
"""The least of them."""

EVERYWHERE = [place for place in Place if place is not Place.PROCESS]


def meant(code: int, place: Place) -> errors.PovwatchError:
    return machine_faults.translated(OSError(code, os.strerror(code)), place, "/srv/outputs/.povwatch/1.ab")


@pytest.mark.parametrize("place", EVERYWHERE)
@pytest.mark.parametrize("code", ASKED)
def test_every_error_has_a_row_in_each_place(code, place) -> None:
    """Every error number has, in each place, an error class, a reason and advice."""
    row = TABLE[code, place]
    assert row.waits
    assert not row.on or row.on in set(Waiting)
    error = meant(code, place)
    assert isinstance(error, row.error)
    assert os.strerror(code) in error.what or place is Place.PROCESS
    assert error.todo
    assert "{" not in str(error)
    assert "retry" not in str(error)


@pytest.mark.parametrize("place", [*IN_OUTPUTS, *IN_INPUTS, Place.SOURCE])
@pytest.mark.parametrize("code", ASKED)
def test_machine_fault_charges_nothing(code, place) -> None:
    """A fault of the machine releases the job, and shows what it waits on."""
    decision = retry.decide(meant(code, place), attempts=3, limit=3, now=100.0)
    assert decision.action is retry.Action.RELEASE
    row = TABLE[code, place]
    assert decision.at <= 100.0 + max(row.until.longest, 60.0)
    if row.on:
        assert decision.waiting == Waiting(row.on)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_unreadable_clip_waits_alone(code) -> None:
    """A clip that may not be read waits alone; our own folder holds the queue."""
    assert isinstance(meant(code, Place.SOURCE), errors.SourceChanged)
    assert isinstance(meant(code, Place.PRIVATE_FOLDER), errors.OutputsNotWritable)
    assert isinstance(meant(code, Place.SPEC), errors.InputsRefused)


def test_other_errors_are_in_no_row() -> None:
    """What the machine is not to blame for is in no row."""
    assert isinstance(meant(errno.ENOENT, Place.FINISH), errors.CheckFailed)
    assert isinstance(meant(errno.ENOENT, Place.SOURCE), errors.SourceChanged)
    assert isinstance(meant(errno.ENOENT, Place.SEAL), errors.OutputsAway)
    assert isinstance(meant(errno.EFBIG, Place.SEAL), errors.AttemptFailed)
    assert machine_faults.blamed(OSError(errno.ENOENT, "x"), Place.PREPARE, "x") is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), errno.ENOMEM),
        (RuntimeError("can't start new thread"), errno.EAGAIN),
        (ImportError("libx.so: failed to map segment from shared object"), errno.ENOMEM),
        (ImportError("libx.so: cannot open shared object file: Too many open files"), errno.EMFILE),
        (RuntimeError("Too many open files in system"), errno.ENFILE),
        (OSError(errno.EROFS, "Read-only file system"), errno.EROFS),
        (OSError("no number"), None),
        (ValueError("No space left on device"), None),
        (RuntimeError("no CUDA here"), None),
    ],
)
def test_error_without_a_number(error, code) -> None:
    """An exception without an error number is known by its class or its words."""
    assert machine_faults.code_of(error) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OSError: [Errno 24] Too many open files: '/usr/lib'", errno.EMFILE),
        ("SafetensorError: I/O error: (os error 28)", errno.ENOSPC),
        ("write: Read-only file system", errno.EROFS),
        ("Permission denied", None),
    ],
)
def test_last_words_name_the_cause(text, code) -> None:
    """The last words of a program name the cause."""
    assert machine_faults.code_in(text) == code


def test_pauses_grow_to_their_longest() -> None:
    assert [machine_faults.RESOURCES_AGAIN.pause(n) for n in (1, 2, 3, 6, 99)] == [2, 4, 8, 60, 60]
    assert [machine_faults.DISK_REPAIRED.pause(n) for n in (1, 2, 6, 99)] == [30, 60, 900, 900]


def test_subclass_has_its_classes_pauses() -> None:
    """An error of a finer class has the pauses of its own class."""
    for error in (errors.Shortage("."), NoProcess(".")):
        assert machine_faults.retry_times(error) is machine_faults.RESOURCES_AGAIN
    assert machine_faults.retry_times(errors.OutputsTaken(".")) is machine_faults.OUTPUTS_BACK
    assert machine_faults.retry_times(errors.GpuLost(".")) is None


def test_each_class_waits_for_one_thing() -> None:
    """A class that comes from another process says no more than its name."""
    shown: dict[type, set[str]] = {}
    for row in TABLE.values():
        if row.on:
            shown.setdefault(row.error, set()).add(row.on)
    assert {kind for kind, on in shown.items() if len(on) > 1} == set()
    assert shown.keys() <= UNTIL.keys()


def test_worker_can_name_every_class() -> None:
    """A worker can name every class of error that generating may end in."""
    assert {TABLE[code, Place.GENERATE].error for code in CAUSES} == set(KINDS.values())


def test_process_place_lacks_means_alone() -> None:
    """No process can be started only where means are lacking."""
    codes = {code for code, place in TABLE if place is Place.PROCESS}
    assert codes == {code for code, cause in CAUSES.items() if cause is Cause.RESOURCES}


def test_document_has_the_table() -> None:
    assert machine_faults.table() in (Path(__file__).parents[3] / "docs" / "reliability.md").read_text()
