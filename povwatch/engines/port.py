"""Defines what an engine implements and what it may use while it works. Python 3.10, standard library alone.

An engine is any class with `load` and `generate`; it need not import anything from here but the exceptions. It is named
`package.module:Class` or `/path/to/file.py:Class`. The worker process instantiates it without arguments and loads it
once. Then it gets one job at a time, always in the main thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from povwatch.core.sentences import joined

if TYPE_CHECKING:
    from collections.abc import Callable

FailureKind = Literal[
    "out-of-memory",
    "gpu-lost",
    "gpu-busy",
    "disk-full",
    "not-writable",
    "shortage",
    "disk-failing",
    "outputs-away",
    "sticky",
    "invalid",
    "error",
]
"""Why a job, or a load, failed.

    out-of-memory   the job did not fit; the worker is replaced
    gpu-lost        the GPU does not answer; the worker is replaced, nothing is charged
    gpu-busy        another process holds the GPU; nothing is charged
    disk-full       no space left; nothing is charged
    not-writable    the folder of the job cannot be written; nothing is charged
    shortage        no open file, process or memory of the host to be had; the worker is replaced, nothing is charged
    disk-failing    the disk reports an error; nothing is charged
    outputs-away    the disk of the job's folder does not answer; nothing is charged
    sticky          the process is spoilt (an illegal address on the GPU, say); it is replaced
    invalid         the engine cannot do this job, however often it is tried
    error           anything else: the attempt is charged
"""

SPOILING: frozenset[FailureKind] = frozenset({"out-of-memory", "sticky", "gpu-lost", "shortage"})
"""Failures of a job after which the worker is replaced."""


class Engine(Protocol):
    """What every engine implements."""

    def load(self, config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Get ready to generate; called once.

        `config` is the engine's part of the configuration, as JSON values.
        `report(stage, fraction)` says how far it is; the fraction is 0 to 1, or None where it cannot be known.

        Returns the capabilities, as JSON values: `name` and `version` of the engine, `controls` (the hint keys that it
        takes), `max_frames` (None: no limit), `real` (False for a preview), and whatever else describes it. `notes` are
        sentences for the log about what was expected of this machine and is not so; an artifact may have some, too.
        """

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Do one job.

        `job` has `id` (int), `name` (a safe stem for files), `video` (absolute path of the prepared working copy:
        constant rate, upright, H.264 in MP4), `frames`, `width`, `height`, `fps_num`, `fps_den`, and `spec` (upstream's
        fields, with absolute paths of controls). `keep_controls` is there and true if the control videos are wanted.
        `speed` is there if it is not exact: how much may be approximated (core/speed.py). An artifact whose engine
        heeded it has `approximated`, whose `what` is a sentence for people. `control_files` and `leave_control_files`
        are there if the clip has further looks or seeds: see control_files.py, which an engine may ignore.

        Returns the artifact, as JSON values: `path` (a file inside `context.workdir`), `frames`, `seconds` (stage to
        seconds), and whatever else should be on record. `controls` (hint key to a file inside `context.workdir`) are
        the control videos, if they are wanted and the engine has them: frame k is that of frame k of the artifact.

        Raises:
            EngineBlocked: The guardrail refused the job.
            EngineFailure: The job failed, and the engine knows why.
            EngineCancelled: From `context.raise_if_cancelled`; let it through.
        """


class PromptChecker(Protocol):
    """What an engine implements too whose text filters can check a prompt before its job.

    Its capabilities have `filters`: those that `check_prompts` asks, each as in `Filters.about` (guardrail_filters.py).
    """

    def check_prompts(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        """Let the text filters of the guardrail check some texts; called in the main thread while there is no job.

        Returns for each text what each filter said that was asked, until one refused it: `filter` is the filter's name,
        `verdict` is passed, blocked or failed, and `message` says why it is blocked or has failed.
        """


class Context:
    """What a running job may use. Its methods may be called from any thread."""

    def __init__(
        self,
        workdir: str,
        checkpoint_dir: str,
        *,
        report: Callable[[str, int, int, int, int], None] = lambda *_: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.workdir = workdir
        """A private folder, empty at first. Write only here. It is deleted after the attempt."""
        self.checkpoint_dir = checkpoint_dir
        """A folder that outlives the attempt: the job's next attempt finds its files."""
        self._report = report
        self._is_cancelled = is_cancelled

    def progress(self, stage: str, *, chunk: int = 0, chunks: int = 1, step: int = 0, steps: int = 1) -> None:
        """Report the job's progress. No change for `engine.stall_timeout` is a stall, and the worker is killed.

        `chunk` and `step` count what is finished: `chunk` of `chunks`, and `step` of `steps` in the current chunk.
        Calls are cheap: those that come faster than people can read are dropped.
        """
        self._report(stage, chunk, chunks, step, steps)

    def cancelled(self) -> bool:
        """Whether the job is no longer wanted; ask between steps."""
        return self._is_cancelled()

    def raise_if_cancelled(self) -> None:
        """Leave the job if it was cancelled.

        Raises:
            EngineCancelled: The job is no longer wanted.
        """
        if self.cancelled():
            raise EngineCancelled


class EngineFailure(Exception):  # noqa: N818 - named by what it means for the job
    """The job or the load failed, and the engine knows why."""

    def __init__(self, kind: FailureKind, message: str, todo: str = "") -> None:
        super().__init__(kind, message, todo)
        self.kind = kind
        self.message = message
        self.todo = todo

    def __str__(self) -> str:
        return joined(self.message, self.todo)


class EngineBlocked(Exception):  # noqa: N818 - see EngineFailure
    """The guardrail refused the job. That is an answer, not a failure, and is never retried."""


class EngineCancelled(BaseException):
    """The job is no longer wanted.

    This is no Exception, so that a library's `except Exception` does not catch it.
    """
