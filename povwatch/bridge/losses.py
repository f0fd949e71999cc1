"""Why something in the cluster did not work, in words. cluster.py makes these of Ray's exceptions."""

from __future__ import annotations


class Lost(Exception):  # noqa: N818 - what happened
    """An actor is gone. The text is a sentence for people; `reason` is one of protocol.ENDS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class Broken(Exception):  # noqa: N818 - what happened
    """A call of a method failed, and the actor may live. The text is a sentence for people."""

    def __init__(self, detail: str, *, passing: bool) -> None:
        """`passing`: whether the connection broke, so that the call may work again."""
        super().__init__(detail)
        self.passing = passing


class Unreachable(Exception):  # noqa: N818 - what happened
    """The cluster cannot be used. The text says why and what to do."""
