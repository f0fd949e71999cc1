"""povwatch pool where there is nothing for it to do, and every other verb where Ray is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from povwatch.cli import pool as module
from povwatch.cli.app import VERBS, app
from povwatch.core.errors import ConfigError


@pytest.fixture
def said(monkeypatch):
    """The events that it logs."""
    events = []
    monkeypatch.setattr(module, "say", lambda event, **_: events.append(event))
    monkeypatch.setattr(module.log, "configure", lambda: None)
    return events


@pytest.fixture
def pool(tmp_path, said):
    def pool(text):
        (tmp_path / "config.toml").write_text(text)
        return CliRunner().invoke(app, ["--config", str(tmp_path / "config.toml"), "pool"])

    return pool


def test_without_a_pool_it_ends(pool, said):
    assert pool("").exit_code == 0
    assert said == ["bridge-idle"]


def test_without_ray_it_says_what_to_install(pool, monkeypatch):
    genuine = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else genuine(name, *rest)
    )
    done = pool('[engine]\nkind = "preview"\n[pool]\nkind = "ray"\n')
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith('[pool] kind = "ray" needs Ray, and it is not installed.')
    assert "script/bootstrap --pool" in str(done.exception)


def test_no_verb_imports_ray():
    """Not even this one, before it runs."""
    modules = ", ".join(sorted({f"povwatch.cli.{module}" for module in VERBS.values()}))
    code = f"import sys, povwatch.daemon.loop, {modules}; print('ray' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout == "False\n"
