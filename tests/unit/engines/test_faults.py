import errno
from typing import get_args

import pytest

from povwatch.core import machine_faults
from povwatch.engines.faults import MESSAGE_MAX, classify
from povwatch.engines.port import EngineFailure, FailureKind


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


class AcceleratorError(RuntimeError):
    """As torch calls its own."""


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (MemoryError(), "out-of-memory", "MemoryError"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory", "Tried to allocate 2 GiB"),
        (AcceleratorError("CUDA error: out of memory"), "out-of-memory", "out of memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "sticky", "illegal memory"),
        (RuntimeError("CUDA error: device-side assert triggered"), "sticky", "device-side"),
        (RuntimeError("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."), "gpu-lost", "fallen"),
        (RuntimeError("CUDA error: GPU is lost"), "gpu-lost", "lost"),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), "gpu-busy", "busy"),
        (OSError(errno.ENOSPC, "No space left on device", "/w/out.mp4"), "disk-full", "/w/out.mp4"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk-full", "Disk quota exceeded"),
        (OSError(errno.EACCES, "Permission denied"), "not-writable", "Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "not-writable", "Read-only"),
        (OSError(errno.EMFILE, "Too many open files"), "shortage", "Too many open files"),
        (OSError(errno.EIO, "Input/output error"), "disk-failing", "Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle"), "outputs-away", "Stale"),
        (RuntimeError("can't start new thread"), "shortage", "Resource temporarily unavailable"),
        (ValueError("I/O error: No space left on device (os error 28)"), "disk-full", "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "error", "No such file"),
        (KeyError("720i"), "error", "KeyError: '720i'"),
        (SystemExit(1), "error", "sys.exit(1)"),
        (KeyboardInterrupt(), "error", "KeyboardInterrupt"),
        (EngineFailure("invalid", "Too long.", "Cut it."), "invalid", "Too long."),
        (caused(ValueError("decode"), OutOfMemoryError("CUDA out of memory")), "out-of-memory", "ValueError: decode"),
        (caused(ValueError("decode"), EngineFailure("gpu-busy", "held")), "gpu-busy", "ValueError: decode"),
    ],
)
def test_exception_known_by_class_and_text(error, kind, message):
    """An exception's kind follows from its class, its text, and its causes."""
    found, said, _ = classify(error)
    assert (found, message in said) == (kind, True), said
    assert found in get_args(FailureKind)


class FFmpegsOSError(OSError):
    """As PyAV calls its own."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FFmpegsOSError(errno.ENOSPC, "No space left on device", "/proc/self/fd/999"),
            "No space is left for {work} (No space left on device).",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space is left for {work} (No space left on device)."),
        (
            OSError(errno.ENOSPC, "No space left on device", "/scratch/frame.png"),
            "No space is left for /scratch/frame.png (No space left on device).",
        ),
        (
            caused(ValueError("the muxer failed"), OSError(errno.EROFS, "Read-only file system", b"/w/out.mp4")),
            "/w/out.mp4 cannot be written (Read-only file system).",
        ),
        (
            ValueError("I/O error: No space left on device (os error 28)"),
            "No space is left for {work} (No space left on device).",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/models/lut.cube"),
            "povwatch's user may not open /models/lut.cube (Permission denied).",
        ),
        (RuntimeError("can't start new thread"), "povwatch could not generate: Resource temporarily unavailable."),
        (OSError(errno.EIO, "Input/output error"), "{work} could not be read or written: Input/output error."),
        (
            caused(ValueError("saving"), EngineFailure("disk-full", "The cache is full.", "Empty it.")),
            "The cache is full.",
        ),
    ],
)
def test_machine_refusal_has_its_words(tmp_path, error, said):
    """What the machine refuses is said in the words of machine_faults, with the path."""
    kind, what, todo = classify(error, str(tmp_path))
    assert kind in machine_faults.KINDS
    assert what == said.format(work=tmp_path)
    assert todo.endswith(".")


def test_descriptor_is_named_by_its_path(tmp_path):
    """A file that an error names by its descriptor is named by its path."""
    with (tmp_path / "out.mp4").open("wb") as file:
        error = FFmpegsOSError(errno.ENOSPC, "No space left on device", f"/proc/self/fd/{file.fileno()}")
        assert classify(error, "/work")[1] == f"No space is left for {tmp_path}/out.mp4 (No space left on device)."


@pytest.mark.parametrize(
    ("error", "said", "todo"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/cache/model.bin"),
            "The engine could not be loaded: No space left on device (/cache/model.bin).",
            "Free some; it goes on by itself when there is room.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/models/model.bin"),
            "The engine could not be loaded: Permission denied (/models/model.bin).",
            "Give povwatch's user the right to use it; it goes on by itself then.",
        ),
        (
            RuntimeError("can't start new thread"),
            "The engine could not be loaded: Resource temporarily unavailable.",
            machine_faults.TODO[errno.EAGAIN],
        ),
    ],
)
def test_load_that_the_machine_refuses(error, said, todo):
    """What the machine refuses while loading is said so, with what helps."""
    assert classify(error)[1:] == (said, todo)


def test_context_of_an_error_counts():
    """An error that was being handled counts as a cause, unless it was suppressed."""
    first = OSError(errno.ENOSPC, "No space left on device")
    second = ValueError("cleaning up")
    second.__context__ = first
    assert classify(second)[0] == "disk-full"
    second.__suppress_context__ = True
    assert classify(second)[0] == "error"


def test_circle_of_causes_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert classify(first)[0] == "error"


def test_engines_own_advice_stands():
    assert classify(EngineFailure("out-of-memory", "11.6 GiB", "Use 480."))[2] == "Use 480."
    assert classify(EngineFailure("out-of-memory", "11.6 GiB"))[2] != ""


def test_message_has_an_end():
    """A message is cut at its limit."""
    assert len(classify(ValueError("x" * 10**6))[1]) == MESSAGE_MAX
