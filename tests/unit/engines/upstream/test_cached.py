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


def test_operands_are_read():
    """Operands are read as upstream writes them."""
    assert cached.parse(ONE) == ("nvidia/X", COMMIT, ["general/edge/w.pt"], {})
    assert cached.parse(MANY) == ("nvidia/X", COMMIT, [], {"--include": ["a/*", "b/*"], "--exclude": ["*.md"]})


@pytest.mark.parametrize("offline", [True, False])
def test_file_of_a_commit_from_the_cache(fetch, offline):
    """A file of a commit is taken from the cache, with a network and without."""
    path, asked = fetch(ONE, offline=offline, files=["general/edge/w.pt"])
    assert (path, asked) == ("/cache/general/edge/w.pt", [("nvidia/X", "general/edge/w.pt", COMMIT)])


def test_missing_is_fetched_by_upstream(fetch):
    """What is missing is fetched as upstream does it."""
    assert fetch(ONE, offline=False)[0] == "ran general/edge/w.pt"
    assert fetch(MANY, offline=False)[0] == "ran *.md"


def test_branch_may_have_moved_on(fetch):
    """A file of a branch is taken from the cache only where there is no network."""
    assert fetch(BRANCH, offline=False, files=["w.pt"]) == ("ran w.pt", [])
    assert fetch(BRANCH, offline=True, files=["w.pt"])[0] == "/cache/w.pt"


def test_folder_from_the_cache_offline(fetch):
    """Without a network, a folder is taken from the cache."""
    path, [(repository, how)] = fetch(MANY, offline=True, folder="/cache/X")
    assert (path, repository) == ("/cache/X", "nvidia/X")
    assert how == {
        "revision": COMMIT,
        "allow_patterns": ["a/*", "b/*"],
        "ignore_patterns": ["*.md"],
        "local_files_only": True,
    }


@pytest.mark.parametrize(("operands", "what"), [(ONE, "nvidia/X (general/edge/w.pt)"), (MANY, "nvidia/X")])
def test_missing_offline_is_named(fetch, operands, what):
    """Without a network, what is missing is named with the command that gets it."""
    with pytest.raises(EngineFailure) as raised:
        fetch(operands, offline=True)
    assert raised.value.message == f"{what} is not on this machine, and HF_HUB_OFFLINE is set."
    assert "povwatch prefetch" in raised.value.todo


def test_uvx_is_found(fetch, monkeypatch, tmp_path):
    """uvx is found where script/cosmos puts it."""
    monkeypatch.setattr(cached, "UV", tmp_path)
    (tmp_path / "uvx").touch()
    monkeypatch.setenv("PATH", "/nowhere")
    fetch(ONE, offline=False)
    assert os.environ["PATH"] == f"/nowhere:{tmp_path}"
    assert Path(cached.__file__).parents[3].joinpath("script").is_dir()  # UV lies beside it
