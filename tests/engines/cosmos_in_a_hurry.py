"""The cosmos engine, which does not wait long for a rank that has fallen behind."""

from povwatch.engine.cosmos import CosmosEngine as Engine
from povwatch.engine.upstream import group

group.ALIKE = 1.0

__all__ = ["Engine"]
