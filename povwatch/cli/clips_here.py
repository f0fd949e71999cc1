"""The clips in inputs/, for commands that need no daemon."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from povwatch.container.signature import HEAD, video_kind
from povwatch.core import layout
from povwatch.core.errors import ConfigError, JournalError, PovwatchError
from povwatch.core.lookup import find, number_of
from povwatch.files.scan import Listing, scan
from povwatch.files.signature import signature
from povwatch.grace.named_files import measure
from povwatch.journal import members, open_reader
from povwatch.media.info import VideoInfo

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from povwatch.config.settings import Config
    from povwatch.journal.reader import Known
    from povwatch.media.info import Measured


def listing(config: Config) -> Listing:
    """List inputs/.

    Raises:
        InputsAway: it does not exist.
    """
    return scan(config.paths.inputs, config.arrival)


def known(config: Config) -> dict[bytes, Known]:
    """The newest job of every clip ever seen; empty if no daemon ever ran."""
    try:
        with open_reader(config.paths.state) as reader:
            return reader.known()
    except JournalError:
        return {}


def bases(config: Config) -> dict[bytes, bytes]:
    """Every clip in inputs/ and its base: from the journal, else assigned in the order of names."""
    journal = {path: known.base for path, known in known(config).items()}
    return layout.assign_bases(sorted(listing(config).clips, key=layout.precedence), journal)


def named(config: Config, words: Iterable[str]) -> frozenset[bytes]:
    """The clips in inputs/ that the words name.

    Raises:
        ConfigError: a word matches no clip, or several.
    """
    found = listing(config)
    here = found.clips.keys() | found.links.keys()
    return frozenset(_one(config, word, here) for word in words)


def recorded_info(config: Config, clip: Path) -> VideoInfo | None:
    """The daemon's probe of a clip; None if the file has changed since."""
    try:
        path = os.fsencode(clip.absolute().relative_to(config.paths.inputs))
        status = clip.lstat()
        with open_reader(config.paths.state) as reader:
            job = reader.latest(path)
    except (ValueError, OSError, JournalError):
        return None
    if job is None or job.source_info is None or job.source_stat != signature(status):
        return None
    return VideoInfo.from_json(members(job.source_info))


def probed(clip: Path) -> Measured | None:
    """Probe a clip; None if it is no complete video."""
    try:
        with clip.open("rb") as file:
            kind = video_kind(file.read(HEAD))
        if kind is None:
            return None
        return measure(clip.parent, os.fsencode(clip.name), str(kind))
    except (OSError, PovwatchError):
        return None


def digest_of(config: Config, clip: Path) -> str | None:
    """SHA-256 of a clip's bytes, in hexadecimal; None if it is no complete video, or changes meanwhile."""
    if (info := recorded_info(config, clip)) and info.sha256:
        return info.sha256
    if probed(clip) is None:
        return None
    try:
        with clip.open("rb") as file:
            before = signature(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest if signature(os.fstat(file.fileno())) == before else None
    except OSError:
        return None


def _one(config: Config, word: str, here: Collection[bytes]) -> bytes:
    root = str(config.paths.inputs)
    paths = find(here, word.removeprefix(f"{root}/"))
    if not paths and (number := number_of(word)) is not None:
        paths = [path for path, clip in known(config).items() if clip.job == number and path in here]
    if not paths:
        raise ConfigError(
            f"There is no clip {word} in {root}.",
            "Name it by its path below that folder, its file name, either without its suffix, or its job's number.",
        )
    if len(paths) > 1:
        which = ", ".join(layout.shown(path) for path in sorted(paths)[:5])
        raise ConfigError(f"{word} is the name of {len(paths)} clips ({which}).", "Give the path.")
    return paths[0]
