"""What this machine may refuse povwatch, and what follows, in one table. Python 3.10, standard library alone.

TABLE has a row for each error number and each place: the error raised, what waits, on what, until when, and the
sentence for people. `python -m povwatch.core.machine_faults` prints it for docs/reliability.md. The rules:

1. No clip is charged for what the machine refuses. The attempt is given back, and complete files are kept.
2. If every clip would meet the same fault (the private folder cannot be written), the queue waits, not each clip.
3. What waits goes on by itself: a watch sees that the fault is over, or it is tried again after a growing pause.
4. A file that the user owns concerns one clip: a clip that may not be read waits alone.
5. A file that was written before the disk reported an error is never synced again: it is deleted and made again.

Workers read this file, so it imports nothing that needs more than their Python.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import resource
import tempfile
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from povwatch.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place(Enum):
    """Where the fault occurs. The value continues "povwatch could not"."""

    PRIVATE_FOLDER = "make a private folder"
    COPY = "copy the clip"
    SOURCE = "read the clip"
    PREPARE = "prepare the working copy"
    GENERATE = "generate"
    FINISH = "finish the result"
    CHECK = "check the result"
    SEAL = "seal the result"
    PUBLISH = "publish the result"
    HOOK = "make a hook's files"
    READ_SPEC = "read the JSON"
    SPEC = "write the JSON"
    ERROR_FILE = "write the error file"
    REPORT = "write the report"
    PAGE = "write the page"
    PROCESS = "start a process or a thread"
    JOURNAL = "write the journal"


class Cause(Enum):
    """Why the machine does not allow something."""

    DISK_SPACE = "disk space"
    RIGHTS = "rights"
    RESOURCES = "resources"
    """Memory, open files or processes are short, which all programs share."""
    DISK_FAILS = "disk fails"
    """The disk cannot read or write."""
    DISK_AWAY = "disk away"
    """The disk, or its server, does not answer."""


@dataclass(frozen=True)
class Until:
    """When something that waits goes on."""

    watch: str
    """The watch that sees the fault end, for people; empty if there are only further tries."""
    first: float
    """Seconds until the first further try."""
    longest: float
    """Seconds of the longest pause. Each pause is twice the one before."""

    def pause(self, times: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.longest, self.first * 2.0 ** min(max(times - 1, 0), 16))


@dataclass(frozen=True)
class Rule:
    """A row of TABLE: what follows from an error number in a place."""

    error: type[errors.PovwatchError]
    waits: str
    """What waits: the queue, the clip, or nothing."""
    on: str
    """The value of `job.Waiting` that is shown; empty if nothing waits."""
    until: Until
    sentence: str
    """`{where}` is the path, `{doing}` the place, `{verb}` its first word; `{reason}` is the system's text."""
    todo: str


DISK_SPACE_AGAIN = Until("the watch of free space sees that there is room", 30.0, 30.0)
OUTPUTS_WRITABLE = Until("the watch of outputs/ makes a file in outputs/.povwatch", 2.0, 60.0)
OUTPUTS_BACK = Until("the watch of outputs/ sees that it is there", 2.0, 60.0)
RESOURCES_AGAIN = Until("", 2.0, 60.0)
DISK_REPAIRED = Until("", 30.0, 900.0)
"""Long pauses: each try costs a worker's time and probably meets the same disk."""
CLIP_READABLE = Until("the arrival stage reads the clip", 0.0, 60.0)
INPUTS_TAKE_IT = Until("the grace stage tries it at each check", 2.0, 60.0)
ERROR_FILE_LATER = Until("it is tried every 5 s", 5.0, 5.0)
JOURNAL_TAKES_IT = Until("the daemon makes a file in paths.state", 1.0, 8.0)
NEVER = Until("", 0.0, 0.0)

