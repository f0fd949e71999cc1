"""Every verb over folders, settings and a journal that somebody has filled with the worst: words and an exit code.

In the test's own process, so that an exception that no verb foresaw is seen, and not the last net under them.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
import structlog
from support.clips import make_clip
from support.daemons import Daemon
from typer.testing import CliRunner

from povwatch.cli.app import VERBS, app
from povwatch.core import command
from povwatch.core.errors import PovwatchError

CODES = {0, 1, 2, 3}
"""The exit codes that are documented."""

DEEP = {
    "lists": b"[" * 60_000,
    "objects": b'{"a":' * 12_000,
    "mixed": b'[{"a":' * 9_000,
    "closed": b"[" * 5_000 + b"]" * 5_000,
    "value": b'{"prompt": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "name": b'{"video_path": ' + b"[" * 30_000,
}

TEXTS = DEEP | {
    "digits": b'{"seed": ' + b"9" * 6_000 + b"}",
    "infinite": b'{"guidance": 1e999, "seed": -1e999}',
    "nan": b'{"guidance": NaN}',
    "half": rb'{"prompt": "\ud800", "video_path": "\udfff", "\ud800": 1}',
    "null-name": rb'{"video_path": "a\u0000b.mp4"}',
    "slashes": b'{"video_path": "../../../etc/passwd"}',
    "nulls": bytes(300),
    "not-utf-8": b'{"prompt": "\xff\xfe"}',
    "mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"prompt": "a"}'.encode("utf-16"),
    "twice": b'{"seed": 1, "seed": 2, "seed": [[[]]]}',
    "large": b'{"prompt": "' + b"a" * (65 * 1024) + b'"}',
    "just-small-enough": b'{"prompt":"' + b"a" * (64 * 1024 - 13) + b'"}',
    "empty": b"",
    "list": b"[]",
    "number": b"1",
    "nothing": b"null",
    "types": b'{"prompt": [], "seed": "x", "edge": [1], "video_path": {}, "povwatch": 5, "guidance": {}, "name": 7}',
    "escapes": rb'{"\u001b[31m\n": 1}',
}
"""What a JSON may hold, by what is wrong with it."""

NAMES = [
    *(b"\xff\xfe.mp4", b"new\nline.mp4", b"\x1b[31mred.mp4", b"-x.mp4", b"--help.mp4", b" .mp4", b"[bold]x.mp4"),
    *(b'it\'s "$(x)".mp4', b"a" * 251 + b".mp4", "\u624b\u202e.mp4".encode()),
]

WORDS = [
    "lists",
    "half.mp4",
    "\udcff\udcfe.mp4",
    "new\nline",
    "-x.mp4",
    "1",
    "9" * 30,
    "",
    "a" * 5_000,
    "../../x",
    "[/x]",
]
"""What may be typed for a clip."""

ASKING = [
    *(["show"], ["show", "--json"], ["why"], ["go"], ["hold"], ["retry"], ["retry", "--force"], ["cancel"]),
    *(["vary", "--seed", "1"], ["vary", "--template", "driving"], ["marks", "import"], ["logs"]),
]

WHOLE = [
    *(["status"], ["jobs"], ["jobs", "--json"], ["jobs", "--state", "done"], ["report"], ["report", "--since", "1d"]),
    *(["check"], ["specs", "--dry-run"], ["specs"], ["specs", "--force"], ["prompts"], ["prompts", "show", "driving"]),
    *(["schema"], ["pause"], ["resume"], ["clean", "--dry-run"], ["clean"], ["rebuild", "--dry-run"], ["rebuild"]),
    *(["rebuild", "--force"], ["notify", "--test"], ["pool"]),
]
"""The verbs that read whole folders, or none."""

SLOW = [["doctor", "--engine", "preview"], ["prefetch", "--check", "--engine", "diffusers"]]
"""They start programs, and read little of what is tried here."""

READING = [["status"], ["report"], ["check"], ["specs", "--dry-run"], ["clean", "--dry-run"]]
"""A verb for each way of reading the settings and the journal."""

DEPTH = 350
"""Folders one in another; what a verb itself needs of Python's stack is less than that."""

ALL = bool(os.environ.get("POVWATCH_TEST_ALL"))

