"""Selects the environment variables that a child inherits. Python 3.10, standard library alone."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_INHERITED = re.compile(r"NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_\w+|PYTHON(PATH|HOME)|VIRTUAL_ENV")
"""Variables that are meant for the daemon alone, or that would show another interpreter our packages."""


def child_environment(*more: Mapping[str, str]) -> dict[str, str]:
    """Our environment as a child gets it, updated with each mapping of `more` in turn."""
    environment = {name: value for name, value in os.environ.items() if not NOT_INHERITED.fullmatch(name)}
    for variables in more:
        environment.update(variables)
    return environment
