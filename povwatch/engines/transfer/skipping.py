"""Decides which denoising steps of a job are computed, and what the other steps take instead. Pure.

`fast` and `fastest` do not compute every step. A step that is not computed takes the velocity that the last two
computed ones lead to, linear in sigma, the noise level of the flow (1 is pure noise):

    v(s) = v1 + (v1 - v0) (s - s1) / (s1 - s0)

where v1 at s1 is the last computed velocity and v0 at s0 the one before. So a step may be left out as soon as two are
computed. The first steps, which decide the layout, and the last ones, which decide the details, are always computed.
Between them computed steps alternate with others.

`fastest` also reuses what guidance adds: the difference between the velocities with and without the prompt. In every
second computed step after the first ones only the velocity with the prompt is computed; the difference is that of the
computed step before.

Sources: forecasting from computed steps, and a line as the forecast: TaylorSeer (Liu et al. 2025, arXiv:2503.06923,
order 1). Steps that are always computed at both ends: TeaCache (Liu et al. 2024, arXiv:2411.19108; its `ret_steps` for
Wan 2.1). Guidance's difference on alternate steps: FasterCache (Lv et al. 2024, arXiv:2410.19355, CFG-Cache).
They work on features inside of the network; here it is the velocity, which the scheduler gets as if it were computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from povwatch.core.speed import Speed


class Compute(Enum):
    """What is computed of a step."""

    ALL = "all"
    """The velocity for each prompt."""
    PROMPT = "prompt"
    """The velocity with the prompt; what guidance adds is that of the step before."""
    NOTHING = "nothing"
    """Nothing: the velocity follows from those before."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which steps of a job are computed."""

    first: int
    """Steps at the start that are computed; at least 2, from which the first velocity can follow."""
    last: int
    """Steps at the end that are computed."""
    skipped: int
    """Steps that are not computed between two that are, in the middle."""
    reuses_guidance: bool


RULES: dict[Speed, Rule] = {
    "fast": Rule(first=7, last=6, skipped=1, reuses_guidance=False),
    "fastest": Rule(first=4, last=3, skipped=2, reuses_guidance=True),
}
"""Of 35 steps, `fast` computes 24, and `fastest` 16, of which 6 with the prompt alone."""

FEWEST = 16
"""Steps of the shortest job of which some are not computed: a job with so few steps has none to spare, and a distilled
model's 4 are all that it was trained for."""


def schedule(speed: Speed, steps: int, *, guided: bool) -> list[Compute]:
    """What is computed of each step of a job, in order.

    Args:
        steps: of the job.
        guided: whether it computes a velocity without the prompt, too.
    """
    rule = RULES.get(speed)
    if rule is None or steps < FEWEST:
        return [Compute.ALL] * steps
    found, computed = [Compute.ALL] * rule.first, 0
    for step in range(rule.first, steps):
        if step < steps - rule.last and (step - rule.first) % (rule.skipped + 1) < rule.skipped:
            found.append(Compute.NOTHING)
        else:
            computed += 1
            alone = guided and rule.reuses_guidance and computed % 2 == 1
            found.append(Compute.PROMPT if alone else Compute.ALL)
    return found


class Velocities:
    """The last two computed velocities of a chunk."""

    def __init__(self) -> None:
        self._known: list[tuple[float, Any]] = []

    def add(self, sigma: float, velocity: Any) -> None:  # noqa: ANN401 - a tensor, or a number
        """Add a computed velocity."""
        self._known = [*self._known[-1:], (sigma, velocity)]

    def at(self, sigma: float) -> Any:  # noqa: ANN401 - as in `add`
        """The velocity that a step at this sigma takes; see the module's formula. Two have to be known."""
        (s0, v0), (s1, v1) = self._known
        return v1 + (v1 - v0) * ((sigma - s1) / (s1 - s0))


def describe(speed: Speed, plan: list[Compute]) -> str:
    """What a job with this schedule does not compute, for people; empty if it computes everything."""
    computed = sum(one is not Compute.NOTHING for one in plan)
    alone = plan.count(Compute.PROMPT)
    if computed == len(plan):
        few = f"all {len(plan)} steps are computed, as a job with fewer than {FEWEST} has none to spare"
        return few if speed in RULES else ""
    found = f"{computed} of {len(plan)} steps are computed, and the others' velocity follows from those before"
    return f"{found}; {alone} of the computed ones take guidance's difference from the one before" if alone else found