CAUSES: dict[int, Cause] = {
    errno.ENOSPC: Cause.DISK_SPACE,
    errno.EDQUOT: Cause.DISK_SPACE,
    errno.EROFS: Cause.RIGHTS,
    errno.EACCES: Cause.RIGHTS,
    errno.EPERM: Cause.RIGHTS,
    errno.EMFILE: Cause.RESOURCES,
    errno.ENFILE: Cause.RESOURCES,
    errno.ENOMEM: Cause.RESOURCES,
    errno.EAGAIN: Cause.RESOURCES,
    errno.EIO: Cause.DISK_FAILS,
    errno.EUCLEAN: Cause.DISK_FAILS,
    errno.EBADMSG: Cause.DISK_FAILS,
    errno.ESTALE: Cause.DISK_AWAY,
    errno.ENODEV: Cause.DISK_AWAY,
    errno.ENOTCONN: Cause.DISK_AWAY,
    errno.ETIMEDOUT: Cause.DISK_AWAY,
    errno.EHOSTDOWN: Cause.DISK_AWAY,
    errno.EHOSTUNREACH: Cause.DISK_AWAY,
    errno.ECONNABORTED: Cause.DISK_AWAY,
    errno.ECONNRESET: Cause.DISK_AWAY,
}
"""Error number -> cause."""

TODO: dict[int, str] = {
    errno.ENOSPC: "Free some; it goes on by itself when there is room.",
    errno.EDQUOT: "Free some of povwatch's share, or raise its quota; it goes on by itself when there is room.",
    errno.EROFS: "Mount it writable again; `journalctl -k` says why it is not. It goes on by itself then.",
    errno.EACCES: "Let povwatch's user write there; it goes on by itself then.",
    errno.EPERM: "Let povwatch's user write there; it goes on by itself then.",
    errno.EMFILE: "povwatch has too many files open: raise its limit (ulimit -n, LimitNOFILE under systemd).",
    errno.ENFILE: "The whole machine has too many files open: end what holds them, or raise fs.file-max.",
    errno.ENOMEM: "Free some memory, or raise MemoryMax where a limit is set.",
    errno.EAGAIN: "End some processes, or raise the limit (ulimit -u, TasksMax under systemd).",
}
"""Error number -> what to do. The other numbers have LOOK_AT_THE_DISK and MOUNT_IT."""

LOOK_AT_THE_DISK = "The disk may be failing: look at `journalctl -k`. What was written is thrown away and made again."
MOUNT_IT = "Is its disk mounted, and does its server answer? Mount it again; it goes on by itself then."
ENGINES_RIGHTS = "Give povwatch's user the right to use it; it goes on by itself then."
CLIPS_RIGHTS = "Let povwatch's user read the clip: chmod g+r."
INPUTS_RIGHTS = "Give povwatch's user the right to write in that folder: chmod g+w, and chgrp if need be."

IN_OUTPUTS = (
    *(Place.PRIVATE_FOLDER, Place.COPY, Place.PREPARE, Place.GENERATE, Place.FINISH, Place.CHECK),
    *(Place.SEAL, Place.PUBLISH, Place.HOOK),
)
"""The places inside povwatch's own folders."""

IN_INPUTS = (Place.READ_SPEC, Place.SPEC, Place.ERROR_FILE)

WAITS = {
    **dict.fromkeys(
        (Place.PRIVATE_FOLDER, Place.COPY, Place.PREPARE, Place.GENERATE), "the queue; the attempt is given back"
    ),
    **dict.fromkeys((Place.FINISH, Place.CHECK, Place.SEAL), "the clip, with what was generated"),
    Place.PUBLISH: "the clip, with its promise",
    Place.HOOK: "the clip; the hook's attempt is given back",
    Place.SOURCE: "the clip; it arrives anew",
    **dict.fromkeys((Place.READ_SPEC, Place.SPEC), "the clip; its grace stands still"),
    Place.ERROR_FILE: "nothing; the file is kept in the journal",
    Place.REPORT: "nothing; the journal has it all",
    Place.PAGE: "nothing; it is tried every 30 s",
    Place.PROCESS: "what it was for",
    Place.JOURNAL: "everything, in the middle of the step",
}


def _in_outputs(code: int, place: Place) -> Rule:
    waits = WAITS[place]
    match CAUSES[code]:
        case Cause.DISK_SPACE:
            sentence = "No space is left for {where} ({reason})."
            return Rule(errors.DiskFull, waits, "disk-full", DISK_SPACE_AGAIN, sentence, TODO[code])
        case Cause.RIGHTS:
            sentence, todo = "{where} cannot be written ({reason}).", TODO[code]
            if place is Place.GENERATE and code != errno.EROFS:  # engines also open their user's files
                sentence, todo = "povwatch's user may not open {where} ({reason}).", ENGINES_RIGHTS
            return Rule(errors.OutputsNotWritable, waits, "paused", OUTPUTS_WRITABLE, sentence, todo)
        case Cause.RESOURCES:
            sentence = "povwatch could not {doing}: {reason}."
            return Rule(errors.Shortage, waits, "paused", RESOURCES_AGAIN, sentence, TODO[code])
        case Cause.DISK_FAILS:
            sentence = "{where} could not be read or written: {reason}."
            return Rule(errors.WriteFailed, waits, "paused", DISK_REPAIRED, sentence, LOOK_AT_THE_DISK)
        case _:
            return Rule(errors.OutputsAway, waits, "paused", OUTPUTS_BACK, "{where} is not there ({reason}).", MOUNT_IT)


