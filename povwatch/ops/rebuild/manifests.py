"""Reads the manifests in outputs/, and checks the results beside them."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from povwatch.core import layout
from povwatch.files.fs import closing, components, open_beneath, read_at_most
from povwatch.publish import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE_MAX = 4 * 1024 * 1024
"""The most bytes of a manifest. One of a real engine, with all its model files, has some tens of kB."""

MARK = "manifest_version"
"""A key that only our manifests have."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class _Source(_Part):
    path_hex: str
    base_hex: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Engine(_Part):
    kind: str
    real: bool = False


class _Output(_Part):
    path_hex: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int


class _Text(_Part):
    manifest_version: int
    source: _Source
    spec_hash: str
    engine: _Engine
    output: _Output
    job: int = Field(ge=1, lt=2**62)
    run_id: str
    attempt: int
    crashes: int
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Made:
    """A result, as its manifest describes it."""

    path: bytes
    """The clip."""
    base: bytes
    output: Entry
    """The result: its path relative to outputs/, its size and its digest."""
    source_hash: str
    spec_hash: str
    engine: str
    """The kind, as in `engine.kind`."""
    job: int
    """Its job's number in the lost journal."""
    run_id: str
    attempts: int
    crashes: int
    started: float
    """Seconds since the epoch."""
    finished: float
    text: dict[str, Any] = field(repr=False)
    """The whole manifest."""
    file: bytes = b""
    """The manifest's path, relative to outputs/; empty if it is not visible yet."""
    problem: str = ""
    """What is wrong with the result beside it, or that it is missing: a sentence without its full stop."""


@dataclass(slots=True)
class Outputs:
    """The contents of outputs/. Paths are relative to it."""

    made: list[Made] = field(default_factory=list)
    """Every usable manifest, oldest result first."""
    unusable: dict[bytes, str] = field(default_factory=dict)
    """Our unusable manifests, with the reason."""
    files: dict[bytes, int] = field(default_factory=dict)
    """Every plain file, with its size in bytes."""
    unreadable: dict[bytes, str] = field(default_factory=dict)
    """Folders that could not be listed, with the reason."""

    def without_manifest(self) -> set[bytes]:
        """The files that no manifest describes."""
        return set(self.files) - {made.output.target for made in self.made} - {made.file for made in self.made}


def look(outputs: Path) -> Outputs:
    """Read every manifest in outputs/.

    Raises:
        OSError: outputs/ itself cannot be listed.
    """
    found = Outputs()
    with closing(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for path, size in _files(root, found.unreadable):
            found.files[path] = size
        for path in sorted(found.files):
            _read(root, path, found)
    found.made.sort(key=lambda made: (made.finished, made.job, made.file))
    return found


def first(outputs: Path) -> bytes | None:
    """A manifest in outputs/, usable or not; it proves that there was a journal. None if there is none."""
    with suppress(OSError), closing(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for path, _ in _files(root, {}):
            if path.endswith(b".json") and _object(_bytes(root, path)) is not None:
                return path
    return None


def parse(data: bytes, *, file: bytes = b"") -> Made | str | None:
    """Parse a manifest. Returns the reason if it is unusable, and None if it is not ours.

    Args:
        file: its path, relative to outputs/. Its result is beside it, even if the folder was moved.
    """
    value = _object(data)
    if value is None:
        return None
    try:
        text = _Text.model_validate(value)
        path, base = bytes.fromhex(text.source.path_hex), bytes.fromhex(text.source.base_hex)
        target = bytes.fromhex(text.output.path_hex)
        for relative in (path, target):
            if not components(relative):
                return "a path in it is empty"
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        return f"its {where} cannot be used ({error.errors()[0]['msg'].lower()}); another version of povwatch wrote it"
    except ValueError as error:
        return f"a path in it cannot be used ({error})"
    if file:
        suffix = os.path.splitext(target)[1]  # noqa: PTH122 - bytes
        target = file.removesuffix(b".json") + suffix
    return Made(
        path=path,
        base=base,
        output=Entry(b"", target, text.output.size, text.output.sha256),
        source_hash=text.source.sha256,
        spec_hash=text.spec_hash,
        engine=text.engine.kind,
        job=text.job,
        run_id=text.run_id,
        attempts=text.attempt,
        crashes=text.crashes,
        started=text.started_at.timestamp(),
        finished=text.finished_at.timestamp(),
        text=value,
        file=file,
    )


def _read(root: int, path: bytes, found: Outputs) -> None:
    if not path.endswith(b".json"):
        return
    made = parse(_bytes(root, path), file=path)
    if isinstance(made, str):
        found.unusable[path] = made
    elif made is not None:
        found.made.append(_beside(made, found.files))


def _beside(made: Made, files: dict[bytes, int]) -> Made:
    """The manifest, with `problem` set from the file beside it."""
    target = layout.shown(made.output.target)
    size = files.get(made.output.target)
    if size is None:
        problem = f"{target} is not there, only its manifest is"
    elif size != made.output.size:
        problem = f"{target} is not the file that its manifest describes"
    else:
        return made
    return Made(**{name: getattr(made, name) for name in Made.__dataclass_fields__} | {"problem": problem})


def _object(data: bytes) -> dict[str, Any] | None:
    """The JSON object, if it is a manifest of ours."""
    if MARK.encode() not in data:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and MARK in value and "povwatch" in value else None


def _bytes(root: int, path: bytes) -> bytes:
    """A file's bytes; empty if it cannot be read, or is too large for a manifest."""
    with suppress(OSError), closing(open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)) as fd:
        if os.fstat(fd).st_size <= SIZE_MAX:
            return read_at_most(fd, SIZE_MAX)
    return b""


def _files(root: int, unreadable: dict[bytes, str]) -> Iterator[tuple[bytes, int]]:
    """Every plain file below outputs/ with its size, except in our own folder. Symlinks are not followed.

    Raises:
        OSError: outputs/ itself cannot be listed.
    """
    folders = [b""]
    while folders:
        folder = folders.pop()
        try:
            with closing(open_beneath(root, folder, os.O_RDONLY | os.O_DIRECTORY)) as fd:
                names = [os.fsencode(name) for name in os.listdir(fd)]  # noqa: PTH208 - a descriptor
                seen = {}
                for name in sorted(names):
                    with suppress(FileNotFoundError):
                        seen[name] = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if not folder:
                raise
            unreadable[folder] = error.strerror or str(error)
            continue
        for name, status in seen.items():
            path = folder + b"/" + name if folder else name
            if stat.S_ISREG(status.st_mode):
                yield path, status.st_size
            elif stat.S_ISDIR(status.st_mode) and path != layout.STAGING:
                folders.append(path)
