"""Every error that povwatch raises on purpose.

    PovwatchError                what happened, and what to do about it
    |-- ConfigError              config.toml or the command line: exit 2
    |-- MachineError             this machine is not able: exit 3 with --once
    |-- JournalError             the journal cannot be opened or trusted
    |-- NotWritten               a report could not be written
    |-- Transient                the same job may succeed later
    |   |-- EnvironmentFault     the job is not to blame: it waits and is charged nothing
    |   |   |-- DiskFull
    |   |   |-- WriteFailed      a disk reported an error: what was written is made again
    |   |   |-- Shortage         too little memory, too few open files or processes
    |   |   |-- OutputsNotWritable  outputs/ is read-only, or povwatch may not write there
    |   |   |-- InputsRefused    inputs/ refuses to read or write the files beside a clip
    |   |   |-- GpuBusy
    |   |   |-- GpuLost
    |   |   |-- HookUnavailable  a hook's program cannot be started
    |   |   |-- OutputsAway      outputs/, or the work in it, is missing
    |   |   |   `-- OutputsTaken  a foreign folder is in the work's place
    |   |   `-- SourceChanged    the clip changed meanwhile
    |   |-- SpecInvalid          the JSON beside the clip: the job waits for an edit and is charged nothing
    |   |-- FinishFailed         the artifact is good, but finishing it failed
    |   `-- AttemptFailed        the attempt counts
    |       |-- WorkerDied
    |       |-- WorkerStalled
    |       |-- OutOfMemory
    |       |-- HookFailed       a hook failed
    |       `-- CheckFailed      the artifact is not what was asked for
    `-- Permanent                trying again cannot help
        |-- NotAVideo            rejected
        |-- Blocked              the engine's guardrail
        `-- JobFailed            the engine cannot do this job

The type says whether an error is transient or permanent; retry.py decides what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from povwatch.core.sentences import joined


class PovwatchError(Exception):
    """An error with its remedy.

    `what` names the file or field and what was found; `todo` says what the reader can do.
    """

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return joined(self.what, self.todo)


class ConfigError(PovwatchError):
    """The configuration or the command line is wrong; the daemon does not start."""


class MachineError(PovwatchError):
    """This machine cannot run what was asked for."""


class JournalError(PovwatchError):
    """The journal cannot be opened, or its contents cannot be trusted."""


class JournalFailed(JournalError):  # noqa: N818 - what happened, not a mistake in it
    """The journal's file cannot be read or written. Nothing can go on without it."""

    def __init__(self, what: str, todo: str = "", *, refused: bool = False, unsynced: bool = False) -> None:
        """Keep what SQLite reported.

        Args:
            refused: whether the file system refused it; the file's contents are not to blame.
            unsynced: whether a sync was refused.
        """
        super().__init__(what, todo)
        self.refused = refused
        self.unsynced = unsynced


class NotWritten(PovwatchError):  # noqa: N818 - named by what it means
    """A report or the page could not be written."""


class Transient(PovwatchError):  # noqa: N818 - a class of errors, named by what it means for the job
    """The same job may succeed later."""


class EnvironmentFault(Transient):
    """The job is not to blame: its attempt is given back."""


class DiskFull(EnvironmentFault):
    """No space left where it is needed."""


class WriteFailed(EnvironmentFault):
    """A disk reported an error. What was written to it cannot be trusted any more."""


class Shortage(EnvironmentFault):
    """The machine has too little memory, or too few open files or processes, at present."""


class OutputsNotWritable(EnvironmentFault):
    """The outputs folder is read-only, or does not let povwatch write."""


class InputsRefused(EnvironmentFault):
    """The inputs folder does not let povwatch do what it has to do there."""


class GpuBusy(EnvironmentFault):
    """Another process holds the GPU memory that the engine needs."""


class GpuLost(EnvironmentFault):
    """The GPU fell off the bus or is faulty, or its driver was changed while povwatch ran."""


class HookUnavailable(EnvironmentFault):
    """A hook's program is not there, or cannot be started."""


class OutputsAway(EnvironmentFault):
    """The outputs folder is gone, or is not the one that work was staged in."""


class OutputsTaken(OutputsAway):
    """Something foreign has the name of povwatch's private folder. povwatch's own may only have been renamed."""


class SourceChanged(EnvironmentFault):
    """The clip is not the one that was admitted; it arrives anew."""


class FinishFailed(Transient):
    """Finishing the engine's artifact failed; the artifact itself is good.

    The artifact is kept and only finishing is tried again: nothing is generated a second time.
    """


class RemoteWorkerDied(Transient):
    """The worker died on another machine in the middle of the job, or that machine, or the network to it.

    The job may be to blame, or the place: the attempt is given back, and the death is counted as a crash is.
    """


class AttemptFailed(Transient):
    """The attempt counts; another may succeed."""


class WorkerDied(AttemptFailed):
    """The worker ended in the middle of the job."""


class WorkerStalled(AttemptFailed):
    """The worker made no progress for too long and was killed."""


class OutOfMemory(AttemptFailed):
    """The engine ran out of memory in this job."""


class HookFailed(AttemptFailed):
    """A hook failed, took too long, or did not leave an expected file."""


class CheckFailed(AttemptFailed):
    """The artifact is not what the job asked for."""


class Permanent(PovwatchError):  # noqa: N818 - see Transient
    """Trying again cannot help."""


class NotAVideo(Permanent):
    """The file is no video at all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a spec."""

    message: str
    """What is wrong, as a sentence."""
    todo: str = ""
    """What to write instead."""
    field: str = ""
    """The field's path: `edge.control_weight`. Empty if the whole file is wrong."""
    found: str = ""
    """The value found there, on one line and shortened."""
    line: int = 0
    """In the file, from 1. 0 if no line is to blame."""
    column: int = 0
    """In characters, from 1."""
    source: str = ""
    """That line of the file."""

    @property
    def sentence(self) -> str:
        """The field and what is wrong with it."""
        return f"{self.field} {self.message}." if self.field else f"{self.message}."


class SpecInvalid(Transient):
    """The JSON beside the clip cannot be run as it is. An edit may mend it."""

    def __init__(self, what: str, todo: str = "", *, file: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(what, todo)
        self.file = file
        """The JSON's name, for people."""
        self.problems = problems
        """Everything that is wrong, in the file's order."""


class Blocked(Permanent):
    """The engine's guardrail refused the job."""


class JobFailed(Permanent):
    """The engine cannot do this job, no matter how often it is tried."""
