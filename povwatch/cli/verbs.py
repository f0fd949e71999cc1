"""The verbs, and the module of each, which is imported only when the verb is used.

`povwatch status` is typed often, and needs a third of the imports of `povwatch run`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.main import get_command_from_info

from povwatch.service.log import one_line

if TYPE_CHECKING:
    from typer import Typer

VERBS = {
    "run": "run",
    "status": "status",
    "jobs": "status",
    "show": "status",
    "why": "why",
    "go": "requests",
    "hold": "requests",
    "retry": "requests",
    "cancel": "requests",
    "pause": "requests",
    "resume": "requests",
    "clean": "clean",
    "specs": "specs",
    "prompts": "prompts",
    "check": "check",
    "doctor": "doctor",
    "prefetch": "prefetch",
    "rebuild": "rebuild",
    "schema": "specs",
    "report": "report",
}
"""Each verb, and its module."""


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
            self._take(importlib.import_module(f"povwatch.cli.{VERBS[cmd_name]}").app)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own classes
        """The verb that the arguments begin with."""
        if args[0] not in VERBS:  # suggestions come from the loaded commands
            for verb in VERBS:
                self.get_command(ctx, verb)
        return super().resolve_command(ctx, args)

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

    def _take(self, app: Typer) -> None:
        """Make commands of the functions that a module has registered."""
        for info in app.registered_commands:
            info.cls = Verb
            verb = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=self.rich_markup_mode)
            self.commands.setdefault(str(verb.name), verb)


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
