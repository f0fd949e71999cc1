"""The table of jobs: nothing in it is broken that people paste."""

from __future__ import annotations

from rich.cells import cell_len

from povwatch.cli.rows import CLIP_MAX, INDENT, Row, as_lines

LONG = "kitchen/monday/a-quite-long-session-name/first person recording number 1.mp4"
WRONG = "b.json, line 1, column 1: name is missing. And 1 more; grace stands still, about 1 h 00 min left"
OUTPUT = "kitchen/monday/a-quite-long-session-name/a/a_preview.mp4"


def row(clip, told, *, is_path=False, state="grace", waits_on="invalid-spec"):
    return Row("12", clip, state, waits_on, "", told, is_path)


ROWS = [row("b.mp4", WRONG), row(LONG, WRONG), row("a.mp4", OUTPUT, is_path=True, state="done", waits_on="")]


def test_job_is_one_line_without_a_terminal():
    head, *found = as_lines(ROWS, None)
    assert [line.split() for line in found] == [
        ["12", *f"{ROWS[0].clip} grace invalid-spec {WRONG}".split()],
        ["12", *f"{LONG} grace invalid-spec {WRONG}".split()],
        ["12", "a.mp4", "done", OUTPUT],
    ]
    assert LONG in found[1]
    assert found[0].index("grace") == found[2].index("done") == head.index("state") == CLIP_MAX + len("job") + 4
    assert found[0].index(WRONG) == found[2].index(OUTPUT) == head.index("what")


def test_no_line_ends_in_blanks():
    for width in (None, 60, 80, 200):
        assert all(line == line.rstrip() for line in as_lines([*ROWS, row("c.mp4", "", waits_on="")], width))


def test_paths_are_never_broken():
    """On a terminal what is told is cut, and no path is broken."""
    for width in (40, 60, 80, 100, 120, 160):
        found = as_lines(ROWS, width)
        assert sum(LONG in line for line in found) == 1
        assert sum(OUTPUT in line for line in found) == 1
        assert all(cell_len(line) <= width or LONG in line or OUTPUT in line for line in found[1:] if width >= 80)
        assert all(WRONG.startswith(line.rpartition("  ")[2].removesuffix("…")) for line in found if "…" in line)


def test_text_in_its_column_or_below():
    """What is told stands in its column where there is room, else in the next line."""
    head, short, long, told, done, output = as_lines(ROWS, 95)
    assert short[head.index("what") :] == WRONG[: 95 - head.index("what") - 1] + "…"
    assert long.split()[-1] == "invalid-spec"
    assert told == " " * INDENT + WRONG[: 95 - INDENT - 1] + "…"
    assert done.split() == ["12", "a.mp4", "done"]
    assert output == " " * INDENT + OUTPUT


def test_nothing_is_cut_with_room_enough():
    assert [line for line in as_lines(ROWS, 250) if "…" in line] == []
    assert len(as_lines(ROWS, 250)) == 1 + len(ROWS)


def test_wide_characters_take_two_columns():
    head, first, second = as_lines([row("日本.mp4", "x"), row("abcdefgh.mp4", "y")], None)
    assert cell_len(first[: first.index("grace")]) == second.index("grace") == head.index("state")
