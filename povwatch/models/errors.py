"""Errors about model files.

PovwatchError
|-- AccessError      a repository does not give us its files: exit 1
|-- ContentError     a file is not what the hub says that it is: exit 1
|-- StoppedError     somebody pressed Ctrl-C
`-- MachineError     exit 3
    |-- RoomError    the disk is full, or would be
    `-- NetworkError the hub cannot be reached
        `-- CutError the connection broke; a new one may go on from there
"""

from __future__ import annotations

from povwatch.core.errors import MachineError, PovwatchError


class AccessError(PovwatchError):
    """A repository does not give us its files, or has none of that name."""


class ContentError(PovwatchError):
    """A file is not what the hub says that it is."""


class StoppedError(PovwatchError):
    """Somebody pressed Ctrl-C."""


class RoomError(MachineError):
    """The disk is full, or would be."""


class NetworkError(MachineError):
    """The hub cannot be reached."""


class CutError(NetworkError):
    """The connection broke during a download; a new one may go on from there."""
