"""What run --once shows on a terminal."""

import errno
import io

import pytest
from rich.console import Console

from povwatch.cli.run import BatchDisplay, picture
from povwatch.daemon.view import WEIGHTS, ClipView, View

RUNNING = ClipView("[red]a\x1b[2J[/red].mp4", "generating", 0.5, "denoise, chunk 2 of 3, step 4 of 35", 90.0)


def drawn(view):
    console = Console(file=io.StringIO(), width=120)
    console.print(picture(view, 65.0, 120))
    return console.file.getvalue()


def test_every_clip_and_its_stage():
    """The display has counts, times, each clip with its stage, and problems, on one line each."""
    text = drawn(View(3, 1, 5, 2, [RUNNING], left=600.0, loading="weights, 40 %", problem="The disk is full."))
    assert "4 of 12 clips" in text
    for said in ("1 not out", "5 wait", "1 min 05 s so far", "about 10 min 00 s left", "37%"):
        assert said in text
    for said in (
        r"[red]a\x1b[2J[/red].mp4",
        "48%",
        "about 1 min 30 s left",
        "generating",
        "50%",
        "chunk 2 of 3, step 4",
    ):
        assert said in text
    assert "weights, 40 %" in text
    assert "The disk is full." in text
    assert "\x1b[2J" not in text


def test_unknown_is_not_shown():
    """What nobody knows is not shown."""
    text = drawn(View(0, 0, 0, 0, []))
    assert "0 of 0 clips" in text
    assert "left" not in text
    assert "wait" not in text


@pytest.mark.parametrize(
    ("stage", "fraction", "whole"),
    [("copying", 0, 0), ("copying", 1, 0.05), ("generating", 0.5, 0.475), ("scoring", 1, 1), ("publishing", 0, 1)],
)
def test_bar_goes_on_between_stages(stage, fraction, whole):
    """A clip's bar goes on from stage to stage."""
    assert ClipView("a", stage, fraction).whole == pytest.approx(whole)


def test_bar_never_goes_back():
    wholes = [ClipView("a", stage, step / 10).whole for stage in (*WEIGHTS, "publishing") for step in range(11)]
    assert wholes == sorted(wholes)
    assert wholes[-1] == pytest.approx(1)


@pytest.mark.parametrize("stage", ["computing depth", "waiting for seg"])
def test_bar_of_a_computed_control(stage):
    """A control that is computed before the engine begins fills no bar."""
    assert ClipView("a", stage, 0.9).whole == pytest.approx(ClipView("a", "generating", 0.0).whole)


def test_more_clips_than_a_screen_holds():
    """Clips that a screen does not hold are counted."""
    assert "and 28 more under way" in drawn(View(0, 0, 0, 0, [RUNNING] * 40))


def test_log_lines_stand_above_it():
    """Log lines stand above the display, whole and once, and the cursor is back at the end."""
    screen = io.StringIO()
    with BatchDisplay(Console(file=screen, force_terminal=True, width=40, legacy_windows=False)) as display:
        display.show(View(1, 0, 1, 0, [RUNNING]))
        display.write("\033[31mone " + "long " * 20)
        assert "one long" not in screen.getvalue()  # a part of a line waits for the rest
        display.write("line\033[0m\ntwo\n")
        display.show(View(2, 0, 0, 0, []))
    text = screen.getvalue()
    assert "long " * 20 + "line" in text  # not folded: it can be copied
    assert text.count("two\n") == 1
    assert "\033[31m" in text
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # the cursor is back


class Closed(io.StringIO):
    """A terminal that was closed."""

    closed_now = False

    def write(self, text):
        if self.closed_now:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)

    def flush(self):
        self.write("")


def test_closed_terminal_costs_no_more():
    """A terminal that was closed costs what is shown, and nothing else."""
    screen = Closed()
    with BatchDisplay(Console(file=screen, force_terminal=True, width=40, legacy_windows=False)) as display:
        display.show(View(1, 0, 1, 0, [RUNNING]))
        screen.closed_now = True
        display.show(View(2, 0, 0, 0, []))
        display.write("a line\n")
