"""The typer application, and what all verbs share."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from povwatch import __version__
from povwatch.cli.verbs import Verbs
from povwatch.config.load import load_config
from povwatch.core import command
from povwatch.core.errors import PovwatchError
from povwatch.core.local_time import use_zone
from povwatch.core.lookup import find, instead, number_of
from povwatch.journal import JournalReader, open_reader
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.core.job import Job

DEFAULT = Path("config.toml")

app = typer.Typer(
    name="povwatch",
    cls=Verbs,
    help="Copy videos into inputs/; what NVIDIA Cosmos-Transfer2.5 makes of them comes out in outputs/.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(highlight=False)


CLIP_HELP = "A path below inputs/, a file name, either without its suffix, or a job's number."


def _said(clip: str) -> str:
    if not clip:
        raise typer.BadParameter("it is empty; give a clip's name")
    return clip


Clip = Annotated[
    str,
    typer.Argument(metavar="CLIP", help=CLIP_HELP, callback=_said),
]


@dataclass(slots=True)
class Shared:
    """The context of every verb."""

    config_file: Path | None
    zone: str = ""
    """What is wrong with the time zone, as sentences; times are in UTC then."""

    def config(self, *, grace: str | None = None, engine: str | None = None) -> Config:
        """The configuration."""
        return load_config(self.config_file, grace=grace, engine=engine)

    def reader(self) -> JournalReader:
        """The journal, read-only."""
        return open_reader(self.config().paths.state)


def _say_version(asked: bool) -> None:  # noqa: FBT001 - typer's way
    if asked:
        console.print(f"povwatch {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="POVWATCH_CONFIG", help="The configuration; config.toml of this folder if left out."
        ),
    ] = None,
    _version: Annotated[  # noqa: FBT002 - typer's way
        bool, typer.Option("--version", help="Say which povwatch this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    command.use(*_called(config))
    file = config if config is not None else DEFAULT if DEFAULT.exists() else None
    context.obj = Shared(file, use_zone())


def program() -> str:
    """The words that start povwatch from the current folder."""
    typed = sys.argv[0]
    found = shutil.which("povwatch")
    on_path = found is not None and Path(typed).exists() and Path(found).samefile(typed)
    plain = on_path or Path(typed).name != "povwatch"  # python -m povwatch
    return os.environ.get("POVWATCH_COMMAND") or ("povwatch" if plain else typed)


def _called(config: Path | None) -> list[str]:
    """The words that start povwatch as now: the program, and --config if another file would be read otherwise."""
    words = [program()]
    if config is not None and config != Path(os.environ.get("POVWATCH_CONFIG") or DEFAULT):
        words += ["--config", str(config)]
    return words


def shared(context: typer.Context) -> Shared:
    """The context that the callback has made."""
    found: Shared = context.ensure_object(Shared)
    return found


def plain(text: str) -> str:
    """A text that may be another user's, for the console: printable, on one line, without markup."""
    return escape(one_line(text))


def job_of(reader: JournalReader, clip: str, verb: str) -> Job:
    """The newest job of the clip in `povwatch VERB CLIP`.

    Raises:
        PovwatchError: no clip or several clips match.
    """
    paths = find(reader.known().keys(), clip)
    number = number_of(clip)
    if not paths and number is not None and (job := reader.job(number)):
        return job
    if not paths:
        raise PovwatchError(f"No clip here is called {clip}.", instead(reader.known().keys(), clip))
    if len(paths) > 1:
        raise several(verb, clip, paths)
    job = reader.latest(paths[0])
    assert job is not None  # noqa: S101 - it is known
    return job


def several(verb: str, clip: str, paths: list[bytes]) -> PovwatchError:
    """The error for a word that matches several clips."""
    return PovwatchError(f"{clip} is the name of {len(paths)} clips.", f"Take one: {command.choice(verb, clips=paths)}")
