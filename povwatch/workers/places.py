"""The machines of workers elsewhere, and which of them get no worker for a while. Pure.

A machine whose workers die one after the other, whatever they do, is most likely broken itself. It has to lose more of
them than one clip may cost (retry.CRASHES_MAX), or a single poisonous clip would take every machine out of use.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

DEATHS_MAX = 4
"""Workers of a machine that may die or fail to load in a row, without a clip generated between."""

REST = 600.0
"""Seconds for which a machine then gets no worker."""


@dataclass(slots=True, eq=False)
class Place:
    """A machine with workers that this daemon uses. Times are on the boot clock."""

    id: str
    """The cluster's name for it, which no other machine ever has."""
    name: str
    """For people."""
    died_before: Counter[str]
    """How many workers have died or could not load since the start, by the name of their machine."""
    deaths: int = 0
    """Workers in a row that died there or could not load."""
    rests_until: float = 0.0

    def died(self, now: float) -> bool:
        """A worker died there or could not load. Returns whether the machine rests from now on."""
        self.died_before[self.name] += 1
        self.deaths += 1
        if self.deaths < DEATHS_MAX:
            return False
        self.deaths, self.rests_until = 0, now + REST
        return True

    def generated(self) -> None:
        """A worker there has generated a clip."""
        self.deaths = 0


class Places:
    """The machines that have been heard of."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self.died: Counter[str] = Counter()
        """How many workers have died or could not load since the start, by the name of their machine."""

    def of(self, node: str, name: str) -> Place:
        """The machine with this id."""
        place = self._places.setdefault(node, Place(node, name, self.died))
        place.name = name
        return place

    def resting(self, now: float) -> dict[str, float]:
        """The ids of the machines that rest, and the seconds for which they do so yet."""
        return {place.id: place.rests_until - now for place in self._places.values() if now < place.rests_until}
