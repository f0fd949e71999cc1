"""Judges results by their scores, and decides whether another seed is tried. Pure.

1. A try is one seed of a job. The first has the JSON's seed, each further one the next.
2. `"povwatch": {"best_of": 4}` in a JSON: all of its tries are generated.
3. Rules of the configuration (`[quality] edge_f1 = 0.6`) alone: another try follows a result that fails one, until a
   result passes or `quality.tries` are over.
4. A score without a number is not judged: another seed would have none either.
5. The best try is published: the one that passes the most rules, of these the one with the best score of `by` (or of
   the first rule), of these the first. One without a number is the worst.
6. Previews are not judged: a seed changes nothing in them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from povwatch.core.scores import SCORES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BEST_OF_MAX = 64
"""The most seeds that a JSON may ask for."""

BY = "edge_f1"
"""The score that chooses among seeds if nothing names another."""

SEED_END = 2**63
"""Seeds are below this; the one after the last is 0."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a score has to be."""

    score: str
    bound: float
    at_least: bool
    """Whether the bound is the least that passes, or the most."""

    def passes(self, number: float) -> bool:
        """Whether a number passes."""
        return number >= self.bound if self.at_least else number <= self.bound

    @property
    def limit(self) -> str:
        """What passes, for people: `at least 0.6`."""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"

    @property
    def words(self) -> str:
        """The rule for people: `edge_f1 at least 0.6`."""
        return f"{self.score} {self.limit}"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many seeds are tried, and by what they are judged."""

    rules: tuple[Rule, ...] = ()
    most: int = 1
    """Tries in all, at most."""
    every: bool = False
    """Whether all of them are wanted, even if the first one passes."""
    by: str = ""
    """The score that chooses among them; empty for that of the first rule."""

    @property
    def chosen_by(self) -> str:
        """The score that chooses."""
        return self.by or (self.rules[0].score if self.rules else BY)

    @property
    def judges(self) -> bool:
        """Whether scores decide anything."""
        return bool(self.rules) or self.every


@dataclass(frozen=True, slots=True)
class Try:
    """A try that is over."""

    seed: int
    run_id: str
    spec_hash: str | None
    """Of the JSON that it ran; a try of another JSON does not count."""
    source_hash: str | None
    """Of the clip that it ran."""
    scores: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    checked: dict[str, Any] = field(default_factory=dict)
    """What the check found, as JSON."""
    attempt: dict[str, Any] = field(default_factory=dict)
    """Its Attempt as JSON; empty once a try is published."""
    kept: bool = False
    """Whether it is not the best, and published all the same (`quality.keep_rejected`)."""


@dataclass(frozen=True, slots=True)
class Tries:
    """A job's tries that are over, as the journal has them."""

    over: tuple[Try, ...] = ()
    ended: str = ""
    """Why no further one follows, though the plan has more; empty if none was lost."""
    passed: bool | None = None
    """Whether the published one passes; None if none is published, or nothing is judged by rules."""
    verdict: str = ""
    """How the published one was judged, for people."""

    def to_json(self) -> str:
        """For the journal."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None) -> Tries:
        """From the journal."""
        if not text:
            return cls()
        try:
            found = json.loads(text)
            return cls(**found | {"over": tuple(Try(**one) for one in found["over"])})
        except (ValueError, KeyError, TypeError, RecursionError):  # damaged: the seeds are tried anew
            return cls()

    def of(self, spec_hash: str | None, source_hash: str | None) -> Tries:
        """The same if they are of this JSON and this clip, else none."""
        same = all((one.spec_hash, one.source_hash) == (spec_hash, source_hash) for one in self.over)
        return self if same else Tries()

    def with_try(self, new: Try) -> Tries:
        """These and another one. A try that was finished twice, because povwatch ended meanwhile, counts once."""
        return replace(self, over=(*(one for one in self.over if one.run_id != new.run_id), new))

    def published(self, plan: Plan, run_id: str | None) -> Tries:
        """The figures alone, once a try is published, with how that one was judged."""
        over = tuple(replace(one, attempt={}) for one in self.over)
        chosen = next((one for one in over if one.run_id == run_id), None)
        if chosen is None:
            return replace(self, over=over)
        return replace(self, over=over, passed=passed(plan, chosen.scores), verdict=verdict(plan, chosen))

    @property
    def run_ids(self) -> list[str]:
        """The attempts whose files are still needed."""
        return [one.run_id for one in self.over if one.attempt]


def failed(plan: Plan, scores: Mapping[str, float]) -> list[Rule]:
    """The rules that a result fails."""
    return [rule for rule in plan.rules if rule.score in scores and not rule.passes(scores[rule.score])]


def passed(plan: Plan, scores: Mapping[str, float]) -> bool | None:
    """Whether a result passes; None if there is no rule, or none of the scores has a number."""
    if not any(rule.score in scores for rule in plan.rules):
        return None
    return not failed(plan, scores)


def another(plan: Plan, tries: Tries) -> bool:
    """Whether another seed follows."""
    if tries.ended or not tries.over or len(tries.over) >= plan.most:
        return False
    return plan.every or not any(passed(plan, one.scores) is not False for one in tries.over)


def best(plan: Plan, tries: Sequence[Try]) -> Try:
    """The try to publish."""
    by = SCORES[plan.chosen_by]

    def rank(one: Try) -> tuple[int, float]:
        number = one.scores.get(by.name)
        worst = float("inf")
        passes = sum(rule.score in one.scores and rule.passes(one.scores[rule.score]) for rule in plan.rules)
        return -passes, worst if number is None else -number if by.higher else number

    return min(tries, key=rank)  # the first of equal ones


def seed_of(first: int, number: int) -> int:
    """The seed of a try, counted from 0, whose first one is that of the JSON."""
    return (first + number) % SEED_END


def verdict(plan: Plan, one: Try) -> str:
    """How a try was judged, for people: `edge_f1 0.412 is not at least 0.6`, or `passes, edge_f1 0.713`."""
    wrong = failed(plan, one.scores)
    if wrong:
        return ", ".join(f"{rule.score} {one.scores[rule.score]:.3f} is not {rule.limit}" for rule in wrong)
    number = one.scores.get(plan.chosen_by)
    said = f"has no {plan.chosen_by}" if number is None else f"{plan.chosen_by} {number:.3f}"
    return f"passes, {said}" if passed(plan, one.scores) else said


def described(plan: Plan, tries: Tries, published: str) -> dict[str, Any]:
    """The tries for the manifest. `published`: the run_id of the one that is published."""
    (chosen,) = (one for one in tries.over if one.run_id == published)
    return {
        "passed": passed(plan, chosen.scores),
        "verdict": verdict(plan, chosen),
        "rules": {rule.score: {"at_least" if rule.at_least else "at_most": rule.bound} for rule in plan.rules},
        "by": plan.chosen_by,
        **({"ended": tries.ended} if tries.ended else {}),
        "tries": [
            {
                "seed": one.seed,
                "run_id": one.run_id,
                "passed": passed(plan, one.scores),
                "published": one.run_id == published,
                **({"kept": True} if one.kept else {}),
                "scores": one.scores,
                **({"missing": one.missing} if one.missing else {}),
            }
            for one in tries.over
        ],
    }
