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


def test_without_a_terminal_a_job_is_one_line():
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


def test_on_a_terminal_what_is_told_is_cut_and_no_path_is_broken():
    for width in (40, 60, 80, 100, 120, 160):
        found = as_lines(ROWS, width)
        assert sum(LONG in line for line in found) == 1
        assert sum(OUTPUT in line for line in found) == 1
        assert all(cell_len(line) <= width or LONG in line or OUTPUT in line for line in found[1:] if width >= 80)
        assert all(WRONG.startswith(line.rpartition("  ")[2].removesuffix("…")) for line in found if "…" in line)


def test_what_is_told_stands_in_its_column_where_there_is_room_else_in_the_next_line():
    head, short, long, told, done, output = as_lines(ROWS, 95)
    assert short[head.index("what") :] == WRONG[: 95 - head.index("what") - 1] + "…"
    assert long.split()[-1] == "invalid-spec"
    assert told == " " * INDENT + WRONG[: 95 - INDENT - 1] + "…"
    assert done.split() == ["12", "a.mp4", "done"]
    assert output == " " * INDENT + OUTPUT


def test_with_room_enough_all_of_it_is_there():
    assert [line for line in as_lines(ROWS, 250) if "…" in line] == []
    assert len(as_lines(ROWS, 250)) == 1 + len(ROWS)


def test_wide_characters_take_two_columns():
    head, first, second = as_lines([row("日本.mp4", "x"), row("abcdefgh.mp4", "y")], None)
    assert cell_len(first[: first.index("grace")]) == second.index("grace") == head.index("state")
