"""What doctor says of scores, notifications and metrics."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import sys

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from povwatch.cli import doctor_watching as doctor
from povwatch.config.load import load_config
from povwatch.core.errors import ConfigError
from povwatch.journal import Journal
from povwatch.metrics.figures import Figures
from povwatch.notifications.process import VARIABLE

TOPIC = "geheim"


@pytest.fixture
def configured(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)

    def make(text="", *, notify=()):
        entries = "".join(f"[[notify]]\n{text}\n" for text in notify)
        (tmp_path / "config.toml").write_text(f"{text}\n{entries}")
        return load_config(tmp_path / "config.toml")

    return make


def said(findings):
    """Each finding's verdict, subject and words."""
    return [("no" if f.fatal else "hm" if f.todo else "ok", f.about, f.words) for f in findings]


# -- scores


def test_scores_by_default(configured, monkeypatch):
    """Results are scored and not judged; hands are not, which is no fault."""
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    first, hands = said(doctor.scores(configured()))
    assert first == ("ok", "scores", "reported; none is judged")
    assert hands[:2] == ("ok", "hands")
    assert "docs/scores.md" in hands[2]


def test_scores_that_judge(configured):
    first, *_ = said(doctor.scores(configured("[quality]\nedge_f1 = 0.6\ncolour_drift = 8\ntries = 3")))
    assert first == ("ok", "scores", "judged: edge_f1 at least 0.6, colour_drift at most 8, with 3 seeds at most")


def test_scores_are_off(configured):
    assert said(doctor.scores(configured("[quality]\nscores = false"))) == [
        ("ok", "scores", "off (quality.scores = false)")
    ]


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is not None, reason="MediaPipe is installed here")
def test_hands_without_mediapipe(configured):
    """A model without MediaPipe is named; a rule that needs both is refused, as at the start."""
    _, hands = said(doctor.scores(configured('[quality]\nhands_model = "hands.task"')))
    assert hands[:2] == ("hm", "hands")
    assert "MediaPipe cannot be imported" in hands[2]
    with pytest.raises(ConfigError, match="MediaPipe is not installed"):
        list(doctor.scores(configured("[quality]\nhands_pck = 0.5")))


@pytest.mark.parametrize(
    ("found", "lacks"),
    [
        ({"version": "1.2.3", "missing": ""}, ""),
        ({"version": "1.2.3", "missing": "no-model"}, "is no model that MediaPipe 1.2.3 can load"),
        ("away", "is not there"),
    ],
)
def test_model_of_hands(configured, monkeypatch, tmp_path, found, lacks):
    """A model that loads is named with MediaPipe's version; another is told apart from one that is not there."""
    if found != "away":
        (tmp_path / "hands.task").write_bytes(b"a model")
    answer = found if found != "away" else {"version": "1.2.3", "missing": "no-model"}
    monkeypatch.setattr(doctor, "call", lambda *_, **__: answer)
    _, hands = said(doctor.scores(configured('[quality]\nhands_model = "hands.task"')))
    assert hands[0] == ("hm" if lacks else "ok")
    assert lacks in hands[2]
    assert str(tmp_path / "hands.task") in hands[2]


# -- notifications


def test_nobody_is_told(configured):
    assert said(doctor.notifications(configured())) == [("ok", "notify", "nobody is told: there is no [[notify]]")]


def test_each_service_is_named(configured):
    """Each entry has a line with the service and what it is told; no URL is shown."""
    pytest.importorskip("apprise")
    config = configured(notify=[f'url = "ntfys://{TOPIC}"\non = ["failed", "blocked"]', f'url = "json://{TOPIC}"'])
    first, second, who = said(doctor.notifications(config))
    assert first == ("ok", "notify", "entry 1, ntfy: failed, blocked")
    assert second[2].startswith("entry 2, JSON: done, failed")
    assert who[0] == "ok"
    assert "a process of the daemon" in who[2]
    assert "notify --test" in who[2]
    assert TOPIC not in str([first, second, who])


