"""Marks that people have set in the page: read from the file that it exports, and written beside the results.

`outputs/clip/clip_marks.json` has the mark of `clip_aug.mp4`, `clip_night_marks.json` that of its look `night`, and
`clip_marks_v2.json` that of a second version. A mark replaces an older one of the same result, never a newer one.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from povwatch.core import layout, looks
from povwatch.core.errors import ConfigError
from povwatch.core.layout import shown
from povwatch.files.fs import components
from povwatch.page.cards import VERSIONS_MAX
from povwatch.publish.own_files import read_own, replace_own

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.core.job import Job

SIZE_MAX = 64 * 2**20
"""Bytes of a file of marks."""

VERSION = "povwatch_marks"
"""The key of the format's version."""


class Mark(BaseModel):
    """A mark of a result."""

    model_config = ConfigDict(frozen=True)

    path_hex: str = Field(pattern="^([0-9a-f]{2})+$", max_length=8192)
    """The clip, relative to inputs/, as the file system spells it."""
    look: str = Field("", max_length=looks.LOOK_MAX)
    output: str | None = None
    """The result, relative to outputs/, as people read it."""
    run_id: str | None = None
    mark: Literal["accept", "reject"] | None = None
    note: str = Field("", max_length=20_000)
    at: AwareDatetime

    @property
    def path(self) -> bytes:
        """The clip."""
        return bytes.fromhex(self.path_hex)


class Marks(BaseModel):
    """What the page exports."""

    povwatch_marks: Literal[1]
    folder: str
    title: str = ""
    marks: list[Mark]


class Fate(StrEnum):
    """What an import has done with a mark."""

    WRITTEN = "written"
    SAME = "there already"
    OLDER = "older than what is there"


def parse(data: bytes, file: Path) -> Marks:
    """Read a file of marks.

    Raises:
        ConfigError: it is none.
    """
    todo = "Give the file that the page's button Export marks has saved."
    try:
        value = json.loads(data)
        if not isinstance(value, dict) or VERSION not in value:
            raise ConfigError(f"{file} is no file of marks.", todo)
        found = Marks.model_validate(value)
        for mark in found.marks:
            components(mark.path)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{file}: {where} cannot be used: {first['msg'].lower()}.", todo) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is no file of marks ({error}).", todo) from error
    return found


def place(mark: Mark, job: Job, pattern: str) -> bytes:
    """The file of a mark, relative to outputs/.

    Args:
        job: the newest one of the clip and look.
        pattern: publish.layout.
    """

    def named(kind: str, version: int) -> bytes:
        return layout.output(pattern, job.path, job.base, looks.kind_of(kind, job.look), version)

    versions = range(2, VERSIONS_MAX + 1)
    version = next((n for n in versions if mark.output in {shown(named(kind, n)) for kind in ("aug", "preview")}), 1)
    return layout.manifest(named("marks", version))


def write(outputs: Path, path: bytes, mark: Mark, job: Job) -> Fate:
    """Write a mark beside its result, unless a newer one is there.

    Raises:
        NotWritten: it cannot be written, or another's file is there.
        PovwatchError: outputs/ is away, or a link is on the way.
    """
    text: dict[str, Any] = {
        VERSION: 1,
        "clip": shown(job.path),
        "look": job.look or None,
        "mark": mark.mark,
        "note": mark.note,
        "at": mark.at.isoformat(timespec="milliseconds"),
        "output": mark.output,
        "run_id": mark.run_id,
    }
    data = json.dumps(text, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    before = read_own(outputs, path)
    if before == data:
        return Fate.SAME
    if before is not None and (set_at := _set_at(before)) is not None and set_at > mark.at:
        return Fate.OLDER
    replace_own(outputs, path, data)
    return Fate.WRITTEN


def _set_at(data: bytes) -> datetime | None:
    """When a mark was set; None if that cannot be told."""
    try:
        found = datetime.fromisoformat(json.loads(data)["at"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if found.tzinfo is not None else None
