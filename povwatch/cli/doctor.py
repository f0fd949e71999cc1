"""povwatch doctor: checks whether this machine can run povwatch. Each line is ok, or says what to do."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.arrival.watch import Watcher, raise_it, watches_allowed
from povwatch.arrival.writers import Writers, writer_open
from povwatch.cli.app import app, console, plain, shared
from povwatch.cli.engine_checks import Finding, examine
from povwatch.core.errors import JournalError, PovwatchError
from povwatch.core.local_time import local
from povwatch.core.sentences import joined
from povwatch.core.units import spell_size
from povwatch.engines.choice import choose
from povwatch.files.fs import fsync_dir, rename_noreplace
from povwatch.files.health import NETWORK, identity
from povwatch.gpu import nvml as gpu
from povwatch.journal import open_reader
from povwatch.media.run import call
from povwatch.spec.configured import configured_templates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.config.settings import Config

WATCHES_WANTED = 8192
"""The recommended number of watches, one for each folder. With fewer, only rescans see a large tree."""


@app.command()
def doctor(
    context: typer.Context,
    engine: Annotated[
        str | None, typer.Option(metavar="KIND", help="Look whether it can run this engine; goes over engine.kind.")
    ] = None,
) -> None:
    """Look whether this machine can run povwatch, and say what to do where it cannot."""
    config = shared(context).config(engine=engine)
    able = True
    for finding in _findings(config, shared(context).zone):
        verdict = (
            "[green]ok[/green]" if not finding.todo else "[red]no[/red]" if finding.fatal else "[yellow]hm[/yellow]"
        )
        # No table: it would break commands, which are to be copied.
        console.print(f"{verdict}  {finding.about:<11}  {plain(finding.words)}", soft_wrap=True)
        able = able and not finding.fatal
    if not able:
        raise typer.Exit(3)


def _findings(config: Config, zone: str) -> Iterator[Finding]:
    yield Finding("python", sys.version.split()[0])
    yield Finding("time", f"{local(time.time()):%H:%M} {time.tzname[0]}", zone)
    for look in (_inputs, _outputs, _state, _events, _leases, _templates, _hooks, _codecs, _gpus, _engine):
        try:
            yield from look(config)
        except (OSError, PovwatchError) as error:
            yield Finding(look.__name__.removeprefix("_"), str(error), "Mend that first.", fatal=True)


def _inputs(config: Config) -> Iterator[Finding]:
    folder = config.paths.inputs
    if not folder.is_dir():
        yield Finding("inputs", f"{folder} is not there", "povwatch makes it at its start.")
        return
    fstype = identity(folder).fstype
    if fstype in NETWORK:
        yield Finding("inputs", f"{folder} is on a network file system ({fstype}): clips are found by rescans.")
    else:
        yield Finding("inputs", f"{folder} ({fstype})")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("inputs", f"{folder} may not be written", "The JSON files go there: chmod g+w.", fatal=True)


def _outputs(config: Config) -> Iterator[Finding]:
    folder = config.paths.outputs
    if not folder.is_dir():
        yield Finding("outputs", f"{folder} is not there", "povwatch makes it at its start.")
        return
    with tempfile.TemporaryDirectory(prefix=".povwatch-", dir=folder) as place:
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            Path(place, "a").touch()
            rename_noreplace(fd, b"a", fd, b"b")
            fsync_dir(fd)
        finally:
            os.close(fd)
    free = shutil.disk_usage(folder).free
    todo = ""
    if free < config.disk.reserve:
        todo = f"Less than disk.reserve ({spell_size(config.disk.reserve)}): no clip is started. Make room."
    yield Finding("outputs", f"{folder} ({identity(folder).fstype}), {spell_size(free)} free", todo, fatal=bool(todo))


def _state(config: Config) -> Iterator[Finding]:
    folder = config.paths.state
    place = folder if folder.is_dir() else folder.parent
    fstype = identity(place).fstype
    if fstype in NETWORK:
        yield Finding("state", f"{folder} is on {fstype}", "SQLite is not safe there: set paths.state.", fatal=True)
        return
    try:
        with open_reader(folder) as reader:
            jobs = sum(reader.counts().values())
        yield Finding("state", f"{folder} ({fstype}), jobs: {jobs}, SQLite {sqlite3.sqlite_version}")
    except JournalError as error:
        fresh = not (folder / "journal.sqlite3").exists()
        yield Finding(
            "state", f"{folder}: no journal yet" if fresh else str(error), "" if fresh else "Mend that first."
        )


def _events(config: Config) -> Iterator[Finding]:
    """Watch inputs/ briefly, as the daemon does."""
    watches = watches_allowed()
    words = (
        f"inotify may watch {watches} folders" if watches is not None else "how many folders may be watched is unknown"
    )
    todo = raise_it(errno.ENOSPC) if watches is not None and watches < WATCHES_WANTED else ""
    watcher = Watcher(config.paths.inputs, lambda _: None, recursive=config.arrival.recursive)
    if config.paths.inputs.is_dir():
        if not watcher.start():
            todo = watcher.problem or ""
        elif watcher.unwatched:
            todo = joined(watcher.shortage, "Until then the rescan finds new clips there.")
        watcher.stop()
    yield Finding("events", words, todo)


def _leases(config: Config) -> Iterator[Finding]:
    if not config.paths.inputs.is_dir():
        return
    with (
        tempfile.NamedTemporaryFile(prefix=".povwatch-", dir=config.paths.inputs) as file,
        Path(file.name).open("rb") as reader,
    ):
        seen = writer_open(reader.fileno())
    if seen is Writers.OPEN:  # our own file, so it works
        yield Finding("writers", "a program that still writes a clip is seen")
    else:
        yield Finding(
            "writers", "who writes cannot be seen here", "Clips settle by time and content; raise arrival.settle."
        )


def _templates(config: Config) -> Iterator[Finding]:
    found = configured_templates(config)
    yield Finding("templates", ", ".join(sorted(found)))


def _hooks(config: Config) -> Iterator[Finding]:
    for hook in config.hooks:
        program = hook.argv[0]
        path = hook.env.get("PATH", os.environ.get("PATH"))
        found = shutil.which(str(config.folder / program) if "/" in program else program, path=path)
        todo = "" if found or "{" in program else "Clips wait until it is: see `argv` in config.toml, and chmod +x."
        words = f"{hook.name}, {hook.when} each clip: {found or program}{' cannot be run' if todo else ''}"
        yield Finding("hook", words, todo)


def _codecs(config: Config) -> Iterator[Finding]:
    del config
    found = call("codecs", {}, timeout=60)
    missing = [name for name, there in found["codecs"].items() if not there]
    todo = f"PyAV lacks {', '.join(missing)}: reinstall it from its wheel (script/bootstrap)." if missing else ""
    yield Finding("codecs", f"PyAV {found['av']}, FFmpeg {found['ffmpeg']}", todo, fatal=bool(missing))


def _gpus(config: Config) -> Iterator[Finding]:
    del config
    seen = gpu.look()
    for found in seen.found:
        memory = f"{spell_size(found.free)} of {spell_size(found.memory)} free"
        yield Finding("gpu", f"{found.name}, {memory}, driver {seen.driver}")
    if seen.problem:
        yield Finding("gpu", f"{seen.problem}.", "Only the preview engine runs without one.")


def _engine(config: Config) -> Iterator[Finding]:
    try:
        with open_reader(config.paths.state) as reader:
            before = reader.real_engine()
    except JournalError:
        before = None
    seen = gpu.look()
    choice = choose(config, seen, before)
    yield from examine(choice.kind, config, seen)
    if choice.problem:
        yield Finding("engine", f"{choice.kind}: {choice.why}", f"It cannot run now: {choice.problem}.", fatal=True)
    else:
        yield Finding("engine", f"{choice.kind}: {choice.why}")