SETTINGS = '[engine]\nkind = "preview"\n[disk]\nreserve = "1MB"\n'


class Here:
    """A folder with a povwatch's files, and every verb in it."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.inputs, self.outputs, self.state = folder / "inputs", folder / "outputs", folder / ".povwatch"
        self.inputs.mkdir(parents=True)
        self.config = folder / "config.toml"
        self.config.write_text(SETTINGS)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HF_HOME", str(folder / "hf"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        self.runner = CliRunner()

    def run(self, *words):
        """Run a verb; what it said. It ends in one of our own errors, or with a documented exit code."""
        try:
            done = self.runner.invoke(app, words)
        finally:
            command.use("povwatch")
            structlog.reset_defaults()  # some verbs log, to a stream that is closed now
        if done.exception is not None and not isinstance(done.exception, SystemExit | PovwatchError):
            raise AssertionError(f"povwatch {' '.join(words)[:200]}") from done.exception
        assert done.exit_code in CODES
        assert "Traceback" not in done.output
        return done.output

    def run_all(self):
        for words in WHOLE:
            self.run(*words)

    def take(self, other):
        """Have what another folder has."""
        for name in (".povwatch", "inputs", "outputs"):
            shutil.copytree(other / name, self.folder / name, dirs_exist_ok=True)

    def fill(self):
        for name, text in TEXTS.items():
            (self.inputs / f"{name}.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
            (self.inputs / f"{name}.json").write_bytes(text)


@pytest.fixture
def here(tmp_path, monkeypatch):
    return Here(tmp_path / "pov", monkeypatch)


def test_every_verb_is_tried():
    tried = {words[0] for words in WHOLE + ASKING + SLOW} | {"run"}
    assert tried == set(VERBS)


def test_unreadable_jsons(here):
    """Every verb survives JSON files that nobody can read, and check names each of them."""
    here.fill()
    said = here.run("check", *(str(here.inputs / f"{name}.json") for name in TEXTS))
    assert all(f"{name}.json" in said for name in TEXTS)
    for name in TEXTS:
        here.run("vary", f"{name}.mp4", "--seed", "1")
    here.run_all()
    for words in SLOW:
        here.run(*words)


def test_unreadable_jsons_without_a_clip(here):
    """check survives unreadable JSON files that have no clip."""
    for name, text in TEXTS.items():
        (here.inputs / f"{name}.json").write_bytes(text)
    here.run("check", *(f"inputs/{name}.json" for name in TEXTS))


def test_names_that_are_no_text(here):
    """Every verb survives names that are no text, in the folder and as arguments."""
    for name in NAMES:
        (here.inputs / os.fsdecode(name)).write_bytes(b"x")
        if len(name) < 200:
            (here.inputs / (os.fsdecode(name)[:-4] + ".json")).write_bytes(DEEP["objects"])
    here.run_all()
    for word in map(os.fsdecode, NAMES):
        here.run("check", "--", word)
        here.run("go", "--", word)


def test_words_that_name_no_clip(here, done):
    """Every verb that takes a clip survives any word."""
    here.take(done)
    for word in WORDS:
        for verb in (["show"], ["why"], ["go"], ["check"], ["specs", "--dry-run"]):
            here.run(*verb, "--", word)


def test_special_files(here):
    """Every verb survives folders, FIFOs and looping links where files are expected."""
    (here.inputs / "folder.json").mkdir()
    os.mkfifo(here.inputs / "fifo.json")
    (here.inputs / "circle.json").symlink_to("circle.json")
    (here.inputs / "folder.mp4").mkdir()
    for name in ("folder", "fifo", "circle"):
        if not (here.inputs / f"{name}.mp4").exists():
            (here.inputs / f"{name}.mp4").write_bytes(b"x")
    here.run_all()


def test_folders_deeper_than_python_recurses(here):
    """Verbs that walk folders survive more levels than Python recurses."""
    for top in (here.inputs, here.outputs):
        top.mkdir(exist_ok=True)
        inner = os.open(top, os.O_RDONLY)
        for _ in range(DEPTH):
            os.mkdir("a", dir_fd=inner)
            outer, inner = inner, os.open("a", os.O_RDONLY, dir_fd=inner)
            os.close(outer)
        os.close(os.open("deep.json", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
        os.close(inner)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + DEPTH)  # a thousand folders do the same, in much more time
    try:
        for words in (["specs"], ["clean"], ["rebuild", "--dry-run"], ["doctor", "--engine", "preview"]):
            here.run(*words)
    finally:
        sys.setrecursionlimit(limit)
        subprocess.run(["rm", "-rf", here.inputs, here.outputs], check=True)  # shutil's rmtree recurses


MANIFESTS = [
    *(["["] * 2, {}, {"povwatch": 1, "output": 5}, {"povwatch": "x", "source": [], "output": {}, "spec": None}),
    {
        "povwatch": {},
        "job": "x",
        "attempt": -1,
        "source": {"path_hex": "zz"},
        "output": {"path_hex": "00", "size": 1e30},
    },
]


def test_foreign_manifests(here):
    """Every verb survives manifests that povwatch did not write."""
    folder = here.outputs / "a"
    folder.mkdir(parents=True)
    for number, value in enumerate(MANIFESTS):
        (folder / f"{number}_aug.json").write_text(json.dumps(value))
    for name, text in TEXTS.items():
        (folder / f"{name}_aug.json").write_bytes(text)
        (folder / f"{name}-marked_aug.json").write_bytes(b'{"povwatch": 1, "output": ' + text)
    here.run_all()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder in which a clip was run."""
    with Daemon(tmp_path_factory.mktemp("done"), engine={"kind": "preview"}) as daemon:
        daemon.clip("a.mp4")
        assert daemon.once().returncode == 0
    return daemon.folder