def _source(code: int, place: Place) -> Rule:
    if CAUSES[code] is Cause.RESOURCES:
        sentence = "povwatch could not {doing}: {reason}."
        return Rule(errors.Shortage, WAITS[Place.PREPARE], "paused", RESOURCES_AGAIN, sentence, TODO[code])
    todo = {Cause.RIGHTS: CLIPS_RIGHTS, Cause.DISK_AWAY: MOUNT_IT}.get(CAUSES[code], "Look at `journalctl -k`.")
    sentence = "{where} cannot be read: {reason}."
    return Rule(errors.SourceChanged, WAITS[place], "settling", CLIP_READABLE, sentence, todo)


def _in_inputs(code: int, place: Place) -> Rule:
    until = ERROR_FILE_LATER if place is Place.ERROR_FILE else INPUTS_TAKE_IT
    on = "" if place is Place.ERROR_FILE else "inputs-refused"
    match CAUSES[code]:
        case Cause.DISK_SPACE:
            sentence = "No space left for {where} ({reason})."
            return Rule(errors.DiskFull, WAITS[place], on and "disk-full", until, sentence, TODO[code])
        case Cause.RESOURCES:
            sentence = "Cannot {verb} {where}: {reason}."
            return Rule(errors.Shortage, WAITS[place], on and "paused", until, sentence, TODO[code])
        case Cause.RIGHTS:
            todo = TODO[code] if code == errno.EROFS else INPUTS_RIGHTS
            sentence = "May not {verb} {where}: {reason}."
            return Rule(errors.InputsRefused, WAITS[place], on, until, sentence, todo)
        case cause:
            todo = MOUNT_IT if cause is Cause.DISK_AWAY else "Look at `journalctl -k`; it is tried again."
            sentence = "Cannot {verb} {where}: {reason}."
            return Rule(errors.InputsRefused, WAITS[place], on, until, sentence, todo)


def _report(code: int, place: Place) -> Rule:
    todo = TODO.get(code, MOUNT_IT if CAUSES[code] is Cause.DISK_AWAY else "Look at `journalctl -k`.")
    todo = todo.partition(" It goes on")[0].partition("; it goes on")[0].rstrip(".") + "."
    return Rule(errors.NotWritten, WAITS[place], "", NEVER, "The report {where} cannot be written: {reason}.", todo)


def _page(code: int, place: Place) -> Rule:
    todo = TODO.get(code, MOUNT_IT if CAUSES[code] is Cause.DISK_AWAY else "Look at `journalctl -k`.")
    return Rule(errors.NotWritten, WAITS[place], "", NEVER, "{where} cannot be written: {reason}.", todo)


def _process(code: int, place: Place) -> Rule:
    sentence = "No process could be started for {where} ({reason})."
    return Rule(errors.Shortage, WAITS[place], "paused", RESOURCES_AGAIN, sentence, TODO[code])


def _journal(code: int, place: Place) -> Rule:
    sentence = "The journal in {where} cannot be written ({reason})."
    if CAUSES[code] is Cause.DISK_SPACE:
        return Rule(errors.DiskFull, WAITS[place], "", JOURNAL_TAKES_IT, sentence, TODO[code])
    if CAUSES[code] is Cause.RIGHTS:
        return Rule(errors.JournalError, WAITS[place], "", JOURNAL_TAKES_IT, sentence, TODO[code])
    todo = "Check the disk (df, journalctl -k); what was under way goes on at the next start."
    return Rule(errors.JournalError, "nothing: povwatch ends", "", NEVER, sentence, todo)


