"""The verbs, and the file of this folder that each is in, which is imported when somebody asks for it.

`povwatch status` is typed often, and needs a third of what `povwatch run` does.
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
"""Each verb as people meet it, and its module."""


class Verb(TyperCommand):
    """One of them, whose help names what is to be typed as README.md does."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own classes
        """Its options and arguments."""
        return _untyped(super().get_params(ctx))


class Verbs(TyperGroup):
    """Imports a verb's module when it is asked for, and knows that clips may have names like options."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own classes
        """The options that go before the verb."""
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
        if args[0] not in VERBS:  # what was meant is guessed from what is loaded
            for verb in VERBS:
                self.get_command(ctx, verb)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own context
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            taken = getattr(error, "option_name", None)  # of a wrong option alone; `-rf.mp4` is taken for -r
            command = getattr(getattr(error, "ctx", None), "command", None)
            if taken and any(param.name == "clip" for param in getattr(command, "params", ())):
                clip = one_line(next((word for word in sys.argv[2:] if word.startswith(taken)), taken))
                # What typer prints.
                error.message = f"{error}\nIf {clip} is a clip: put -- before it, or write ./{clip}"  # type: ignore[attr-defined]
            raise

    def _take(self, app: Typer) -> None:
        """Make commands of what a module has registered."""
        for info in app.registered_commands:
            info.cls = Verb
            verb = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=self.rich_markup_mode)
            self.commands.setdefault(str(verb.name), verb)


def _untyped(params: list[Any]) -> list[Any]:
    """Without the types that typer shows: people type a CLIP, no <str>, and nothing after --once."""
    for param in params:
        if isinstance(param, TyperArgument):
            param.display_type_rich = _nothing  # type: ignore[method-assign]
        elif param.is_flag:
            param.metavar = ""
    return params


def _nothing(ctx: Any) -> str:  # noqa: ANN401, ARG001 - typer's own context
    return ""
