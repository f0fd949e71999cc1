"""Recognises a lost journal: there is none, but outputs/ has results.

With an empty journal the daemon would run every clip again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.core.errors import ConfigError
from povwatch.core.layout import shown
from povwatch.ops.rebuild.manifests import first

if TYPE_CHECKING:
    from povwatch.config.settings import Config


class JournalLost(ConfigError):  # noqa: N818 - what happened
    """The daemon does not start: the user has to decide."""


def refuse(config: Config) -> None:
    """Check that a missing journal is not a lost one.

    Raises:
        JournalLost: outputs/ has results.
    """
    found = first(config.paths.outputs)
    if found is not None:
        raise JournalLost(
            f"There is no journal in {config.paths.state}, and {config.paths.outputs} holds results, such as "
            f"{shown(found)}: without it every clip would run again.",
            f"Is paths.state right, and its disk mounted? If the journal is lost: {command('rebuild')} makes it again "
            f"from inputs/ and outputs/. To begin with nothing all the same: {command('rebuild', '--empty')}",
        )
