"""The cosmos engine, which does not wait long for a rank that has fallen behind."""

from povwatch.engines.cosmos import CosmosEngine as Engine
from povwatch.engines.upstream import group

group.ALIKE = 1.0

__all__ = ["Engine"]
