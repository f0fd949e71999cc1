"""One [[notify]] of config.toml: where notifications go, and about what."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

Kind = Literal["done", "failed", "blocked", "queue-empty", "gpu-lost", "disk-full", "stalled"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a notification may be about, the least urgent first."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,29}://.+", re.DOTALL)


class Notify(BaseModel):
    """A service that is notified. No message shows the URL, which may hold a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr
    """A URL of Apprise, or `@/path/of/a/file` with one in its first line."""
    on: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    """What it is told about."""

    @field_validator("url")
    @classmethod
    def _of_apprise(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if any(not character.isprintable() for character in text):
            raise ValueError("has a control character in it: write it on one line")
        if not text.startswith("@/") and not _SCHEME.fullmatch(text):
            raise ValueError(
                "is no URL of Apprise: write it as service://..., as https://appriseit.com shows for each service, "
                "or @/path/of/a/file that only povwatch may read, with the URL in its first line"
            )
        return url

    @property
    def file(self) -> str:
        """The file that holds the URL; empty if the URL stands in config.toml."""
        text = self.url.get_secret_value()
        return text[1:] if text.startswith("@") else ""
