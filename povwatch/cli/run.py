"""povwatch run: the daemon. With --once on a terminal, a display stays below the log's lines."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from povwatch.cli import complete
from povwatch.cli.app import shared, verbs
from povwatch.cli.clips_here import named
from povwatch.cli.report import (
    Files,
    print_table,
    save_all,
)
from povwatch.core.events import say
from povwatch.core.layout import shown
from povwatch.core.scope import Scope
from povwatch.core.units import spell_duration
from povwatch.daemon.drain import NOT_DONE, summarise
from povwatch.daemon.loop import Daemon
from povwatch.journal import open_reader
from povwatch.notifications.check import refuse_unusable
from povwatch.ops.report import save
from povwatch.ops.report.gather import gather
from povwatch.service import log
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

    from povwatch.config.settings import Config
    from povwatch.daemon.drain import Outcome
    from povwatch.daemon.view import ClipView, View
    from povwatch.ops.report.data import Report


@verbs.command()
def run(
    context: typer.Context,
    clips: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CLIP",
            help="With --once: these alone; the others are left as they are.",
            autocompletion=complete.clips,
        ),
    ] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Drain the folder, print a report, exit.")] = False,
    engine: Annotated[
        str | None, typer.Option(metavar="KIND", help="auto, cosmos, diffusers or preview; goes over engine.kind.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option(metavar="D", help="Time to edit a JSON, such as 30s; goes over grace.period.")
    ] = None,
    files: Files = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the engine's own output too.")] = False,
) -> None:
    """Watch inputs/ and run what arrives."""
    if not once and (clips or files):
        raise typer.BadParameter("clips and --report go with --once alone: a daemon has no end")
    config = shared(context).config(grace=grace, engine=engine)
    if not once:
        log.configure(verbose=verbose)
        _say_zone(context)
        refuse_unusable(config)
        Daemon(config).run()
        return
    save.check(files or ())
    scope = Scope(named(config, clips) if clips else None)
    display = BatchDisplay() if BatchDisplay.fits() else None
    log.configure(display, verbose=verbose)
    _say_zone(context)
    refuse_unusable(config)
    with display or nullcontext():
        outcome = Daemon(config, once=True, scope=scope, display=display).run()
    log.configure(verbose=verbose)
    code = summarise(outcome, each=display is None)
    found = _report(config, outcome)
    print_table(found)
    if not save_all(found, files or ()):
        code = max(code, NOT_DONE)
    raise typer.Exit(code)


def _say_zone(context: typer.Context) -> None:
    if zone := shared(context).zone:
        say("zone-unusable", problem=zone)


def _report(config: Config, outcome: Outcome) -> Report:
    before = {job.id for job in outcome.before}
    notes = [note for note in (outcome.limited, outcome.away, outcome.closed, outcome.unable) if note]
    if outcome.stopped and not all(job.ended for job in outcome.jobs):
        notes.append("It was ended before all was done; started again it goes on.")
    with open_reader(config.paths.state) as reader:
        return gather(
            reader,
            time.time(),
            only={job.id for job in outcome.jobs} - before | outcome.ended,
            before=len(before),
            left=[shown(path) for path in outcome.left],
            notes=notes,
        )


ROWS_MAX = 12
"""The most running clips that are shown, so that the display fits on a screen."""

WIDE = 110
"""Columns from which on long bars and names fit."""


class BatchDisplay:
    """Shows overall progress, and each running clip with its stage."""

    def __init__(self, console: Console | None = None) -> None:
        """Show nothing yet.

        Args:
            console: standard error if left out.
        """
        self.console = console or Console(stderr=True, highlight=False)
        self._live = Live(
            console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._since = time.monotonic()
        self._begun = ""

    @staticmethod
    def fits() -> bool:
        """Whether the terminal can show it."""
        console = Console(stderr=True)
        return console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def show(self, view: View) -> None:
        """Show the progress of everything."""
        with suppress(OSError):  # the terminal is gone
            self._live.update(picture(view, time.monotonic() - self._since, self.console.width), refresh=True)

    def close(self) -> None:
        """Remove it from the screen, and show the cursor again."""
        with suppress(OSError):  # the terminal is gone
            self._live.stop()

    # -- a log's stream

    def write(self, text: str) -> None:
        """Print a log line, or a part of one, above the display: in its colours, and unbroken."""
        *lines, self._begun = (self._begun + text).split("\n")
        with suppress(OSError):  # the terminal is gone
            for line in lines:
                self.console.print(Text.from_ansi(line), soft_wrap=True)

    def flush(self) -> None:
        """Do nothing: no output is buffered."""

    def isatty(self) -> bool:
        """A terminal."""
        return True

    def fileno(self) -> int:
        """The descriptor of the underlying stream."""
        return sys.stderr.fileno()


def picture(view: View, elapsed: float, width: int) -> RenderableType:
    """Draw a view.

    Args:
        elapsed: seconds since the start.
        width: columns of the terminal.
    """
    name, bar = (34, 24) if width >= WIDE else (20, 12)
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(max_width=name, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=bar)
    grid.add_column(justify="right", width=5)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    ended = view.done + view.ended_otherwise
    share = view.whole / view.total if view.total else 0.0
    grid.add_row(
        f"[bold]{ended} of {view.total} clips[/bold]", _bar(share, bar), f"{share:4.0%}", _overall(view, elapsed)
    )
    for clip in view.running[:ROWS_MAX]:
        grid.add_row(escape(one_line(clip.clip)), _bar(clip.whole, bar), f"{clip.whole:4.0%}", _left(clip))
        if clip.stage != "publishing":
            said = f" [dim]{clip.stage}[/dim]"
            detail = f"[dim]{escape(one_line(clip.detail))}[/dim]"
            grid.add_row(said, _bar(clip.fraction, bar, "dim"), f"[dim]{clip.fraction:4.0%}[/dim]", detail)
    parts: list[RenderableType] = [grid]
    if len(view.running) > ROWS_MAX:
        parts.append(f"... and {len(view.running) - ROWS_MAX} more under way")
    if view.loading:
        parts.append(f"[dim]the engine: {escape(one_line(view.loading))}[/dim]")
    if view.problem:
        parts.append(f"[red]{escape(one_line(view.problem))}[/red]")
    return Group("", *parts)


def _overall(view: View, elapsed: float) -> str:
    parts = [] if view.left is None else [f"about {spell_duration(view.left)} left"]
    parts.append(f"{spell_duration(elapsed)} so far")
    parts += [f"[red]{view.ended_otherwise} not out[/red]"] * bool(view.ended_otherwise)
    parts += [f"{view.waiting} wait"] * bool(view.waiting) + [f"{view.arriving} arrive"] * bool(view.arriving)
    return ", ".join(parts)


def _left(clip: ClipView) -> str:
    if clip.stage == "generating" and clip.left is not None:
        return f"about {spell_duration(clip.left)} left"
    return "publishing" if clip.stage == "publishing" else ""


def _bar(fraction: float, width: int, style: str = "bar.complete") -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(max(fraction, 0.0), 1.0), width=width, complete_style=style)
