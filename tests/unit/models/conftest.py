"""The hub's client of this process, told that our hub is huggingface.co."""

from __future__ import annotations

import pytest
from huggingface_hub import constants
from support.hubs import Hub

from povwatch.models import fetch


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as running:
        home = tmp_path / "hf"
        for name, value in running.environment(home).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(fetch, "PAUSE", 0.0)
        yield running
