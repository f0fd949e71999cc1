"""Writes the page's files in outputs/. Runs in a thread; gets data alone.

`data.js` has every card, `progress.js` what changes by the second; both call a function of `page.js` with JSON. An open
page reads `progress.js` every few seconds, and `data.js` again when its revision is another one.
"""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from povwatch import __version__
from povwatch.core.scores import SCORES
from povwatch.page.cards import as_json
from povwatch.page.results import FILES
from povwatch.publish.own_files import add_own, read_own, refuse_another, replace_own

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

INDEX = b"index.html"

FORMAT = 1
"""Of the data. A page that is open and has an older script loads itself again when it sees another number."""

IDENTITY = FILES + b"/folder.txt"

_IDENTITY = re.compile(rb"^folder: ([0-9a-f]{16})$", re.MULTILINE)

ABOUT = """povwatch knows this folder by the name below. The marks that people set in the page carry it.
folder: {name}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A job in the plain list, for browsers without scripts."""

    clip: str
    state: str
    problem: str
    output: str
    """The result's address; empty if there is none."""
    earlier: bool
    """Whether the result is of an earlier job."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that the page shows."""

    title: str
    cards: Sequence[str]
    """In JSON; see cards.as_text."""
    texts: Sequence[str]
    rows: Sequence[Row]
    hidden: int
    """The number of jobs that are left out."""
    revision: str
    at: float
    """Seconds since the epoch."""


def identity(outputs: Path) -> str:
    """The name by which marks know this folder. It is made at the first call.

    Raises:
        PovwatchError: it cannot be read or written now.
    """
    if (known := known_identity(outputs)) is None:
        add_own(outputs, IDENTITY, ABOUT.format(name=secrets.token_hex(8)).encode())
        known = known_identity(outputs)
    return known or ""


def known_identity(outputs: Path) -> str | None:
    """The same; None if no page was ever written here.

    Raises:
        PovwatchError: it cannot be read now.
    """
    found = _IDENTITY.search(read_own(outputs, IDENTITY) or b"")
    return None if found is None else found[1].decode()


def write_page(
    _cancelled: threading.Event | None, outputs: Path, contents: Contents | None, progress: dict[str, Any]
) -> float:
    """Write the page, or the progress alone if there are no contents. Returns the seconds that it took.

    Raises:
        PovwatchError: it cannot be written now.
    """
    begun = time.monotonic()
    if contents is not None:
        _write_all(outputs, contents)
    replace_own(outputs, FILES + b"/progress.js", _script("progress", as_json(progress)))
    return time.monotonic() - begun


def _write_all(outputs: Path, contents: Contents) -> None:
    index = _index(contents)
    refuse_another(outputs, INDEX)  # nothing is written then: that page may have its own files in index_files/
    folder = identity(outputs)
    for name, data in _parts().items():
        path = FILES + b"/" + name.encode()
        if read_own(outputs, path) != data:
            replace_own(outputs, path, data)
    head = as_json(
        {
            "format": FORMAT,
            "revision": contents.revision,
            "folder": folder,
            "title": contents.title,
            "at": contents.at,
            "hidden": contents.hidden,
            "scores": {one.name: {"words": one.words, "higher": one.higher} for one in SCORES.values()},
            "texts": list(contents.texts),
        }
    )
    body = ",\n".join(contents.cards)
    replace_own(outputs, FILES + b"/data.js", _script("data", f'{head[:-1]},"jobs":[\n{body}\n]}}'))
    replace_own(outputs, INDEX, index)


def _script(function: str, json: str) -> bytes:
    return f"/* povwatch {__version__} */\npovwatch.{function}({json});\n".encode()


@functools.cache
def _parts() -> dict[str, bytes]:
    """The style sheet and the script."""
    here = files("povwatch.page")
    return {name: here.joinpath(name).read_bytes() for name in ("page.css", "page.js")}


@functools.cache
def _version() -> str:
    """A name for these parts, so that no browser shows an older one that it has kept."""
    return hashlib.sha256(b"".join(_parts().values())).hexdigest()[:12]


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("povwatch.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _index(contents: Contents) -> bytes:
    page = _environment().get_template("index.html.j2")
    folder = FILES.decode()
    text = page.render(contents=contents, version=__version__, files=folder, parts=_version())
    return text.encode("utf-8", "backslashreplace")
