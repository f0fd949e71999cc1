"""The typer application, and what all verbs share."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer._click.shell_completion import CompletionItem
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.main import get_command_from_info

from povwatch import __version__
from povwatch.cli import complete
from povwatch.config.load import load_config
from povwatch.core import command
from povwatch.core.errors import PovwatchError
from povwatch.core.local_time import use_zone
from povwatch.core.looks import OWN
from povwatch.core.lookup import meant, no_such_look, number_of
from povwatch.journal import JournalReader, open_reader
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.core.job import Job


VERBS = {
    "run": "run",
    "status": "status",
    "jobs": "status",
    "show": "status",
    "why": "why",
    "logs": "logs",
    "go": "requests",
    "hold": "requests",
    "retry": "requests",
    "cancel": "requests",
    "pause": "requests",
    "resume": "requests",
    "clean": "requests",
    "specs": "specs",
    "vary": "vary",
    "prompts": "specs",
    "check": "check",
    "doctor": "doctor",
    "prefetch": "prefetch",
    "rebuild": "rebuild",
    "schema": "specs",
    "report": "report",
    "notify": "notify",
    "pool": "pool",
    "marks": "marks",
}
"""Each verb, and its module, which is imported only when the verb is used: `povwatch status` is typed often."""


class Verb(TyperCommand):
    """A verb whose help writes arguments as README.md does."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own classes
        """Its options and arguments."""
        return _untyped(super().get_params(ctx))


class Verbs(TyperGroup):
    """Imports a verb's module when it is used, and accepts clips whose names look like options."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own classes
        """The options before the verb."""
        return _untyped(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002 - typer's own context
        """The verbs' names."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - typer's own classes
        """The verb of that name; None if there is none."""
        if cmd_name in VERBS and cmd_name not in self.commands:
            importlib.import_module(f"povwatch.cli.{VERBS[cmd_name]}")
            self.commands[cmd_name] = self._made(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own classes
        """The verb that the arguments begin with."""
        if args[0] not in VERBS:  # suggestions come from the loaded commands
            for verb in VERBS:
                self.get_command(ctx, verb)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - typer's own classes
        """The verbs that begin so, without an import of their modules; or options."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(verb) for verb in VERBS if verb.startswith(incomplete)]

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own context
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            taken = getattr(error, "option_name", None)  # only of a wrong option; `-rf.mp4` is taken for -r
            command = getattr(getattr(error, "ctx", None), "command", None)
            if taken and any(param.name == "clip" for param in getattr(command, "params", ())):
                clip = one_line(next((word for word in sys.argv[2:] if word.startswith(taken)), taken))
                # What typer prints.
                error.message = f"{error}\nIf {clip} is a clip: put -- before it, or write ./{clip}"  # type: ignore[attr-defined]
            raise

    def _made(self, name: str) -> Any:  # noqa: ANN401 - typer's own classes
        """Make the command of a verb's function; typer itself would make those of all that are registered."""
        [info] = [info for info in verbs.registered_commands if getattr(info.callback, "__name__", "") == name]
        info.cls = Verb
        return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=self.rich_markup_mode)


def _untyped(params: list[Any]) -> list[Any]:
    """Remove the types from typer's help: people type a CLIP, no <str>, and nothing after --once."""
    for param in params:
        if isinstance(param, TyperArgument):
            param.display_type_rich = _nothing  # type: ignore[method-assign]
        elif param.is_flag:
            param.metavar = ""
    return params


def _nothing(ctx: Any) -> str:  # noqa: ANN401, ARG001 - typer's own context
    return ""


DEFAULT = Path("config.toml")

app = typer.Typer(
    name="povwatch",
    cls=Verbs,
    help="Copy videos into inputs/; what NVIDIA Cosmos-Transfer2.5 makes of them comes out in outputs/.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
verbs = typer.Typer()
"""The functions of the verbs whose modules have been imported."""

console = Console(highlight=False)


CLIP_HELP = "A path below inputs/, a file name, either without its suffix, or a job's number; CLIP@LOOK for one look."


def _not_empty(clip: str) -> str:
    if not clip:
        raise typer.BadParameter("it is empty; give a clip's name")
    return clip


Clip = Annotated[
    str,
    typer.Argument(metavar="CLIP", help=CLIP_HELP, callback=_not_empty, autocompletion=complete.clips),
]


@dataclass(slots=True)
class Shared:
    """The context of every verb."""

    config_file: Path | None
    zone: str = ""
    """What is wrong with the time zone, as sentences; times are in UTC then."""
    _plain: Config | None = None

    def config(self, *, grace: str | None = None, engine: str | None = None) -> Config:
        """The configuration. Without options it is read once."""
        if grace is not None or engine is not None:
            return load_config(self.config_file, grace=grace, engine=engine)
        if self._plain is None:
            self._plain = load_config(self.config_file)
        return self._plain

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


def job_of(reader: JournalReader, clip: str, verb: str) -> Job | None:
    """The newest job of the clip and look in `povwatch VERB CLIP`; None if the journal knows no such clip.

    Without a look in the word it is the clip's own.

    Raises:
        PovwatchError: several clips match, or the clip has no such look.
    """
    paths, look = meant(reader.known().keys(), clip)
    if len(paths) > 1:
        take = f"Take one: {command.choice(verb, clips=paths)}"
        raise PovwatchError(f"{clip} is the name of {len(paths)} clips.", take)
    if paths:
        found = reader.latest(paths[0], look or OWN)
        if found is None:
            raise PovwatchError(no_such_look(paths[0], look or OWN, [job.look for job in reader.looks(paths[0])][1:]))
        return found
    number = number_of(clip)
    return None if number is None else reader.job(number)