def test_changed_manifests(here, done):
    """rebuild survives a manifest of ours in which any field was changed."""
    here.take(done)
    file = here.outputs / "a/a_preview.json"
    whole = json.loads(file.read_text())
    for key in whole:
        for value in (DEEP["closed"], b"[]", b"7", b'"x"'):
            file.write_bytes(json.dumps(whole | {key: "HERE"}).encode().replace(b'"HERE"', value))
            here.run("rebuild", "--dry-run")
    shutil.rmtree(here.state)
    here.run_all()


TOML = [
    *(
        b"\xff\xfe",
        bytes(50),
        b"\xef\xbb\xbf",
        b"a = " + b"[" * 5_000,
        b"a." * 2_000 + b"a = 1",
        b"seed = " + b"9" * 5_000,
    ),
    *(b'[paths]\ninputs = "a\\u0000b"', b'[paths]\nstate = "\\u0000"', b"[paths]\ninputs = 5", b"paths = []"),
    *(b'[paths]\ninputs = "' + b"a" * 5_000 + b'"', b'[paths]\noutputs = "' + b"a/" * 3_000 + b'"'),
    *(b"[grace]\nperiod = 1e999", b'[grace]\nperiod = "1e999h"', b'[grace]\nperiod = "' + b"9" * 30 + b'd"'),
    *(b'[disk]\nreserve = "1e400GB"', b'[arrival]\nextensions = ["\\u0000", ""]', b"[spec]\nseed = " + b"9" * 25),
    *(b"[spec]\ncontrols = {edge = inf}", b"[spec]\nguidance = nan", b'[spec]\ntemplates = "\\u0000"'),
    *(b'[engine]\nkind = "\\u0000:x"', b'[engine]\npython = "\\u0000"', b'[engine]\nhours = "\\u0000"'),
    *(b'[publish]\nlayout = "{x.__class__}"', b'[publish]\nlayout = "{stem!r:>99999999999}"', b"hooks = 5"),
    *(b'[[hooks]]\nname = "a\\u0000"\nrun = ["\\u0000"]\nwhen = "before"', b'["\\u001b[31m"]', b"x" * 100_000),
    *(b'[spec.priorities]\n"a\\u0000" = 1', b'[spec.folders]\n"\\u0000" = {template = "x"}'),
]


@pytest.mark.parametrize("text", TOML, ids=lambda text: repr(text[:30]))
def test_unreadable_settings(here, text):
    """Every verb that reads config.toml survives one that nobody can read."""
    here.config.write_bytes(text)
    for words in READING:
        here.run(*words)


