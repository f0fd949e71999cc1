"""Makes the services of the [[notify]] entries, and says of which of them none can be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.notifications.sender import Target, key_of
from povwatch.notifications.services import Service, Unusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from povwatch.config.notify import Notify

Entry = tuple[str, "Sequence[str]"]
"""A URL, or `@/path/of/a/file` with one, and the kinds of notices that it wants."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be used."""

    entry: int
    """Its number in config.toml, from 1."""
    why: str
    """Continues a sentence that begins with the setting's name. It shows no URL."""
    unreadable: bool = False
    """Whether the URL is in a file that this process may not read. Another user's may."""


def entries(notify: Iterable[Notify]) -> list[Entry]:
    """The entries of a configuration, with their secrets."""
    return [(one.url.get_secret_value(), one.on) for one in notify]


def targets(found: Sequence[Entry]) -> tuple[list[Target], list[Refused]]:
    """The services, and the entries of which none can be made. No network is used.

    Raises:
        NotInstalled: Apprise is not installed.
    """
    made: list[Target] = []
    refused: list[Refused] = []
    for number, (written, on) in enumerate(found, 1):
        try:
            url = _read(written[1:]) if written.startswith("@") else written
            made.append(Target(number, key_of(url), frozenset(on), Service(url)))
        except Unusable as error:
            refused.append(Refused(number, str(error)))
        except OSError as error:
            why = f"the file {written[1:]} cannot be read: {error.strerror}"
            refused.append(Refused(number, why, unreadable=isinstance(error, PermissionError)))
    return made, refused


def _read(file: str) -> str:
    """The URL in a file.

    Raises:
        OSError: the file cannot be read.
        Unusable: there is no URL in it.
    """
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Unusable(f"the file {file} is no text") from error
    url = lines[0].strip() if lines else ""
    if "://" not in url:
        raise Unusable(f"the first line of the file {file} is no URL of Apprise, such as service://...")
    return url
