"""Where a job may be left: points that all the processes of one job pass together."""

from __future__ import annotations

from typing import Protocol


class Gate(Protocol):
    """Settles a question for every process of the job."""

    leads: bool
    """Whether this process decides, reports and writes; exactly one of a job does."""

    def decide(self, answer: bool) -> bool:  # noqa: FBT001 - the answer is all there is
        """The leading process's answer, in every process. All of them ask the same questions in the same order."""


class Alone:
    """The gate of a job that one process does."""

    leads = True

    def decide(self, answer: bool) -> bool:  # noqa: D102, FBT001
        return answer
