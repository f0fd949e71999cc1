"""The choices in a template's texts, and how one alternative of each is drawn. Pure.

All texts of a template share their choices: `{light: sun|lamp}` in one text and `{light}` in another give the same
words.

A draw depends on the seed, the clip's bytes, the look, the choice's name and its alternatives, and on nothing else.
So another clip, look or choice changes no draw. Nor does the order of the alternatives. A new alternative changes only
the draws that it wins.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from povwatch.spec.placeholders import BadText, Placeholder, parts_of
from povwatch.spec.variables import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    Choices = Mapping[str, tuple[str, ...]]

RULE = "povwatch choice 1"
"""Part of what is hashed. Another rule would need another name, since people compare draws over years."""


def choices_in(texts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Check the texts of one template, and find their choices.

    Args:
        texts: by key, such as "prompt".

    Returns:
        The alternatives of each choice, by its name.

    Raises:
        BadText: a text cannot be used; its `key` says which.
    """
    found: dict[str, tuple[str, ...]] = {}
    named: list[tuple[str, Placeholder]] = []
    for key, text in texts.items():
        try:
            parts = parts_of(text)
        except BadText as error:
            error.key = key
            raise
        named += [(key, part) for part in parts if isinstance(part, Placeholder)]
    for key, placeholder in named:
        if placeholder.alternatives:
            _check_choice(key, placeholder, found)
            found[placeholder.name] = placeholder.alternatives
    for key, placeholder in named:
        if placeholder.name not in VARIABLES and placeholder.name not in found:
            there = ", ".join(f"{{{name}}}" for name in (*VARIABLES, *found))
            message = f"is no variable; there are {there}"
            todo = "Put it right, or write {name: this|that} for a choice, {{ for a brace itself."
            raise _bad(key, placeholder, message, todo)
    return found


def draw(choices: Choices, *, seed: int, digest: str, look: str) -> dict[str, str]:
    """Draw one alternative of each choice.

    Each alternative has a score, a hash of itself and of everything that the draw depends on; the highest one wins
    (rendezvous hashing: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM
    Transactions on Networking 6(1), 1998).

    Args:
        choices: as `choices_in` gives them.
        seed: the seed in the JSON.
        digest: SHA-256 of the clip's bytes, in hexadecimal.
        look: empty for the clip's own JSON.
    """
    drawn = {}
    for name, alternatives in choices.items():
        # One that stands there twice has two scores.
        scores = {
            _score(seed, digest, look, name, words, alternatives[:place].count(words)): words
            for place, words in enumerate(alternatives)
        }
        drawn[name] = scores[max(scores)]
    return drawn


def looks_possible(choices: Choices) -> int:
    """How many different looks a template's choices make."""
    many = 1
    for alternatives in choices.values():
        many *= len(set(alternatives))
    return many


def _score(*parts: str | int) -> bytes:
    return hashlib.sha256(json.dumps([RULE, *parts]).encode()).digest()


def _check_choice(key: str, placeholder: Placeholder, found: Choices) -> None:
    """Check that a choice's name is free, or stands for the same alternatives."""
    name = placeholder.name
    if name in VARIABLES:
        raise _bad(
            key, placeholder, f"is no variable: {name} stands for {VARIABLES[name]}", "Name the choice otherwise."
        )
    if found.get(name, placeholder.alternatives) != placeholder.alternatives:
        before = "|".join(found[name])
        todo = f"Write {{{name}}} alone for the same words, or give this choice a name of its own."
        raise _bad(key, placeholder, f"has other alternatives than {name} elsewhere in this template ({before})", todo)


def _bad(key: str, placeholder: Placeholder, message: str, todo: str) -> BadText:
    error = BadText(placeholder.written, message, todo, at=placeholder.at)
    error.key = key
    return error
