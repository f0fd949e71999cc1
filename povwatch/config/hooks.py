"""One [[hooks]] of config.toml, and the placeholders in its texts."""

from __future__ import annotations

import posixpath
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from povwatch.config.faults import suggestion
from povwatch.core.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


PLACEHOLDERS = {
    "video": "a private copy of the clip, under the clip's own name",
    "spec": "a private copy of its JSON, in upstream's fields",
    "outdir": "the folder of its results in outputs/, which is there",
    "stem": "what its files are called",
    "look": "the look of the clip; empty for its own",
    "job": "the job's number",
    "output": "the published video; after a clip only",
}
"""Name to meaning. Paths are absolute."""

OF_A_LOOK = frozenset({"spec", "look"})
"""Placeholders that differ between the looks of a clip."""

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


SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})


class Hook(BaseModel):
    """A program that runs before or after each clip, or each of its looks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Its name in the log and the journal. A hook with a new name is a new hook, which has not run yet."""
    when: Literal["before", "after"]
    """before: after the grace, before a worker has the clip. after: when the result is published."""
    argv: Annotated[tuple[str, ...], Field(min_length=1)]
    """The program and its arguments; no shell. A relative path is relative to config.toml."""
    timeout: Seconds = 3600.0
    """Seconds. A hook that takes longer is ended."""
    env: dict[str, str] = Field(default_factory=dict)
    """Added to povwatch's own environment."""
    expects: tuple[str, ...] = ()
    """Files that have to exist when it has ended: videos decode, JSON parses, others are not empty."""
    on_failure: Literal["stop", "continue"] = "stop"
    """After the last failure: stop fails the clip (before) or skips the following hooks (after)."""
    once: bool = False
    """Whether it runs only once for a video, and not at all if all `expects` exist."""
    per: Literal["clip", "variant"] | None = None
    """How often it runs for a clip with several looks: once, for whichever comes first, or for each.

    By default once before a clip, unless it names {spec} or {look}, and for each look after it.
    """

    @property
    def once_a_clip(self) -> bool:
        """Whether it runs once for all looks of a clip."""
        if self.per is None:
            return self.when == "before" and not OF_A_LOOK & self.placeholders
        return self.per == "clip"

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that may contain placeholders."""
        return (*self.argv, *self.env.values(), *self.expects)

    @property
    def placeholders(self) -> set[str]:
        """The placeholders that it uses."""
        return named(self.texts)

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
            raise ValueError(f"{name!r} is no name for a hook: write lower-case letters, digits, - and _, 40 at most")
        return name

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, timeout: float) -> float:
        if timeout <= 0:
            raise ValueError("has to be more than nothing")
        return timeout

    @field_validator("argv", "expects")
    @classmethod
    def _no_holes(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in text for text in texts) or (texts and not texts[0]):
            raise ValueError("is empty, or has a null character in it")
        return texts

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for name in sorted(self.placeholders):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                meant = suggestion(name, PLACEHOLDERS)
                raise ValueError(
                    f"the hook {self.name!r}: {{{name}}} is unknown, known are {known}{meant and f';{meant}'}"
                )
            if name in AFTER_ONLY and self.when == "before":
                raise ValueError(
                    f'the hook {self.name!r}: {{{name}}} is there after a clip only: use {{outdir}}, or when = "after"'
                )
        for name in sorted(OF_A_LOOK & self.placeholders if self.per == "clip" else ()):
            raise ValueError(
                f'the hook {self.name!r}: {{{name}}} is another one for each look: take it out, or per = "clip"'
            )
        if any(".." in text.split("/") for text in self.expects):
            raise ValueError(f"the hook {self.name!r}: expects has to name files without ..")
        if (script := _script(self.argv)) and named([script]):
            # Whoever may copy a clip into inputs/ chooses its name.
            raise ValueError(
                f"the hook {self.name!r}: a shell would run a clip's name as part of the script. Hand it over as an "
                'argument: argv = ["sh", "-c", "program \\"$1\\"", "sh", "{video}"]'
            )
        return self


def _script(argv: tuple[str, ...]) -> str | None:
    """The script that a shell in the command runs: the word after -c. None if there is none."""
    shells = [index for index, word in enumerate(argv) if posixpath.basename(word) in SHELLS]
    behind = argv[shells[0] :] if shells else ()
    return next((word for option, word in pairwise(behind) if re.fullmatch(r"-[a-z]*c", option)), None)
