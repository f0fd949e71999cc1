"""povwatch marks import: writes the marks that the page has exported beside the results, without a daemon."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import console, plain, shared, verbs
from povwatch.core.errors import ConfigError, PovwatchError
from povwatch.core.layout import shown
from povwatch.core.looks import called
from povwatch.page.files import known_identity
from povwatch.page.marks import SIZE_MAX, Fate, parse, place, write

if TYPE_CHECKING:
    from povwatch.page.marks import Marks


class What(StrEnum):
    """What is done with marks."""

    IMPORT = "import"


@verbs.command()
def marks(
    context: typer.Context,
    what: Annotated[What, typer.Argument(metavar="import", help="Write them beside the results.")],  # noqa: ARG001
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the page has exported.")],
) -> None:
    """Write the marks that were set in the page beside the results."""
    config = shared(context).config()
    found = _read(file)
    _refuse_others(config.paths.outputs, found, file)
    fates: Counter[str] = Counter()
    failed = 0
    with shared(context).reader() as reader:
        for mark in found.marks:
            name = plain(shown(called(mark.path, mark.look)))
            job = reader.latest(mark.path, mark.look)
            if job is None:
                failed += 1
                console.print(f"{name}: no clip here is called that; its mark is left out.", soft_wrap=True)
                continue
            path = place(mark, job, config.publish.layout)
            try:
                fate = write(config.paths.outputs, path, mark, job)
            except PovwatchError as error:
                failed += 1
                console.print(f"{name}: {plain(str(error))}", soft_wrap=True)
                continue
            fates[fate] += 1
            if fate is not Fate.SAME:
                said = f"{mark.mark or 'no mark'}{', with a note' if mark.note else ''}"
                console.print(f"{name}: {said}, {fate}: {plain(shown(path))}", soft_wrap=True)
    parts = [f"{count} {fate}" for fate, count in fates.items()] + ([f"{failed} left out"] if failed else [])
    console.print(f"{', '.join(parts) or 'no marks in it'}.", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _read(file: Path) -> Marks:
    try:
        with file.open("rb") as opened:
            data = opened.read(SIZE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Give the file that the page saved.") from error
    if len(data) > SIZE_MAX:
        raise ConfigError(f"{file} is longer than {SIZE_MAX // 2**20} MiB.", "Give the file that the page saved.")
    return parse(data, file)


def _refuse_others(outputs: Path, found: Marks, file: Path) -> None:
    """Refuse marks of another folder: its clips may have the same names.

    Raises:
        ConfigError: they are.
    """
    here = known_identity(outputs)
    if here is None:
        raise ConfigError(
            f"{outputs} has no page, so the marks in {file} are of another folder.", "Name its config.toml."
        )
    if found.folder != here:
        title = f' ("{found.title}")' if found.title else ""
        raise ConfigError(
            f"The marks in {file} are of another folder{title}: they carry the name {found.folder[:40]}, "
            f"and {outputs} is {here}.",
            "Name the config.toml of that folder with --config.",
        )
