"""What a single tested stage needs: the handler of mishaps, and the other stages."""

from __future__ import annotations

from povwatch.core.job import ENDS, JobState
from povwatch.core.stage import Stage


class Mishaps:
    """Records unforeseen exceptions, and does postponed work at once."""

    def __init__(self):
        self.broken = []

    def of(self, _key, error):
        self.broken.append(error)

    def later(self, _key, step, *, pause):
        assert pause == 0.0
        step()


class Others(Stage):
    """The stages of the other states; records which jobs entered, in which state, and which ended."""

    def __init__(self, *but):
        self.states = tuple(state for state in JobState if state not in ENDS and state not in but)
        self.entered, self.jobs_ended = [], []

    def enter(self, job):
        self.entered.append(job)

    def ended(self, job):
        self.jobs_ended.append(job)
