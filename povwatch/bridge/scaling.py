"""Decides how many actors are asked of the cluster, and which end. Pure: time is an argument.

What is asked for and not placed is what Ray's autoscaler acts upon. So exactly as many are asked for as the daemon
wants, whether there is room for them or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Asked:
    """A worker that the cluster was asked for."""

    name: str
    placed: bool
    """Whether it is on a node."""
    avoids: frozenset[str]
    """The nodes where it may not be."""
    idle_since: float | None
    """Since when it could end; None while it loads or has a job."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now."""

    ask: int
    """How many more to ask for."""
    end: tuple[str, ...]
    """The names of those that end."""


def plan(asked: Sequence[Asked], wanted: int, *, avoid: frozenset[str], idle: float, now: float) -> Plan:
    """Plan the next step.

    Args:
        asked: those that there are, the oldest first, without those that end already.
        wanted: how many the daemon wants.
        avoid: the nodes that get no worker now. Who is not placed and avoids others is asked for anew.
        idle: seconds after which a worker that is one too many ends.
        now: on the clock of `idle_since`.
    """
    end = [one.name for one in asked if not one.placed and one.avoids != avoid]
    left = [one for one in asked if one.name not in end]
    surplus = len(left) - wanted
    if surplus <= 0:
        return Plan(-surplus, tuple(end))
    waiting = [one for one in reversed(left) if not one.placed][:surplus]
    idling = sorted(
        (one for one in left if one.placed and one.idle_since is not None and now - one.idle_since >= idle),
        key=lambda one: one.idle_since or 0.0,
    )[: surplus - len(waiting)]
    return Plan(0, (*end, *(one.name for one in (*waiting, *idling))))
