"""Everything that an engine needs: listed, weighed, fetched, checked, on record."""

from __future__ import annotations

import json
import random
import shutil
from types import SimpleNamespace

import pytest
from support.hubs import Accident

from povwatch.engines.needs import Need
from povwatch.models import fetch, prefetch, record
from povwatch.models import hub as client
from povwatch.models.errors import NetworkError, RoomError

BIG = random.Random(2).randbytes(400_000)  # noqa: S311 - only has to be the same each time
MODEL = Need("nvidia/model", "a" * 40, "the model", ("weights.pt",))
TOKENIZER = Need("some/tokenizer", "main", "the tokenizer", (), ("*.json",))
DEPTH = Need("some/depth", "main", "depth", ("depth.pth",), depth=True)
NEEDS = (MODEL, TOKENIZER, DEPTH)


class Bars:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.under_way: set[str] = set()

    def begin(self, file) -> None:
        self.under_way.add(file.name)

    def advance(self, file, count) -> None:
        assert file.name in self.under_way
        self.counts[file.name] = self.counts.get(file.name, 0) + count

    def end(self, file) -> None:
        self.under_way.remove(file.name)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def full(hub):
    """A hub with all of it."""
    hub.add("nvidia/model", {"weights.pt": BIG, "other.pt": BIG[::-1]}, commit="a" * 40, gated=True)
    hub.add("some/tokenizer", {"a.json": b"{}", "same.json": b"{}", "pytorch_model.bin": BIG})
    hub.add("some/depth", {"depth.pth": BIG[:1000]})
    return hub