TABLE: dict[tuple[int, Place], Rule] = {
    **{(code, place): _in_outputs(code, place) for place in IN_OUTPUTS for code in CAUSES},
    **{(code, Place.SOURCE): _source(code, Place.SOURCE) for code in CAUSES},
    **{(code, place): _in_inputs(code, place) for place in IN_INPUTS for code in CAUSES},
    **{(code, Place.REPORT): _report(code, Place.REPORT) for code in CAUSES},
    **{(code, Place.PAGE): _page(code, Place.PAGE) for code in CAUSES},
    **{(code, Place.JOURNAL): _journal(code, Place.JOURNAL) for code in CAUSES},
    **{
        (code, Place.PROCESS): _process(code, Place.PROCESS)
        for code, cause in CAUSES.items()
        if cause is Cause.RESOURCES
    },
}
"""(Error number, place) -> what follows. A missing program is no machine fault."""

GONE = frozenset({errno.ENOENT})
"""The error if somebody removed a folder of povwatch's in outputs/, or its disk. For a clip it only means: deleted."""

OTHERWISE: dict[Place, tuple[type[errors.PovwatchError], str, str]] = {
    Place.COPY: (errors.AttemptFailed, "{where} could not be written: {reason}.", "Look at `journalctl -k`."),
    Place.SOURCE: (errors.SourceChanged, "{where} cannot be opened: {reason}.", ""),
    Place.PREPARE: (errors.SourceChanged, "The clip cannot be copied: {reason}.", ""),
    Place.FINISH: (errors.CheckFailed, "The artifact cannot be read: {reason}.", ""),
    Place.CHECK: (errors.CheckFailed, "The artifact cannot be read: {reason}.", ""),
    Place.HOOK: (
        errors.HookFailed,
        "Its files could not be made: {reason}.",
        "Check the disks of inputs/ and outputs/, and to the rights there (df, journalctl -k, ls -l).",
    ),
    **dict.fromkeys(IN_INPUTS, (errors.InputsRefused, "Cannot {verb} {where}: {reason}.", "It is tried again.")),
    Place.REPORT: (errors.NotWritten, "The report {where} cannot be written: {reason}.", ""),
    Place.PAGE: (errors.NotWritten, "{where} cannot be written: {reason}.", ""),
}
"""What any other error number means in a place. It concerns no other clip."""

UNTIL: dict[type[errors.PovwatchError], Until] = {
    rule.error: rule.until for (_, place), rule in TABLE.items() if place not in (*IN_INPUTS, Place.JOURNAL)
} | {errors.InputsRefused: INPUTS_TAKE_IT}
"""Class of error -> when the stopped work goes on. Ask `retry_times`, which also knows subclasses."""

KINDS: dict[str, type[errors.PovwatchError]] = {
    "disk-full": errors.DiskFull,
    "not-writable": errors.OutputsNotWritable,
    "shortage": errors.Shortage,
    "disk-failing": errors.WriteFailed,
    "outputs-away": errors.OutputsAway,
}
"""A worker's name for each class of error: see engine.port.FailureKind."""


def rule(code: int, place: Place) -> Rule | None:
    """What follows from an error number in a place; None if the machine is not to blame."""
    return TABLE.get((code, place))


def retry_times(error: errors.PovwatchError) -> Until | None:
    """When work that this error stopped is tried again; None if the machine is not to blame."""
    return next((UNTIL[kind] for kind in type(error).__mro__ if kind in UNTIL), None)


def translated(error: BaseException, place: Place, where: str) -> errors.PovwatchError:
    """Translate an exception into the error for people and for retry.py.

    Args:
        error: an OSError, or another exception that `code_of` knows.
        where: the path or the thing, for people.
    """
    code = code_of(error)
    reason = getattr(error, "strerror", None) or (os.strerror(code) if code else str(error))
    known = TABLE.get((code or 0, place))
    if known is not None:
        kind, sentence, todo = known.error, known.sentence, known.todo
    elif code in GONE and place in {Place.PRIVATE_FOLDER, Place.SEAL, Place.PUBLISH, Place.HOOK}:
        kind, sentence, todo = errors.OutputsAway, "{where} is not there ({reason}).", MOUNT_IT
    else:
        kind, sentence, todo = OTHERWISE.get(place, OTHERWISE[Place.COPY])
    doing = place.value
    return kind(sentence.format(where=where, doing=doing, verb=doing.partition(" ")[0], reason=reason), todo)


def passing(error: OSError) -> bool:
    """Whether an error from opening or reading a user's file says nothing about that file."""
    return CAUSES.get(error.errno or 0) in {Cause.RESOURCES, Cause.DISK_FAILS, Cause.DISK_AWAY}


