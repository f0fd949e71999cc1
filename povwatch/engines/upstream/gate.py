"""Points at which all processes of one job decide together, such as to leave it."""

from __future__ import annotations

from typing import Protocol


class Gate(Protocol):
    """Makes every process of a job decide alike."""

    leads: bool
    """Whether this process decides, reports and writes; exactly one process of a job does."""

    def decide(self, answer: bool, /) -> bool:  # noqa: FBT001 - the answer is all there is
        """The leading process's answer, in every process. All ask the same questions in the same order."""


class Alone:
    """The gate of a job with one process."""

    leads = True

    def decide(self, answer: bool) -> bool:  # noqa: D102, FBT001
        return answer
