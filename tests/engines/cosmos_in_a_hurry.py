"""The cosmos engine, which does not wait long for a rank that has fallen behind."""

from povwatch.engines import ranks
from povwatch.engines.cosmos import CosmosEngine as Engine

ranks.ALIKE = 1.0

__all__ = ["Engine"]
