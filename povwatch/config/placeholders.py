"""The placeholders of hooks, and how they are filled in. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLACEHOLDERS = {
    "video": "a private copy of the clip, under the clip's own name",
    "spec": "a private copy of its JSON, in upstream's fields",
    "outdir": "the folder of its results in outputs/, which is there",
    "stem": "what its files are called",
    "job": "the job's number",
    "output": "the published video; after a clip only",
}
"""Name to meaning. Paths are absolute."""

AFTER_ONLY = frozenset({"output"})
"""Placeholders that have no value before a clip has run."""

_NAME = re.compile(r"\{([a-z_]+)\}")


def named(texts: Iterable[str]) -> set[str]:
    """The placeholders in some texts, known or not."""
    return {name for text in texts for name in _NAME.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """Fill in a text's placeholders. Braces in the values are left alone.

    A clip may be called `{job}.mp4`.
    """
    return _NAME.sub(lambda found: values[found[1]], text)
