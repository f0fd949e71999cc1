"""The interface to the current JSON of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from povwatch.core.job import Job
    from povwatch.spec.model import Spec


class CurrentSpecs(Protocol):
    """The JSONs of queued jobs, which may be edited until a worker has the job."""

    def spec_of(self, job: Job) -> Spec | None:
        """The JSON as it stands, read again; None if it is not the one that the grace ran for."""

    def prompt_filters(self, job: Job) -> list[dict[str, Any]]:
        """The guardrail's filters that have checked the JSON's prompts so far, for a manifest."""
