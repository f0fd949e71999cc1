"""`povwatch pause`: the journal's record of it, and the sentence for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.command import command
from povwatch.core.local_time import local

if TYPE_CHECKING:
    from collections.abc import Mapping

FACT = "paused"
"""The record's name in the journal."""


def pause(by: str, at: float) -> dict[str, Any]:
    """The journal's record. `by` is who paused, `at` is in seconds since the epoch."""
    return {"by": by, "at": at}


def in_words(paused: Mapping[str, Any]) -> str:
    """Who paused and when, and how to resume, as a sentence."""
    at = local(paused["at"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"Paused by {paused['by']} at {at}; it goes on with {command('resume')}."
