"""What a shell completes: clips and templates. typer completes verbs, options and states by itself.

Nothing here may print or fail: a word that cannot be completed has no completions.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from povwatch.core.job import EDITABLE, ENDS, JobState
from povwatch.core.layout import shown, split
from povwatch.core.lookup import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from povwatch.config.settings import Config
    from povwatch.journal.reader import Known


VARIABLE = "_POVWATCH_COMPLETE"
"""Set by the shell's script while it completes: `complete_bash` and so on."""

MOST = 200
"""The most clips that are offered; nobody reads more."""

STATES: Mapping[str, frozenset[JobState]] = {
    "go": EDITABLE,
    "hold": EDITABLE,
    "cancel": frozenset(JobState) - ENDS,
    "retry": ENDS,
}
"""The states of the clips that a verb can do something with; any for the others."""

FROM_FOLDER = frozenset({"run", "vary"})
"""The verbs that need no daemon: a clip that no daemon has seen is offered too."""

_PLAIN = re.compile(r"[\w@%+=:,./-]")

_cut: list[str] = []
"""What bash leaves as it is before the word that it completes: the clip in `clip@ni`, of which it replaces `@ni`."""


class Fitting(str):
    """A completion that fits, though it may not begin with what was typed: typer drops all that do not say so."""

    __slots__ = ()

    def startswith(self, *_: object) -> bool:
        """It fits."""
        return True


def prepare(environ: MutableMapping[str, str]) -> bool:
    """Whether a shell wants completions. Puts words together again that bash splits at an @."""
    if VARIABLE not in environ:
        return False
    with suppress(KeyError, ValueError):
        words, at = environ["COMP_WORDS"].split("\n"), int(environ["COMP_CWORD"])
        while "@" in words[1 : at + 1]:
            mark = words.index("@", 1)
            behind = words[mark + 1 : mark + 2] if at > mark else []
            words[mark - 1 : mark + 1 + len(behind)] = [f"{words[mark - 1]}@{''.join(behind)}"]
            at -= 1 + len(behind)
            _cut[:] = [words[at].rpartition("@")[0]]
        environ["COMP_WORDS"], environ["COMP_CWORD"] = "\n".join(words), str(at)
    return True


def clips(ctx: typer.Context, incomplete: str) -> list[str]:
    """The clips and looks that begin with what was typed, as paths below inputs/ or by their file names."""
    with suppress(Exception):
        found = sorted(set(_clips(_config(ctx), str(ctx.command.name), incomplete)))
        return [Fitting(_for_shell(text)) for text in found[:MOST]]
    return []


def templates(ctx: typer.Context, incomplete: str) -> list[str]:
    """The templates that begin with what was typed."""
    from povwatch.spec.prompts import configured_templates  # noqa: PLC0415 - most completions do without

    with suppress(Exception):
        return [name for name in sorted(configured_templates(_config(ctx))) if name.startswith(incomplete)]
    return []


def _config(ctx: typer.Context) -> Config:
    from povwatch.config.load import load_config  # noqa: PLC0415 - see above

    given = ctx.parent.params.get("config") if ctx.parent is not None else None
    default = Path("config.toml")
    return load_config(Path(given) if given else default if default.exists() else None)


def _clips(config: Config, verb: str, typed: str) -> Iterator[str]:
    own, others = _journalled(config)
    states = STATES.get(verb, frozenset(JobState))
    clip, at, look = typed.rpartition("@")
    for path in find(own.keys(), clip) if at else ():
        yield from (
            f"{clip}@{name}"
            for name, known in others.get(path, {}).items()
            if name.startswith(look) and known.state in states
        )
    paths = {path for path, known in own.items() if known.state in states}
    if verb in FROM_FOLDER:
        from povwatch.cli.clips_here import listing  # noqa: PLC0415 - see above

        paths = set(listing(config).clips)
    for path in paths:
        whole, name = shown(path), shown(split(path)[1])
        if whole.startswith(typed) or name.startswith(typed):
            yield f"./{whole}" if whole.startswith("-") else whole


def _journalled(config: Config) -> tuple[Mapping[bytes, Known], Mapping[bytes, Mapping[str, Known]]]:
    from povwatch.journal import open_reader  # noqa: PLC0415 - see above

    with suppress(Exception), open_reader(config.paths.state) as reader:
        return reader.known_and_looks()
    return {}, {}


def _for_shell(text: str) -> str:
    """As bash needs it: quoted, and without what it has split off. Other shells quote by themselves."""
    if os.environ.get(VARIABLE) != "complete_bash":
        return text
    for before in _cut:
        text = text.removeprefix(before)
    return "".join(c if _PLAIN.match(c) else f"\\{c}" for c in text)
