"""`povwatch pause`, as the journal keeps it and as people are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.command import command
from povwatch.core.local_time import local

if TYPE_CHECKING:
    from collections.abc import Mapping

FACT = "paused"
"""Under this name the journal keeps it."""


def pause(by: str, at: float) -> dict[str, Any]:
    """What the journal keeps.

    Args:
        by: who said it.
        at: when, in seconds since the epoch.
    """
    return {"by": by, "at": at}


def in_words(paused: Mapping[str, Any]) -> str:
    """Who paused and when, and how it goes on, as a sentence."""
    at = local(paused["at"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"Paused by {paused['by']} at {at}; it goes on with {command('resume')}."
