import os
import sys
import types
from pathlib import Path

import pytest

from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream import cached

COMMIT = "b67b64abda3801a9aceddbff2bdb86126c06db74"
ONE = ["nvidia/X", "--repo-type", "model", "--revision", COMMIT, "general/edge/w.pt"]
BRANCH = ["nvidia/X", "--repo-type", "model", "--revision", "main", "w.pt"]
MANY = ["nvidia/X", "--repo-type", "model", "--revision", COMMIT, "--include", "a/*", "b/*", "--exclude", "*.md"]


class Hub(types.ModuleType):
    """A cache with some files, and what it was asked."""

    def __init__(self, *, offline, files=(), folder=None):
        super().__init__("huggingface_hub")
        self.constants = types.SimpleNamespace(HF_HUB_OFFLINE=offline)
        self.files = files
        self.folder = folder
        self.asked = []

    def try_to_load_from_cache(self, repository, file, revision=None):
        self.asked.append((repository, file, revision))
        return f"/cache/{file}" if file in self.files else None

    def snapshot_download(self, repository, **how):
        self.asked.append((repository, how))
        if self.folder is None:
            raise FileNotFoundError
        return self.folder


@pytest.fixture
def fetch(monkeypatch):
    """Downloads as upstream does, once the cache is preferred; gives the path, or what would have been run."""

    def download(operands, **hub):
        database = types.ModuleType(cached.DATABASE)
        database._hf_download = lambda operands: f"ran {operands[-1]}"
        monkeypatch.setitem(sys.modules, cached.DATABASE, database)
        monkeypatch.setitem(sys.modules, "huggingface_hub", found := Hub(**hub))
        cached.prefer_cache()
        return database._hf_download(operands), found.asked

    return download


def test_operands_are_read_as_upstream_writes_them():
    assert cached.parse(ONE) == ("nvidia/X", COMMIT, ["general/edge/w.pt"], {})
    assert cached.parse(MANY) == ("nvidia/X", COMMIT, [], {"--include": ["a/*", "b/*"], "--exclude": ["*.md"]})


@pytest.mark.parametrize("offline", [True, False])
def test_a_file_of_a_commit_is_taken_from_the_cache(fetch, offline):
    path, asked = fetch(ONE, offline=offline, files=["general/edge/w.pt"])
    assert (path, asked) == ("/cache/general/edge/w.pt", [("nvidia/X", "general/edge/w.pt", COMMIT)])


def test_what_is_missing_is_fetched_as_upstream_does(fetch):
    assert fetch(ONE, offline=False)[0] == "ran general/edge/w.pt"
    assert fetch(MANY, offline=False)[0] == "ran *.md"


def test_a_branch_may_have_moved_on(fetch):
    assert fetch(BRANCH, offline=False, files=["w.pt"]) == ("ran w.pt", [])
    assert fetch(BRANCH, offline=True, files=["w.pt"])[0] == "/cache/w.pt"


def test_a_folder_is_taken_from_the_cache_when_offline(fetch):
    path, [(repository, how)] = fetch(MANY, offline=True, folder="/cache/X")
    assert (path, repository) == ("/cache/X", "nvidia/X")
    assert how == {
        "revision": COMMIT,
        "allow_patterns": ["a/*", "b/*"],
        "ignore_patterns": ["*.md"],
        "local_files_only": True,
    }


@pytest.mark.parametrize(("operands", "what"), [(ONE, "nvidia/X (general/edge/w.pt)"), (MANY, "nvidia/X")])
def test_offline_what_is_missing_is_named(fetch, operands, what):
    with pytest.raises(EngineFailure) as raised:
        fetch(operands, offline=True)
    assert raised.value.message == f"{what} is not on this machine, and HF_HUB_OFFLINE is set."
    assert "povwatch prefetch" in raised.value.todo


def test_uvx_is_found_where_script_cosmos_puts_it(fetch, monkeypatch, tmp_path):
    monkeypatch.setattr(cached, "UV", tmp_path)
    (tmp_path / "uvx").touch()
    monkeypatch.setenv("PATH", "/nowhere")
    fetch(ONE, offline=False)
    assert os.environ["PATH"] == f"/nowhere:{tmp_path}"
    assert Path(cached.__file__).parents[3].joinpath("script").is_dir()  # UV lies beside it
