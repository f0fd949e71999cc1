"""A hook's output, as lines: whole, cut, counted when they are too many."""

from __future__ import annotations

import pytest

from povwatch.process.output import A_SECOND, BURST, LINE_MAX, LimitedLines, is_progress_bar


def test_lines_come_out_when_they_end():
    """A line comes out when it ends, however its bytes came in."""
    flow = LimitedLines(0.0)
    assert flow.take(b"one\ntw", 0.0) == ["one"]
    assert flow.take(b"o\r 10 %\r\n\n  \nrest", 0.0) == ["two", " 10 %"]
    assert flow.end(0.0) == ["rest"]
    assert flow.end(0.0) == []


def test_escapes_and_long_lines():
    """Bytes that are no text are escaped, and a long line is cut."""
    flow = LimitedLines(0.0)
    assert flow.take(b"\xff\x1b[31m\n", 0.0) == ["\\xff\x1b[31m"], "the log escapes what no terminal is to see"
    assert flow.take(b"x" * (LINE_MAX + 1), 0.0) == ["x" * LINE_MAX]
    assert flow.take(b"y\n", 0.0) == ["y"]


def test_flood_keeps_its_last_lines():
    """Of a flood some lines go through, others are counted, and the last are kept."""
    flow = LimitedLines(0.0)
    many = b"".join(b"%d\n" % n for n in range(int(BURST) + 100))
    assert len(flow.take(many, 0.0)) == BURST
    assert flow.flooded
    assert flow.left_out == 100
    assert flow.tail[-1] == str(int(BURST) + 99)
    assert len(flow.take(many, 3.0)) == 3 * A_SECOND
    flow.take(b"", 1000.0)
    assert not flow.flooded


def test_clock_that_goes_back_does_no_harm():
    flow = LimitedLines(10.0)
    assert flow.take(b"a\n", 5.0) == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        "Generating samples:  40%|████      | 14/35 [02:01<03:01,  8.65s/it]",
        "  0%|          | 0/35 [00:00<?, ?it/s]",
        "100%|██████████| 4/4 [1:00:00<00:00, 900.00s/it, loss=0.1]",
        "3it [00:01,  2.10it/s]",
    ],
)
def test_progress_bar(line):
    assert is_progress_bar(line)


@pytest.mark.parametrize("line", ["Killed", "ImportError: no torch", "90% of the disk | is used", "see unit [12]", ""])
def test_no_progress_bar(line):
    assert not is_progress_bar(line)
