"""Finds why a model file is missing: gated, offline, or unreachable. huggingface_hub's errors are known by name."""

from __future__ import annotations

import re
import subprocess

from povwatch.core.command import command
from povwatch.core.sentences import joined
from povwatch.engines.port import EngineFailure

ASK_SECONDS = 60.0
"""Seconds for a failed download to give its reason."""

LICENCE = "Accept the licence on its page at huggingface.co, and set HF_TOKEN to a token of that account."

GATED = ("gated", "401", "403", "restricted", "unauthorized", "forbidden")
OFFLINE = ("localentrynotfound", "offlinemode", "hf_hub_offline", "offline mode", "cannot find the requested files")

HUB_ERRORS = frozenset(
    {
        "GatedRepoError",
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "EntryNotFoundError",
        "LocalEntryNotFoundError",
        "HfHubHTTPError",
        "OfflineModeIsEnabled",
    }
)

_PART = r"[A-Za-z0-9][\w.-]*"
REPOSITORY = re.compile(rf"huggingface\.co/(?:api/models/)?({_PART}/{_PART})|(?<![\w./-])({_PART}/{_PART})(?![\w/])")
"""`owner/name`, in an address or alone."""


def cause(error: BaseException) -> EngineFailure | None:
    """The failure that a failed download means; None for an error of another kind."""
    if isinstance(error, FileNotFoundError) and error.filename in ("uvx", "uv"):
        return EngineFailure(
            "error",
            f"Upstream fetches its model files with {error.filename}, which is not on the service's PATH.",
            joined(prefetch(), "Or put uv on the PATH: script/cosmos installs it."),
        )
    if isinstance(error, subprocess.CalledProcessError) and "download" in error.cmd:
        return _explained(_of_command(list(error.cmd)), _why(error))
    if type(error).__name__ in HUB_ERRORS:
        return _explained(_repository(error), f"{type(error).__name__}: {error}")
    return None


def prefetch() -> str:
    """The advice for a missing model file."""
    what = "which fetches what is missing and names each licence that is still to be accepted."
    return f"Run {command('prefetch')}, {what}"


def _explained(what: str, why: str) -> EngineFailure:
    lower = why.lower()
    if any(mark in lower for mark in GATED):
        return EngineFailure("error", f"{what} is gated, and access was refused: {why}", joined(LICENCE, prefetch()))
    if any(mark in lower for mark in OFFLINE):
        return EngineFailure("error", f"{what} is not on this machine, and it is offline: {why}", prefetch())
    return EngineFailure("error", f"{what} could not be fetched: {why}", prefetch())


def _of_command(command: list[str]) -> str:
    """What `uvx hf download REPOSITORY --repo-type model --revision R [FILE]` should have fetched."""
    operands = command[command.index("download") + 1 :]
    if not operands:
        return "A model file"
    last = operands[-1]
    named = len(operands) > 1 and not operands[-2].startswith("--") and not last.startswith("--")
    return f"{operands[0]} ({last})" if named else operands[0]


def _why(error: subprocess.CalledProcessError) -> str:
    """The reason for a failed download. Its output went to the log, so the command runs once more to get it."""
    try:
        again = subprocess.run(  # noqa: S603 - the command that upstream ran
            error.cmd, capture_output=True, text=True, timeout=ASK_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return str(failure)
    lines = [line.strip() for line in (again.stdout + again.stderr).splitlines() if line.strip()]
    return lines[-1] if again.returncode and lines else f"exit status {error.returncode}; the log has its words"


def _repository(error: BaseException) -> str:
    """The repository that a huggingface_hub error is about."""
    named = getattr(error, "repo_id", None)
    if named:
        return str(named)
    found = REPOSITORY.search(str(error))
    if found:
        return found[1] or found[2]
    # Of a file that is missing in a repository that is there, only what the error was raised from has the address.
    before = error.__cause__ or error.__context__
    return _repository(before) if before else "A model file"
