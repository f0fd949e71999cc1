"""What the guardrail's text filters have said of a JSON's texts, as problems of the JSON.

A text that was not checked yet is no problem. workers/prompt_checks.py decides who checks it, and when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.errors import Problem
from povwatch.engines.guardrail_filters import BLOCKED
from povwatch.workers.events import storable
from povwatch.workers.prompt_checks import merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.core.clock import Clock
    from povwatch.core.job import Job
    from povwatch.engines.abilities import Abilities
    from povwatch.spec.model import Spec
    from povwatch.workers.prompt_checks import PromptChecks

TODO = "Change the text: the engine has the same filter."


class PromptFilters:
    """Asks for the checks of JSONs' texts."""

    def __init__(self, checks: PromptChecks, abilities: Abilities, clock: Clock) -> None:
        self._checks = checks
        self._abilities = abilities
        self._clock = clock

    @property
    def answered(self) -> set[int]:
        """Jobs for which a filter has said something new. The grace stage takes them out."""
        return self._checks.answered

    def refusals(self, job: int, spec: Spec, *, in_file: bool) -> list[Problem]:
        """The texts that a filter has refused. `in_file`: the prompt is in a file, which `prompt_path` names."""
        return refusals(self._said(job, spec, in_file=in_file))

    def ran(self, job: Job, spec: Spec) -> list[dict[str, Any]]:
        """The filters that have checked a JSON's texts, for a manifest."""
        return merged(self._said(job.id, spec).values())

    def leave(self, job: Job) -> None:
        """A job has left the grace."""
        self._checks.leave(job.id)

    def _said(self, job: int, spec: Spec, *, in_file: bool = False) -> dict[str, list[dict[str, Any]]]:
        now = self._clock.boot()
        texts = self._abilities.checked_texts(spec, in_file=in_file)
        return {field: self._checks.said(job, text, now) for field, text in texts.items()}


def refusals(said: Mapping[str, list[dict[str, Any]]]) -> list[Problem]:
    """The problems of the texts that a filter has refused. `said` is what each filter has said, by the text's field."""
    return [
        Problem(f"is refused by the guardrail's {one['name']}: {storable(one['message'])}", TODO, field)
        for field, found in said.items()
        for one in found
        if one["verdict"] == BLOCKED
    ]
