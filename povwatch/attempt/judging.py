"""What an attempt's result is judged by: the rules of the configuration, and what its JSON asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from povwatch.attempt.attempt import Attempt
from povwatch.core.quality import Plan, Tries, Try

if TYPE_CHECKING:
    from povwatch.config.settings import Quality
    from povwatch.core.job import Job
    from povwatch.media.info import Checked
    from povwatch.spec.model import Own


def plan_for(quality: Quality, attempt: Attempt) -> Plan:
    """How the result of an attempt is judged. A preview is not."""
    return real_plan(quality, attempt.frozen.povwatch) if attempt.capabilities.get("real") else Plan()


def real_plan(quality: Quality, own: Own) -> Plan:
    """How a real engine's results are judged."""
    rules = quality.rules
    if own.best_of is not None:
        return Plan(rules, own.best_of, every=True, by=own.by or "")
    return Plan(rules, quality.tries if rules else 1, by=own.by or "")


def tries_of(job: Job) -> Tries:
    """A job's tries that are over, of the JSON and the clip that it runs."""
    return Tries.from_json(job.tries).of(job.spec_hash, job.source_hash)


def try_of(job: Job, attempt: Attempt, checked: Checked) -> Try:
    """The try of a finished and scored attempt."""
    return Try(
        seed=attempt.frozen.seed,
        run_id=job.run_id or "",
        spec_hash=job.spec_hash,
        source_hash=job.source_hash,
        scores=attempt.scored.get("scores") or {},
        missing=attempt.scored.get("missing") or {},
        checked=checked.to_json(),
        attempt=json.loads(attempt.to_json()),
    )


def attempt_of(one: Try) -> Attempt:
    """The attempt that made a try."""
    return Attempt(**one.attempt)
