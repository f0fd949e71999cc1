"""Reads outputs/: published results with their manifests, and sealed results that were about to be published.

A sealed result has its manifest in the private folder of its run (publish/). The promise can be made again from it, so
that no GPU time is spent twice. If a result is wholly visible and its private folder still exists, its hooks were not
over.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from povwatch.attempt.attempt import FINAL, SHEET
from povwatch.core import layout, looks
from povwatch.core.command import command
from povwatch.core.errors import ConfigError
from povwatch.files.fs import closing, components, open_beneath, read_at_most
from povwatch.publish import Entry, Sealed
from povwatch.publish import files as staged
from povwatch.publish.staging import Staging, folder_name, folder_of, root_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from povwatch.config.settings import Config

SIZE_MAX = 4 * 1024 * 1024
"""The most bytes of a manifest. One of a real engine, with all its model files, has some tens of kB."""

MARK = "manifest_version"
"""A key that only our manifests have."""

STAGED = os.fsencode(FINAL)
"""The name of a result in its private folder."""

_MANIFEST = re.compile(rb"manifest_v([0-9]{1,3})\.json")


class JournalLost(ConfigError):  # noqa: N818 - what happened
    """The daemon does not start: the user has to decide."""


@dataclass(frozen=True, slots=True)
class Result:
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
    look: str = looks.OWN
    """The look of the clip that it is."""

    @property
    def key(self) -> looks.Owner:
        """The clip and the look that it is of."""
        return looks.Owner(self.path, self.look)


@dataclass(slots=True)
class Outputs:
    """The contents of outputs/. Paths are relative to it."""

    results: list[Result] = field(default_factory=list)
    """Every usable manifest, oldest result first."""
    unusable: dict[bytes, str] = field(default_factory=dict)
    """Our unusable manifests, with the reason."""
    files: dict[bytes, int] = field(default_factory=dict)
    """Every plain file, with its size in bytes."""
    unreadable: dict[bytes, str] = field(default_factory=dict)
    """Folders that could not be listed, with the reason."""

    def without_manifest(self) -> set[bytes]:
        """The files that no manifest describes."""
        return set(self.files).difference(*((result.output.target, result.file) for result in self.results))


@dataclass(frozen=True, slots=True)
class Promise:
    """A sealed result that is to be published."""

    result: Result
    sealed: Sealed


def refuse_lost_journal(config: Config) -> None:
    """Check that a missing journal is not a lost one: with an empty journal the daemon would run every clip again.

    Raises:
        JournalLost: outputs/ has results.
    """
    found = first(config.paths.outputs)
    if found is not None:
        raise JournalLost(
            f"There is no journal in {config.paths.state}, and {config.paths.outputs} holds results, such as "
            f"{layout.shown(found)}: without it every clip would run again.",
            f"Is paths.state right, and its disk mounted? If the journal is lost: {command('rebuild')} makes it again "
            f"from inputs/ and outputs/. To begin with nothing all the same: {command('rebuild', '--empty')}",
        )


# -- published results


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
    look: str = Field(looks.OWN, pattern=r"^[\w-]*$", max_length=looks.LOOK_MAX)
    spec_hash: str
    engine: _Engine
    output: _Output
    job: int = Field(ge=1, lt=2**62)
    run_id: str
    attempt: int
    crashes: int
    started_at: datetime
    finished_at: datetime


def read_outputs(outputs: Path) -> Outputs:
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
    found.results.sort(key=lambda result: (result.finished, result.job, result.file))
    return found


def first(outputs: Path) -> bytes | None:
    """A manifest in outputs/, usable or not; it proves that there was a journal. None if there is none."""
    with suppress(OSError), closing(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for path, _ in _files(root, {}):
            if path.endswith(b".json") and _object(_bytes(root, path)) is not None:
                return path
    return None


def parse(data: bytes, *, file: bytes = b"") -> Result | str | None:
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
    return Result(
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
        look=text.look,
    )


def _read(root: int, path: bytes, found: Outputs) -> None:
    if not path.endswith(b".json"):
        return
    result = parse(_bytes(root, path), file=path)
    if isinstance(result, str):
        found.unusable[path] = result
    elif result is not None:
        found.results.append(_beside(result, found.files))


def _beside(result: Result, files: dict[bytes, int]) -> Result:
    """The manifest, with `problem` set from the file beside it."""
    target = layout.shown(result.output.target)
    size = files.get(result.output.target)
    if size is None:
        problem = f"{target} is not there, only its manifest is"
    elif size != result.output.size:
        problem = f"{target} is not the file that its manifest describes"
    else:
        return result
    return replace(result, problem=problem)


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


# -- sealed results


def find_promises(outputs: Path, results: Iterable[Result], *, hooks: bool) -> tuple[list[Promise], int]:
    """The promises that can still be kept, and the number of runs that are lost.

    Args:
        results: those with a visible manifest.
        hooks: whether hooks run after a clip. The private folder is removed when they are over, so a visible result
            with a private folder is a promise too. Keeping it only runs the hooks, at worst a second time.
    """
    visible = {(one.job, one.run_id): one for one in results}
    promises: list[Promise] = []
    lost: list[int] = []
    with ExitStack() as opened:
        root = root_of(outputs, opened)
        for job, run_id in sorted((job, attempt) for job, attempt in Staging(outputs).attempts() if attempt):
            shown = visible.get((job, run_id))
            if shown is None:
                found = _sealed(root, job, run_id)
                lost += [job] if found is None else []
            else:
                found = _uncleared(root, shown) if hooks else None
            if found is not None:
                promises.append(found)
    kept = {promise.result.job for promise in promises}
    return promises, sum(job not in kept for job in lost)  # a job's other runs tried other seeds


def _uncleared(root: int, result: Result) -> Promise | None:
    """The promise of a visible result, if its files are unchanged."""
    if result.problem or result.file != layout.manifest(result.output.target):
        return None
    data = _bytes(root, result.file)
    # Any version will do: if the name is taken, publishing takes a later one.
    return _promise(result, 1, b"manifest_v1.json", result.file, data) if data else None


def _promise(
    result: Result, version: int, staged_as: bytes, target: bytes, data: bytes, *, others: Iterable[Entry] = ()
) -> Promise:
    video = replace(result.output, staged=STAGED)
    manifest = Entry(staged_as, target, len(data), hashlib.sha256(data).hexdigest())
    return Promise(result, Sealed(result.job, result.run_id, version, (video, *others, manifest)))


def _others(here: int, text: dict[str, Any]) -> Iterator[Entry]:
    """The files of a manifest beside its result that are still in the private folder."""
    controls = text.get("control_videos")
    named = {f"control_{key}.mp4": about for key, about in controls.items()} if isinstance(controls, dict) else {}
    for name, about in (named | {SHEET: text.get("sheet")}).items():
        with suppress(ValidationError, ValueError):
            file = _Output.model_validate(about)
            entry = Entry(os.fsencode(name), bytes.fromhex(file.path_hex), file.size, file.sha256)
            if components(entry.target) and "/" not in name and staged.same(here, entry.staged, entry):
                yield entry


def _sealed(root: int, job: int, run_id: str) -> Promise | None:
    """A run's promise of the highest version whose result exists, in the private folder or visible."""
    with ExitStack() as opened:
        try:
            here = folder_of(root, layout.STAGING + b"/" + os.fsencode(folder_name(job, run_id)), opened)
        except OSError:
            return None
        names = [os.fsencode(name) for name in os.listdir(here)]  # noqa: PTH208 - a descriptor
        versions = {int(found[1]): name for name in names if (found := _MANIFEST.fullmatch(name))}
        for version in sorted(versions, reverse=True):
            data = _bytes(here, versions[version])
            result = parse(data)
            if not isinstance(result, Result) or (result.job, result.run_id) != (job, run_id):
                continue
            if _is_there(root, here, result):
                target = layout.manifest(result.output.target)
                return _promise(result, version, versions[version], target, data, others=_others(here, result.text))
    return None


def _is_there(root: int, here: int, result: Result) -> bool:
    """Whether the result exists, in its private folder or under its final name."""
    if staged.same(here, STAGED, result.output):
        return True
    folder, name = layout.split(result.output.target)
    with ExitStack() as opened:
        try:
            return staged.same(folder_of(root, folder, opened), name, result.output)
        except OSError:
            return False
