"""Ray's token: who may read it, and when it is used."""

from __future__ import annotations

import os
import stat

import pytest

from povwatch.bridge import token
from povwatch.core.errors import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What povwatch and others set of Ray's is as it was afterwards."""
    for name in (token.MODE, token.PATH, "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_new_token_is_used(tmp_path):
    """It is made once, for our own user alone, and Ray is told of it."""
    state = tmp_path / "state"
    token.make(state)
    file = state / token.NAME
    made = file.read_text()
    token.make(state)
    assert file.read_text() == made
    assert len(made) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token.use(state) == file
    assert (os.environ[token.MODE], os.environ[token.PATH]) == ("token", str(file))


def test_without_a_token_nothing_is_set(tmp_path):
    assert token.use(tmp_path) is None
    assert token.MODE not in os.environ


def test_who_sets_the_mode_decides(tmp_path, monkeypatch):
    token.make(tmp_path)
    monkeypatch.setenv(token.MODE, "disabled")
    assert token.use(tmp_path) is None
    assert token.PATH not in os.environ


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_an_open_token_is_refused(tmp_path, mode):
    token.make(tmp_path)
    (tmp_path / token.NAME).chmod(mode)
    with pytest.raises(ConfigError, match=r"may be read by others.* chmod 600 "):
        token.use(tmp_path)
    assert token.MODE not in os.environ
