"""The alerts and the dashboard in examples/prometheus/ ask for nothing that povwatch does not publish."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from povwatch.metrics.figures import Figures

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples/prometheus"
RULES = EXAMPLES / "povwatch.rules.yml"


def families():
    return list(text_string_to_metric_families(generate_latest(Figures().registry).decode()))


def series():
    """The names that an expression may use."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    return {family.name + suffix for family in families() for suffix in suffixes[family.type]}


def labels():
    """The labels that an expression may use: povwatch's own, and those of Prometheus."""
    figures = vars(Figures()).values()
    return {name for one in figures for name in getattr(one, "_labelnames", ())} | {"le", "instance", "job"}


def rules():
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


def panels():
    return json.loads((EXAMPLES / "povwatch.dashboard.json").read_text())["panels"]


def expressions():
    yield from ((rule["alert"], rule["expr"]) for rule in rules())
    yield from ((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"])


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_expressions_name_what_is_published(where, expression):
    used = set(re.findall(r"\bpovwatch_\w+", expression))
    assert used, where
    assert used <= series()
    asked = set(re.findall(r"(\w+) *(?:=~|!~|!=|=)", expression.replace("==", " ")))
    grouped = {name for words in re.findall(r"(?:by|on) \(([^)]*)\)", expression) for name in words.split(", ")}
    assert asked | grouped <= labels()
    assert expression.count("(") == expression.count(")")


def test_everything_published_is_shown():
    """The dashboard shows each metric, but for the start's time."""
    shown = " ".join(expression for _, expression in expressions())
    assert [family.name for family in families() if family.name not in shown] == []


def test_alerts_say_what_to_do():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) > 5
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_do_not_overlap():
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here")
def test_promtool_finds_no_fault():
    subprocess.run(["promtool", "check", "rules", RULES], check=True, capture_output=True)
    text = generate_latest(Figures().registry)
    subprocess.run(["promtool", "check", "metrics"], input=text, check=True, capture_output=True)


def test_names_and_units_as_prometheus_wants():
    """One prefix, base units in the plural, totals for counters, and a sentence about each."""
    for family in families():
        assert re.fullmatch(r"povwatch_[a-z_]+", family.name)
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|minutes|hours|mb|gb|percent|count|sum)(_|$)", family.name)
        assert not family.name.endswith("_total"), "the parser takes it away from counters alone"
    documented = (ROOT / "docs/monitoring.md").read_text()
    assert [family.name for family in families() if f"`{family.name}" not in documented] == []