@pytest.fixture
def licensed(full, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", full.token)
    return full


def bring(state, needs=NEEDS, **more):
    bars = Bars()
    found = prefetch.plan(needs)
    problems = prefetch.download(found, state, bars, **more)
    assert bars.under_way == set()
    return [str(problem) for problem in problems], bars.counts


def looked(state, need):
    return record.presence(need, record.load(state))


def test_all_of_it_and_nothing_else(licensed, state):
    """All that is needed is fetched once, checked and on record, and nothing else is fetched."""
    problems, counts = bring(state)
    assert problems == []
    # two files with the same bytes are fetched once
    assert counts == {"weights.pt": 400_000, "same.json": 2, "depth.pth": 1000}
    assert {name for name, _ in licensed.downloads()} == {"weights.pt", "same.json", "depth.pth"}
    for need in NEEDS:
        seen = looked(state, need)
        assert (seen.missing, seen.checked) == ((), True)
        assert record.changed_files(need, record.load(state)) == ()
    assert client.snapshot_of(TOKENIZER, client.cached_commit(TOKENIZER)).joinpath("a.json").read_bytes() == b"{}"


def test_depth_model_is_where_upstream_looks(licensed, state, tmp_path):
    bring(state, (DEPTH,))
    place = tmp_path / "hf/cosmos_depth_models/video_depth_anything_vits"
    (found,) = place.glob("models--some--depth/snapshots/*/depth.pth")
    assert found.read_bytes() == BIG[:1000]


def test_sizes_are_known_before(licensed, state):
    """The sizes are known before anything is fetched."""
    found = prefetch.plan(NEEDS)
    assert found.size == found.lacking == 401_002
    assert licensed.downloads() == []
    prefetch.download(found, state, Bars())
    assert (found.size, found.lacking) == (401_002, 0)


def test_second_run_reads_nothing(licensed, state, monkeypatch):
    """A second run neither fetches nor reads what is on record."""
    bring(state)
    licensed.requests.clear()
    monkeypatch.setattr(prefetch, "digest_of", lambda *_: pytest.fail("it was read again"))
    problems, counts = bring(state)
    assert problems == []
    assert sum(counts.values()) == 401_002
    assert licensed.downloads() == []


def test_changed_bytes_are_fetched_anew(licensed, state):
    """Bytes that were changed are found by their time, and fetched anew."""
    bring(state)
    weights = client.snapshot_of(MODEL, MODEL.revision) / "weights.pt"
    weights.resolve().write_bytes(BIG[:-1] + b"\0")
    assert looked(state, MODEL).there, "the size is the same"
    assert record.changed_files(MODEL, record.load(state)) == ("weights.pt",)
    problems, counts = bring(state)
    assert (problems, counts["weights.pt"]) == ([], 400_000)
    assert weights.read_bytes() == BIG


def test_again_reads_unchanged_files(licensed, state):
    """With `again` a file is read even if its size and time are unchanged."""
    bring(state)
    blob = (client.snapshot_of(MODEL, MODEL.revision) / "weights.pt").resolve()
    before = blob.stat()
    blob.write_bytes(BIG[:-1] + b"\0")
    fetch.os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert bring(state)[0] == []
    assert blob.read_bytes() != BIG, "a time of change that was put back is believed"
    assert bring(state, again=True)[0] == []
    assert blob.read_bytes() == BIG


def test_gated_repository_delays_no_other(full, state):
    """A gated repository is a problem of its own, and the others are fetched."""
    problems, _ = bring(state)
    (problem,) = problems
    assert problem.startswith("nvidia/model is gated")
    assert "https://huggingface.co/nvidia/model" in problem
    assert looked(state, MODEL).missing == ("weights.pt",)
    assert looked(state, TOKENIZER).checked
    assert looked(state, DEPTH).checked


def test_wrong_bytes_are_not_on_record(licensed, state):
    """Wrong bytes are named and not put on record; the next run fetches them."""
    licensed.accidents["weights.pt"] = Accident(swapped=BIG[::-1])
    problems, _ = bring(state)
    (problem,) = problems
    assert "weights.pt of nvidia/model came with the wrong bytes" in problem
    assert not looked(state, MODEL).there
    assert looked(state, TOKENIZER).checked
    licensed.accidents.clear()
    assert bring(state)[0] == []
    assert looked(state, MODEL).checked


def test_lost_network_ends_the_run(licensed, state):
    """A network that goes ends the run, and the next one goes on."""
    licensed.accidents["weights.pt"] = Accident(cut_after=1000, times=99)
    licensed.accidents["weights.pt"].cut_after = 0
    with pytest.raises(NetworkError):
        bring(state, (MODEL,))
    assert not looked(state, MODEL).there
    licensed.accidents["weights.pt"] = Accident(cut_after=150_000)
    assert bring(state, (MODEL,))[0] == []
    assert looked(state, MODEL).checked


def test_too_small_disk_is_told_before(licensed, state, monkeypatch):
    """A disk that is too small is told before anything is fetched."""
    free = SimpleNamespace(free=prefetch.SPARE + 401_001)
    monkeypatch.setattr(prefetch.shutil, "disk_usage", lambda _: free)
    found = prefetch.plan(NEEDS)
    with pytest.raises(RoomError, match=r"401 kB are still to be fetched.*HF_HOME"):
        prefetch.check_disk_space(found)
    free.free += 1
    prefetch.check_disk_space(found)
    prefetch.download(found, state, Bars())
    free.free = 0
    prefetch.check_disk_space(found)  # nothing is left to fetch


def test_moved_branch_is_fetched_anew(licensed, state):
    """A branch that has moved is fetched at its new commit."""
    bring(state)
    licensed.repositories["some/tokenizer"].commit = "b" * 40
    licensed.repositories["some/tokenizer"].files["a.json"] = b'{"new": 1}'
    assert bring(state)[0] == []
    assert client.cached_commit(TOKENIZER) == "b" * 40
    assert looked(state, TOKENIZER).checked


def test_branch_that_moves_in_between(licensed, state):
    """A branch that moves while it is fetched is told, and not put on record."""
    found = prefetch.plan((TOKENIZER,))
    repository = licensed.repositories["some/tokenizer"]
    repository.earlier, repository.commit = (repository.commit,), "b" * 40
    problems = prefetch.download(found, state, Bars())
    assert "was changed while it was fetched" in str(problems[0])
    assert not looked(state, TOKENIZER).checked


# -- what is here


def test_nothing_is_here(hub, state):
    """Without a cache every file is missing, and nothing is called spoilt."""
    assert looked(state, MODEL).missing == ("weights.pt",)
    assert looked(state, TOKENIZER).missing == ("*.json",)
    assert looked(state, Need("some/whole", "main", "")).missing == ("*",)
    assert record.changed_files(MODEL, ()) is None


def test_files_of_others_are_unchecked(hub, state):
    """What somebody else fetched is here, but not checked."""
    folder = client.snapshot_of(MODEL, MODEL.revision)
    folder.mkdir(parents=True)
    assert looked(state, MODEL).missing == ("weights.pt",)
    (folder / "weights.pt").write_bytes(BIG)
    seen = looked(state, MODEL)
    assert (seen.there, seen.checked, seen.size) == (True, False, 400_000)


def test_removed_or_cut_file_is_missing(licensed, state):
    """A file that was removed or cut is missing."""
    bring(state)
    blob = (client.snapshot_of(MODEL, MODEL.revision) / "weights.pt").resolve()
    blob.unlink()
    assert looked(state, MODEL).missing == ("weights.pt",)
    blob.write_bytes(BIG[:10])
    assert looked(state, MODEL).missing == ("weights.pt",)


def test_branch_without_its_commit(licensed, state):
    """Files of a branch whose commit the cache does not name are missing."""
    bring(state)
    shutil.rmtree(client.store_of(TOKENIZER) / "refs")
    assert looked(state, TOKENIZER).missing == ("a.json", "same.json")


def test_another_cache_is_another_place(licensed, state, monkeypatch, tmp_path):
    """What is in one cache is missing in another."""
    bring(state)
    monkeypatch.setattr(client.constants, "HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert not looked(state, MODEL).there


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "snapshots": [{}]}'])
def test_damaged_record_is_as_good_as_none(state, text):
    state.mkdir()
    (state / record.NAME).write_text(text)
    assert record.load(state) == ()


def test_record_keeps_the_others(licensed, state):
    """The record is replaced in one step, and keeps other entries."""
    bring(state, (MODEL,))
    bring(state, (TOKENIZER,))
    found = json.loads((state / record.NAME).read_text())
    assert [entry["repository"] for entry in found["snapshots"]] == ["nvidia/model", "some/tokenizer"]
    assert [path.name for path in state.iterdir()] == [record.NAME]
