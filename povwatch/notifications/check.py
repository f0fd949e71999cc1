"""Checks the [[notify]] entries before the daemon starts, in a child: the daemon does not import Apprise."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.config.faults import place
from povwatch.core.errors import ConfigError
from povwatch.core.events import say
from povwatch.core.machine_faults import Place, blamed
from povwatch.notifications.process import by_unit, started
from povwatch.notifications.services import INSTALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.settings import Config

CHECK_PATIENCE = 30.0
"""Seconds for the check, in which no network is used."""


def refuse_unusable(config: Config) -> None:
    """Check the entries.

    Raises:
        ConfigError: an entry cannot be used, or Apprise is not installed.
    """
    if not config.notify:
        return
    try:
        answer = checked(config)
    except OSError as error:
        known = blamed(error, Place.PROCESS, "the check of [[notify]]")
        say("notify-unchecked", problem=known.what if known else str(error))
        return
    if answer is None:
        say("notify-unchecked", problem="the process that checks them ended, or took too long")
        return
    if answer.get("missing"):
        raise ConfigError(f"{config.origin}: [[notify]] needs Apprise, and it is not installed.", INSTALL)
    raise_refused(config, [one for one in answer["refused"] if not (one[2] and by_unit())])


def raise_refused(config: Config, refused: Sequence[tuple[int, str, bool]]) -> None:
    """Raise for entries (number, reason, and whether a file cannot be read) that cannot be used.

    Raises:
        ConfigError: there is one; it names the file, the line and the entry, and shows no URL.
    """
    file = Path(config.origin)
    lines = [
        f"{place(['notify', str(entry - 1), 'url'], file if file.is_file() else None, config.origin)}: "
        f"notify.url, entry {entry}: {why}."
        for entry, why, _ in refused
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def checked(config: Config) -> dict[str, Any] | None:
    """What the child says of the entries (child.main); None if it ends without an answer, or takes too long.

    Raises:
        OSError: it cannot be started.
    """
    deadline = time.monotonic() + CHECK_PATIENCE
    with closing(started(config, check=True)) as child:
        while child.answering and (left := deadline - time.monotonic()) > 0:
            answers, _ = child.listen(left)
            if answers:
                return answers[0]
    return None
