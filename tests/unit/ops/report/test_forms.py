"""The forms of a report, with names and errors as hostile as people's hands make them."""

import csv
import io
import json
import os
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from povwatch.cli.report import print_table
from povwatch.core.errors import ConfigError
from povwatch.core.job import JobState
from povwatch.ops.report import page, words
from povwatch.ops.report.data import Line, Picture, Report, Run
from povwatch.ops.report.markdown import as_markdown
from povwatch.ops.report.page import as_html
from povwatch.ops.report.save import FORMS, FORMULA, NotWritten, as_csv, as_json, check, save
from povwatch.ops.report.table import table

BAD = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
SHAPE = Picture(93, 29.97, 1280, 720, 3.1)


def done(number=1, **fields):
    begun = 1_780_000_000.0 + number * 100
    known = {
        "clip": f"a{number}.mp4",
        "attempts": 1,
        "engine": "diffusers",
        "seen_at": begun - 50,
        "queued_at": begun - 20,
        "runs": (Run(begun, begun + 60, lost=False),),
        "ended_at": begun + 61,
        "queued": 20.0,
        "seconds": {"prepare": 1.0, "generate": 55.0, "finish": 2.0, "check": 1.0, "publish": 0.5},
        "gpu": "NVIDIA H200",
        "gpu_seconds": 55.0,
        "energy": 36_000.0,
        "peak_memory": 60_000_000_000,
        "source": SHAPE,
        "result": SHAPE,
        "output": f"a{number}/a{number}_aug.mp4",
    }
    return Line(number, state=JobState.DONE, **known | fields)


FAILED = Line(
    8,
    BAD,
    JobState.FAILED,
    attempts=3,
    engine=BAD,
    problem=f"It broke: {BAD}",
    todo=f"povwatch retry {BAD}",
    gpu=BAD,
    runs=(Run(1_780_000_000.0, 1_780_000_010.0, lost=True),),
    ended_at=1_780_000_010.0,
    seconds={"lost": 10.0},
)
WAITING = Line(9, "=1+1|b.mp4", JobState.GRACE, problem="waits on held", todo="+go")
ALL = Report([done(1), done(2), FAILED, WAITING], 1_780_000_900.0, "0.1.0", before=2, left=[BAD], notes=[BAD])
NONE = Report([], 1_780_000_900.0, "0.1.0")
UNMEASURED = Report(
    [done(1, gpu_seconds=None, energy=None, peak_memory=None, seconds={}, queued=None, gpu=None)], 1.8e9, "0"
)


SCORED = Report(
    [
        done(1, scores={"edge_f1": 0.71, "invented_motion": 0.02}, missing={"temporal_residual": "too-short"}),
        done(2, scores={"edge_f1": 0.31, "invented_motion": 0.4, "edge_f1_kept": 0.5}),
        done(3),
    ],
    1.8e9,
    "0",
)


