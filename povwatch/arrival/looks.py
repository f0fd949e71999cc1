"""The threads that wait for children which look at arriving clips. Long looks keep only each other waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Looks:
    """Three queues of work."""

    def __init__(self, wake: Callable[[], None], broken: Callable[[Hashable, Exception], None]) -> None:
        self.inspections = Background(wake, threads=2, broken=broken)
        """A child reads every packet, or measures a file that a JSON names."""
        self.walks = Background(wake, threads=1, broken=broken)
        """A child reads an index that is long, or that lies."""
        self.decodes = Background(wake, threads=1, broken=broken)
        """A child decodes a clip from the front: hours if it is long."""

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.inspections.idle and self.walks.idle and self.decodes.idle

    def settle(self) -> None:
        """Hand over what has ended."""
        for queue in (self.inspections, self.walks, self.decodes):
            queue.settle()

    def close(self) -> None:
        """Cancel what is under way, and wait for its end."""
        for queue in (self.decodes, self.walks, self.inspections):
            queue.close()
