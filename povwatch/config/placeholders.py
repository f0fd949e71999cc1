"""What a hook's settings name in braces, and what stands there when it runs. Pure."""

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
"""Name -> what stands for it. Paths are absolute."""

AFTER_ONLY = frozenset({"output"})
"""Those that there is nothing for before a clip has run."""

_NAME = re.compile(r"\{([a-z_]+)\}")


def named(texts: Iterable[str]) -> set[str]:
    """The placeholders in some texts, known or not."""
    return {name for text in texts for name in _NAME.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders filled in, once: what a value holds is left as it is.

    A clip may be called `{job}.mp4`.
    """
    return _NAME.sub(lambda found: values[found[1]], text)