@pytest.mark.parametrize(
    "text",
    [
        *(b"\xff\xfe", bytes(50), b"a = " + b"[" * 5_000, b"prompt = " + b"9" * 5_000, b'prompt = "\\u0000"'),
        *(
            b'prompt = "{x.y}"',
            b'prompt = "{"',
            b"prompt = 5",
            b'prompt = "{duration!r:>9999999999}"',
            b"[prompt]\na = 1",
        ),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_unreadable_templates(here, text):
    """Every verb that reads templates survives one that nobody can read."""
    here.config.write_text(SETTINGS + '[spec]\ntemplates = "mine"\n')
    (here.folder / "mine").mkdir()
    (here.folder / "mine/hand_manipulation.toml").write_bytes(text)
    (here.inputs / "a.mp4").write_bytes(b"x")
    for words in (["prompts"], ["prompts", "show", "hand_manipulation"], ["specs", "--force"], ["check"]):
        here.run(*words)


TELLING = {"state", "waiting_on", "spec_json", "source_info", "artifact", "data", "value", "created_at", "at", "path"}
"""The columns that are tried each time; POVWATCH_TEST_ALL=1 tries all."""


def columns(state):
    """Every column of the journal that holds words of povwatch's."""
    with sqlite3.connect(state / "journal.sqlite3") as journal:
        tables = [name for (name,) in journal.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            (table, row[1])
            for table in tables
            if not table.startswith("sqlite")
            for row in journal.execute(f"PRAGMA table_info({table})")
            if row[1] != "id" and (ALL or row[1] in TELLING)
        ]


DAMAGE = ["x", -1e300, "[" * 20_000, '{"frames": "x", "width": null, "fps": [], "rate": 1}', ""]


def test_damaged_journal_contents(here, done):
    """status, report, show and why survive damage in any column of the journal."""
    verbs = [["status"], ["report"], ["show", "a"], ["why", "a"]]
    here.take(done)
    tried = 0
    for table, column in columns(done / ".povwatch"):
        for value in DAMAGE:
            shutil.rmtree(here.state)
            # A reader that is closing may have SQLite's side files there still; nothing is in them.
            shutil.copytree(done / ".povwatch", here.state, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
            journal = sqlite3.connect(here.state / "journal.sqlite3")
            try:
                tried += journal.execute(f"UPDATE {table} SET {column} = ?", (value,)).rowcount  # noqa: S608
                journal.commit()
            except sqlite3.Error:
                continue  # the schema does not allow it
            finally:
                journal.close()
            for words in verbs:
                here.run(*words)
    assert tried > 20


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0" + bytes(90), bytes(5000), b"x" * 5000], ids=repr)
def test_journal_that_is_none(here, data):
    """Every verb survives a journal that is no database."""
    here.state.mkdir()
    (here.state / "journal.sqlite3").write_bytes(data)
    here.run_all()


def test_state_folder_of_something_else(here):
    """Every verb survives folders in the place of the state folder's files."""
    for name in ("journal.sqlite3", "requests", "lock", "models.json"):
        (here.state / name).mkdir(parents=True)
    here.run_all()


@pytest.mark.parametrize("name", ["inputs", "outputs", ".povwatch"])
def test_file_in_a_folders_place(here, name):
    """Every verb survives a file in the place of inputs/, outputs/ or the state folder."""
    shutil.rmtree(here.folder / name, ignore_errors=True)
    (here.folder / name).write_text("x")
    here.run_all()


def test_daemon_goes_on(tmp_path):
    """The daemon says of each hostile JSON what is wrong, and the good clip is done."""
    with Daemon(tmp_path / "pov", engine={"kind": "preview"}) as daemon:
        made = make_clip(daemon.folder / "made.mp4")
        for name, text in TEXTS.items():
            daemon.copy(made, f"{name}.mp4")
            (daemon.inputs / f"{name}.json").write_bytes(text)
        daemon.copy(made, "good.mp4")
        once = daemon.once()
        assert once.returncode == 1
        assert "Traceback" not in once.stderr
        assert '"unforeseen"' not in once.stderr
        assert {job["clip"] for job in daemon.jobs(state="done")} == {"good.mp4"}
        assert len(daemon.jobs(state="grace")) == len(TEXTS)