def test_wrong_url_is_named_without_it(configured):
    pytest.importorskip("apprise")
    first, _ = said(doctor.notifications(configured(notify=[f'url = "ntfyz://{TOPIC}"'])))
    assert first[:2] == ("no", "notify")
    assert re.search(r"entry 1: ntfyz:// is no service of Apprise; did you mean ntfys?://\? Correct it", first[2])
    assert TOPIC not in first[2]


@pytest.mark.parametrize("unit", [True, False])
def test_url_of_another_user(configured, monkeypatch, unit):
    """A file that this user may not read is no fault where a unit with a user of its own sends."""
    why = "the file /url cannot be read: Permission denied"
    monkeypatch.setattr(doctor, "checked", lambda _: {"refused": [[1, why, True]], "services": {}})
    if unit:
        monkeypatch.setenv(VARIABLE, "unit")
    first, who = said(doctor.notifications(configured(notify=['url = "@/url"'])))
    assert first[0] == ("ok" if unit else "no")
    assert f"entry 1: {why}" in first[2]
    assert ("povwatch-notify.service" in who[2]) == unit


def test_missing_file_with_a_url(configured, tmp_path):
    pytest.importorskip("apprise")
    first, _ = said(doctor.notifications(configured(notify=[f'url = "@{tmp_path / "url"}"'])))
    assert first[0] == "no"
    assert f"the file {tmp_path / 'url'} cannot be read: No such file" in first[2]


def test_without_apprise(configured, monkeypatch):
    monkeypatch.setattr(doctor, "checked", lambda _: {"missing": True})
    (only,) = said(doctor.notifications(configured(notify=['url = "ntfys://x"'])))
    assert only[0] == "no"
    assert "Apprise is not installed" in only[2]
    assert "script/bootstrap --notify" in only[2]


def test_unit_that_the_daemon_told(configured, tmp_path):
    """Who sends is what the daemon said at its last start: a shell has another environment than the unit."""
    pytest.importorskip("apprise")
    config = configured(notify=['url = "ntfys://x"'])
    with Journal.open(config.paths.state) as journal:
        journal.set_facts(notifier="unit")
    assert "sudo -u povwatch-notify " in said(doctor.notifications(config))[-1][2]


# -- metrics


def test_metrics_are_not_published(configured):
    (only,) = said(doctor.metrics(configured()))
    assert only[:2] == ("ok", "metrics")


def test_textfile(configured, tmp_path):
    """A folder where the file can be written, one that is missing, and a name that a folder has."""
    for name, verdict, words in (
        ("here.prom", "ok", "may write"),
        ("away/here.prom", "hm", "is not there"),
        ("folder.prom", "hm", "is a folder"),
    ):
        (tmp_path / "folder.prom").mkdir(exist_ok=True)
        (only,) = said(doctor.metrics(configured(f"[metrics]\ntextfile = {json.dumps(str(tmp_path / name))}")))
        assert only[0] == verdict
        assert words in only[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "folder.prom"]


def test_textfile_that_cannot_be_written(configured):
    """In a folder where not even root may make a file."""
    (only,) = said(doctor.metrics(configured('[metrics]\ntextfile = "/sys/a.prom"')))
    assert only[0] == "hm"
    assert "this user cannot write in /sys: " in only[2]


def test_port(configured, monkeypatch):
    """A free port, one that another program has, one that a povwatch has, and one in the unit's own network."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        config = configured(f"[metrics]\nport = {port}")
        other.listen()
        (taken,) = said(doctor.metrics(config))
    assert taken[0] == "hm"
    assert f"another program has port {port}" in taken[2]
    (free,) = said(doctor.metrics(config))
    assert free == ("ok", "metrics", f"http://127.0.0.1:{port}/metrics: the port is free")
    figures = Figures()
    figures.info.labels("1", "preview").set(1)
    for registry, verdict in ((figures.registry, "ok"), (CollectorRegistry(), "hm")):
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        (answers,) = said(doctor.metrics(config))
        server.shutdown()
        server.server_close()
        thread.join()
        assert answers[0] == verdict
    monkeypatch.setenv(VARIABLE, "unit")
    (only,) = said(doctor.metrics(config))
    assert only[0] == "hm"
    assert "textfile" in only[2]