def blamed(error: BaseException, place: Place, where: str) -> errors.PovwatchError | None:
    """As `translated`; None if TABLE has no row for the error."""
    return translated(error, place, where) if TABLE.get((code_of(error) or 0, place)) else None


@contextlib.contextmanager
def translate_os_errors(place: Place, where: str) -> Iterator[None]:
    """Turn an OSError of the block into the error that it means.

    Raises:
        PovwatchError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise translated(error, place, where) from error


def code_of(error: BaseException) -> int | None:
    """The error number of an exception; None if it has none.

    Some exceptions carry no number: only their text says that memory, threads or files ran out.
    """
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, (ImportError, RuntimeError)):
        return code_in(str(error))
    return None


def code_in(text: str) -> int | None:
    """The error number that a text names: a dead program's output, or a library's own error."""
    if found := _NUMBERED.search(text):
        return int(found[1])
    return next((code for words, code in _IN_WORDS.items() if words in text), None)


_NUMBERED = re.compile(r"(?:\[Errno |\(os error )(\d{1,3})[\])]")
"""How Python and Rust spell an error number."""

_IN_WORDS = {
    "can't start new thread": errno.EAGAIN,
    "failed to map segment": errno.ENOMEM,
    **{
        os.strerror(code): code
        # "Too many open files in system" before "Too many open files". No text that a clip's contents can produce.
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ESTALE)
    },
}


def said_by_ffmpeg_alone(error: BaseException, folder: str) -> bool:
    """Whether an error of FFmpeg may be about the file's contents: the disk itself still takes a file.

    FFmpeg uses the same error numbers for the kernel's errors and for a file's contents.

    Args:
        folder: the work's folder, where a file is tried.
    """
    if not type(error).__module__.startswith("av.") or code_of(error) not in BY_FFMPEG:
        return False
    try:
        with tempfile.TemporaryFile(dir=folder or None) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    return True


def gives_memory(limit: int | None = None) -> bool:
    """Whether the machine still gives this process memory: then the refused amount exceeded the process's own limit.

    Address space is reserved and not touched. That costs nothing, and fails where memory would be refused.

    Args:
        limit: bytes of address space that povwatch allows this process; another limit may be lower. Without it, a
            process that holds most of the system's limit has met its own size.
    """
    held = address_space("VmSize")
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit is None and most != resource.RLIM_INFINITY and held > most // 2:
        return True
    left = ENOUGH if limit is None else limit - held - STACK
    if left <= 0:
        return True  # it already has all that it is allowed
    try:
        mmap.mmap(-1, min(left, ENOUGH)).close()
    except (OSError, MemoryError):
        return False
    return True


def address_space(what: str) -> int:
    """Bytes of address space of this process: now (VmSize) or at most (VmPeak)."""
    with open("/proc/self/status", encoding="utf-8") as status:  # noqa: PTH123 - as workers/worker.py
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{what}:"))


BY_FFMPEG = frozenset({errno.EIO, errno.EPERM, errno.EACCES, errno.ENODEV, errno.EAGAIN, errno.ETIMEDOUT})
"""Error numbers that FFmpeg also uses for a file's contents, without any error of the kernel's."""

STACK = 16 * 2**20
"""Bytes of address space that a new thread takes, generously."""

ENOUGH = 256 * 2**20
"""Bytes of address space. A machine that grants so much was not short of memory."""


def table() -> str:
    """TABLE in Markdown. Rows with the same answer are joined."""
    rows: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for (code, place), row in TABLE.items():
        again = f"it is tried again after {_span(row.until)}" if row.until.first and place not in IN_INPUTS else ""
        until = "; ".join(filter(None, (row.until.watch, again)))
        key = (row.waits, row.on or "-", until or "-", row.error.__name__)
        codes, places = rows.setdefault(key, ([], []))
        codes += [errno.errorcode[code]] * (errno.errorcode[code] not in codes)
        places += [place.value] * (place.value not in places)
    lines = ["| could not | because of | waits | on | until | error |", "|---|---|---|---|---|---|"]
    for (waits, on, until, kind), (codes, places) in rows.items():
        lines.append(f"| {', '.join(places)} | {', '.join(codes)} | {waits} | `{on}` | {until} | {kind} |")
    return "\n".join(lines)


def _span(until: Until) -> str:
    return f"{until.first:g} s" if until.first == until.longest else f"{until.first:g} to {until.longest:g} s"


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is its output