class Page(HTMLParser):
    """Sees that what is opened is closed, and what is in the page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("report", [ALL, NONE, UNMEASURED], ids=["all", "none", "unmeasured"])
def test_page_needs_nothing_else(report):
    """The page is whole, has no script and loads nothing."""
    text = as_html(report)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "a", "object"} & set(page.tags)
    assert not {"src", "href"} & set(page.attributes)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_page_does_nothing_of_what_it_says():
    """The page shows what people wrote, and none of it takes effect."""
    text = as_html(ALL)
    assert "<script" not in text
    assert "49" not in Page(text).text.replace("1949", "").split("alert(1)")[1][:30]
    said = Page(text).text
    assert said.count(BAD) >= 4
    assert "2 of 4 clips came out, 1 did not, 1 still open." in said
    assert said.index("What did not come out") < said.index("Where the time went") < said.index("Every clip")


def test_unmeasured_is_empty_not_nought():
    """What nobody measured is empty in every form, not 0."""
    page = as_html(UNMEASURED)
    said = Page(page).text
    assert "GPU memory" not in said.partition("What nobody measured")[0]
    assert "generating" not in said.partition("What nobody measured")[0]
    (row,) = csv.DictReader(io.StringIO(as_csv(UNMEASURED)))
    assert {row[name] for name in ("generate", "lost", "gpu_seconds", "peak_memory", "queued", "took")} == {""}
    (clip,) = json.loads(as_json(UNMEASURED))["clips"]
    assert (clip["seconds"], clip["took"], clip["gpu_seconds"]) == ({}, None, None)
    assert json.loads(as_json(UNMEASURED))["totals"]["gpu_seconds"] is None


def test_json_has_it_all():
    """The JSON form has totals, and every clip with its source."""
    found = json.loads(as_json(ALL))
    assert found["totals"] | {"clips_an_hour": 0} == {
        "done": 2,
        "not_out": 1,
        "open": 1,
        "cancelled": 0,
        "done_before": 2,
        "seconds": {"prepare": 2.0, "generate": 110.0, "finish": 4.0, "check": 2.0, "publish": 1.0, "lost": 10.0},
        "gpu_seconds": 110.0,
        "peak_memory": 60_000_000_000,
        "energy": 72_000.0,
        "clips_an_hour": 0,
    }
    assert [clip["clip"] for clip in found["clips"]] == ["a1.mp4", "a2.mp4", BAD, "=1+1|b.mp4"]
    assert found["clips"][0]["source"]["rate"] == 29.97


@pytest.mark.parametrize("start", FORMULA)
def test_spreadsheet_finds_no_formula(start):
    text = as_csv(Report([done(1, clip=f"{start}cmd|' /C calc'!A0", problem=f"{start}1")], 1.8e9, "0"))
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["clip"].startswith("'")
    assert row["problem"].startswith("'")
    assert float(row["generate"]) == 55.0


def test_csv_is_read_as_meant():
    rows = list(csv.DictReader(io.StringIO(as_csv(ALL), newline="")))
    assert [row["clip"] for row in rows] == ["a1.mp4", "a2.mp4", BAD, "'=1+1|b.mp4"]
    assert rows[0]["frames_in"] == rows[0]["frames_out"] == "93"
    assert rows[2]["lost"] == "10.0"


def test_markdown_has_nothing_to_obey():
    """No text in the Markdown makes a column or a tag."""
    text = as_markdown(ALL)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for row in rows:  # a bar in a name makes no column
        assert len(re.split(r"(?<!\\)\|", row)) in {7, 8, 12}, row
    assert "<script" not in text.replace(r"\<script", "")
    assert "# 2 of 4 clips came out" in text


def test_terminal_has_it_all(capsys):
    """The table on a terminal has every clip, what it waits on, and the sums."""
    console = Console(file=io.StringIO(), width=200)
    console.print(table(ALL))
    text = console.file.getvalue()
    assert "[" not in text.replace("[/", "").replace("[b", "")
    for said in ("a1/a1_aug.mp4", BAD, "60 GB", "waits on held", "Left as they are, not started", "2 done, 1 not done"):
        assert said in text
    console.print(table(NONE))
    assert "0 done, 0 not done." in console.file.getvalue()


def test_advice_is_one_line():
    """What to do is one line, so that its command can be pasted."""
    todo = "When that is fixed: povwatch --config /srv/povwatch/config.toml retry kitchen/morning.mp4"
    lost = Line(3, "kitchen/morning.mp4", JobState.FAILED, attempts=3, problem="The worker was killed.", todo=todo)
    for report in (Report([done(1), lost], 1.8e9, "0"), Report([lost], 1.8e9, "0", left=["a.mp4"] * 99, notes=[todo])):
        file = io.StringIO()
        print_table(report, Console(file=file, width=60))
        lines = file.getvalue().splitlines()
        (line,) = [line for line in lines if "The worker was killed." in line]
        assert line == f"kitchen/morning.mp4  failed, 3 attempts  The worker was killed. {todo}"
        assert [line for line in lines if line in report.notes] == list(report.notes)


@pytest.mark.parametrize("width", [60, 160, None])
def test_path_is_never_broken(capsys, width):
    path = "/".join(["a-quite-long-session-name"] * 9)
    screen = Console(width=width, force_terminal=True, color_system=None) if width else None
    print_table(Report([done(1, clip=f"{path}.mp4", output=f"{path}_preview.mp4"), done(2)], 1.8e9, "0"), screen)
    head, long, short, sums, *_ = capsys.readouterr().out.splitlines()
    assert long.startswith(f"{path}.mp4 ")
    assert long.endswith(f" {path}_preview.mp4")
    assert short.index("a2/a2_aug.mp4") == head.index("output")
    assert sums == sums.rstrip()


def test_name_is_no_markup():
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor", highlight=False)
    console.print(table(Report([done(1, clip="[red]a[/red].mp4")], 1.8e9, "0")))
    assert "[red]a[/red].mp4" in console.file.getvalue()


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (NONE, "Nothing was run."),
        (Report([done()], 0, "0"), "The clip came out."),
        (Report([done(1), done(2)], 0, "0"), "All 2 clips came out."),
        (Report([WAITING], 0, "0"), "0 of 1 clip came out, 1 still open."),
    ],
)
def test_headlines(report, said):
    """The headline tells how many clips came out, did not, or are still open."""
    assert words.headline(report) == said


# -- the pictures


def test_bar_is_as_wide_as_its_stages():
    parts = page.stacked({"generate": 30.0, "prepare": 10.0}, 80.0)
    assert [(part.kind, part.at, part.width) for part in parts] == [("prepare", 0, 125), ("generate", 125, 375)]
    assert page.stacked({}, 0) == []
    assert page.share(None, 5) is None
    assert page.share(0.0, 5) == 0


def test_waits_and_runs_by_the_clock():
    """The drawing over time has each wait, each lost run and each run where it was."""
    again = done(1, queued_at=1000.0, runs=(Run(1100.0, 1200.0, lost=True), Run(1300.0, 2000.0, lost=False)))
    found = page.timeline(Report([again], 2000.0, "0"))
    (row,) = found.rows
    assert [(part.kind, part.at, part.width) for part in row.parts] == [
        ("wait", 0, 300),
        ("bad", 100, 100),
        ("run", 300, 700),
    ]
    assert page.timeline(NONE) is None
    assert page.timeline(Report([WAITING], 0, "0")) is None


@pytest.mark.parametrize("length", [0.5, 3, 50, 900, 3700, 40_000, 86_400 * 2, 86_400 * 90])
def test_time_axis_has_a_few_marks(length):
    line = done(1, queued_at=1e9, runs=(Run(1e9, 1e9 + length, lost=False),))
    marks = page.timeline(Report([line], 2e9, "0")).marks
    assert 1 <= len(marks) <= page.MARKS_MAX + 1
    assert all(0 <= mark.at <= page.WHOLE for mark in marks)


def test_latest_of_a_thousand_are_drawn():
    """Of a thousand clips the latest are drawn, and the rest is counted."""
    found = page.timeline(Report([done(n) for n in range(1000)], 2e9, "0"))
    assert (len(found.rows), found.hidden) == (page.ROWS_MAX, 1000 - page.ROWS_MAX)
    assert found.rows[-1].clip == "a999.mp4"


# -- where they go


@pytest.mark.parametrize("suffix", [*FORMS, ".HTML"])
def test_file_is_written_whole(tmp_path, suffix):
    """A file is written whole, over an earlier one."""
    file = tmp_path / f"r{suffix}"
    check([file])
    assert list(tmp_path.iterdir()) == []
    save(NONE, file)
    save(ALL, file)
    assert "a2.mp4" in file.read_text().replace("\\", "")
    assert list(tmp_path.iterdir()) == [file]


def test_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "r.md").symlink_to(tmp_path / "there" / "real.md")
    save(ALL, tmp_path / "r.md")
    assert (tmp_path / "r.md").is_symlink()
    assert (tmp_path / "there" / "real.md").read_text() == as_markdown(ALL)


def test_unwritable_report_is_told_at_once(tmp_path):
    """A report that cannot be written is told before any work, and nothing is made."""
    (tmp_path / "d.html").mkdir()
    os.mkfifo(tmp_path / "f.csv")
    (tmp_path / "file").touch()
    for name in ("d.html", "f.csv", "nowhere/r.html", "file/r.html", "r.pdf", "r", "x" * 300 + ".md"):
        with pytest.raises(ConfigError, match=r"--report") as caught:
            check([tmp_path / "good.html", tmp_path / name])
        assert caught.value.todo
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.html", "f.csv", "file"]
    with pytest.raises(NotWritten, match="povwatch report"):
        save(ALL, tmp_path / "nowhere" / "r.html")


def test_scores_in_every_form():
    """A number, or the word in its place; nothing where a clip was not scored."""
    rows = list(csv.DictReader(io.StringIO(as_csv(SCORED))))
    assert [row["edge_f1"] for row in rows] == ["0.71", "0.31", ""]
    assert [row["temporal_residual"] for row in rows] == ["too-short", "", ""]
    assert json.loads(as_json(SCORED))["clips"][0]["scores"] == {"edge_f1": 0.71, "invented_motion": 0.02}
    markdown = as_markdown(SCORED)
    assert "| clip | edge\\_f1 | invented\\_motion | temporal\\_residual | edge\\_f1\\_kept |" in markdown
    assert "| 0.710 | 0.020 | too-short |  |" in markdown
    shown = io.StringIO()
    Console(file=shown, width=200).print(table(SCORED))
    assert "0.710" in shown.getvalue()
    assert "edge_f1_kept" not in shown.getvalue()
    assert "too-short" in Page(as_html(SCORED)).text


def test_worst_score_is_marked():
    """By the direction of the score; not where there is nothing to compare."""
    assert page.worst(SCORED, "edge_f1") == page.worst(SCORED, "invented_motion") == [2]
    assert page.worst(SCORED, "edge_f1_kept") == []
    assert as_html(SCORED).count('class="number worst"') == 2
    assert "Scores" not in Page(as_html(ALL)).text
