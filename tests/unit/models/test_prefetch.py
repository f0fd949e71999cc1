"""Everything that an engine needs: listed, weighed, fetched, checked, on record."""

from __future__ import annotations

import json
import random
import shutil
from types import SimpleNamespace

import pytest
from support.hubs import Accident

from povwatch.models import fetch, prefetch, record
from povwatch.models import hub as client
from povwatch.models.errors import NetworkError, RoomError
from povwatch.models.look import look, spoilt
from povwatch.models.needs import Need

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
    problems = prefetch.bring(found, state, bars, **more)
    assert bars.under_way == set()
    return [str(problem) for problem in problems], bars.counts


def looked(state, need):
    return look(need, record.load(state))


def test_all_of_it_and_nothing_else(licensed, state):
    problems, counts = bring(state)
    assert problems == []
    # two files with the same bytes are fetched once
    assert counts == {"weights.pt": 400_000, "same.json": 2, "depth.pth": 1000}
    assert {name for name, _ in licensed.downloads()} == {"weights.pt", "same.json", "depth.pth"}
    for need in NEEDS:
        seen = looked(state, need)
        assert (seen.missing, seen.checked) == ((), True)
        assert spoilt(need, record.load(state)) == ()
    assert client.snapshot_of(TOKENIZER, client.cached_commit(TOKENIZER)).joinpath("a.json").read_bytes() == b"{}"


def test_the_depth_model_goes_where_upstream_looks_for_it(licensed, state, tmp_path):
    bring(state, (DEPTH,))
    place = tmp_path / "hf/cosmos_depth_models/video_depth_anything_vits"
    (found,) = place.glob("models--some--depth/snapshots/*/depth.pth")
    assert found.read_bytes() == BIG[:1000]


def test_sizes_are_known_before(licensed, state):
    found = prefetch.plan(NEEDS)
    assert found.size == found.lacking == 401_002
    assert licensed.downloads() == []
    prefetch.bring(found, state, Bars())
    assert (found.size, found.lacking) == (401_002, 0)


def test_a_second_run_fetches_and_reads_nothing(licensed, state, monkeypatch):
    bring(state)
    licensed.requests.clear()
    monkeypatch.setattr(prefetch, "digest_of", lambda *_: pytest.fail("it was read again"))
    problems, counts = bring(state)
    assert problems == []
    assert sum(counts.values()) == 401_002
    assert licensed.downloads() == []


def test_bytes_that_were_changed_are_found_and_fetched_anew(licensed, state):
    bring(state)
    weights = client.snapshot_of(MODEL, MODEL.revision) / "weights.pt"
    weights.resolve().write_bytes(BIG[:-1] + b"\0")
    assert looked(state, MODEL).there, "the size is the same"
    assert spoilt(MODEL, record.load(state)) == ("weights.pt",)
    problems, counts = bring(state)
    assert (problems, counts["weights.pt"]) == ([], 400_000)
    assert weights.read_bytes() == BIG


def test_again_reads_even_what_looks_unchanged(licensed, state):
    bring(state)
    blob = (client.snapshot_of(MODEL, MODEL.revision) / "weights.pt").resolve()
    before = blob.stat()
    blob.write_bytes(BIG[:-1] + b"\0")
    fetch.os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert bring(state)[0] == []
    assert blob.read_bytes() != BIG, "a time of change that was put back is believed"
    assert bring(state, again=True)[0] == []
    assert blob.read_bytes() == BIG


def test_a_gated_repository_does_not_keep_the_others_back(full, state):
    problems, _ = bring(state)
    (problem,) = problems
    assert problem.startswith("nvidia/model is gated")
    assert "https://huggingface.co/nvidia/model" in problem
    assert looked(state, MODEL).missing == ("weights.pt",)
    assert looked(state, TOKENIZER).checked
    assert looked(state, DEPTH).checked


def test_wrong_bytes_are_named_and_not_put_on_record(licensed, state):
    licensed.accidents["weights.pt"] = Accident(swapped=BIG[::-1])
    problems, _ = bring(state)
    (problem,) = problems
    assert "weights.pt of nvidia/model came with the wrong bytes" in problem
    assert not looked(state, MODEL).there
    assert looked(state, TOKENIZER).checked
    licensed.accidents.clear()
    assert bring(state)[0] == []
    assert looked(state, MODEL).checked


def test_a_network_that_goes_ends_it_and_the_next_run_goes_on(licensed, state):
    licensed.accidents["weights.pt"] = Accident(cut_after=1000, times=99)
    licensed.accidents["weights.pt"].cut_after = 0
    with pytest.raises(NetworkError):
        bring(state, (MODEL,))
    assert not looked(state, MODEL).there
    licensed.accidents["weights.pt"] = Accident(cut_after=150_000)
    assert bring(state, (MODEL,))[0] == []
    assert looked(state, MODEL).checked


def test_a_disk_that_is_too_small_is_told_before(licensed, state, monkeypatch):
    free = SimpleNamespace(free=prefetch.SPARE + 401_001)
    monkeypatch.setattr(prefetch.shutil, "disk_usage", lambda _: free)
    found = prefetch.plan(NEEDS)
    with pytest.raises(RoomError, match=r"401 kB are still to be fetched.*HF_HOME"):
        prefetch.check_room(found)
    free.free += 1
    prefetch.check_room(found)
    prefetch.bring(found, state, Bars())
    free.free = 0
    prefetch.check_room(found)  # nothing is left to fetch


def test_a_branch_that_moves_is_fetched_at_its_new_commit(licensed, state):
    bring(state)
    licensed.repositories["some/tokenizer"].commit = "b" * 40
    licensed.repositories["some/tokenizer"].files["a.json"] = b'{"new": 1}'
    assert bring(state)[0] == []
    assert client.cached_commit(TOKENIZER) == "b" * 40
    assert looked(state, TOKENIZER).checked


def test_a_branch_that_moves_in_between_is_told(licensed, state):
    found = prefetch.plan((TOKENIZER,))
    repository = licensed.repositories["some/tokenizer"]
    repository.earlier, repository.commit = (repository.commit,), "b" * 40
    problems = prefetch.bring(found, state, Bars())
    assert "was changed while it was fetched" in str(problems[0])
    assert not looked(state, TOKENIZER).checked


# -- what is here


def test_nothing_is_here(hub, state):
    assert looked(state, MODEL).missing == ("weights.pt",)
    assert looked(state, TOKENIZER).missing == ("*.json",)
    assert looked(state, Need("some/whole", "main", "")).missing == ("*",)
    assert spoilt(MODEL, ()) is None


def test_what_somebody_else_fetched_is_here_but_was_not_checked(hub, state):
    folder = client.snapshot_of(MODEL, MODEL.revision)
    folder.mkdir(parents=True)
    assert looked(state, MODEL).missing == ("weights.pt",)
    (folder / "weights.pt").write_bytes(BIG)
    seen = looked(state, MODEL)
    assert (seen.there, seen.checked, seen.size) == (True, False, 400_000)


def test_a_file_that_was_taken_away_is_missing(licensed, state):
    bring(state)
    blob = (client.snapshot_of(MODEL, MODEL.revision) / "weights.pt").resolve()
    blob.unlink()
    assert looked(state, MODEL).missing == ("weights.pt",)
    blob.write_bytes(BIG[:10])
    assert looked(state, MODEL).missing == ("weights.pt",)


def test_a_branch_without_its_commit_is_missing(licensed, state):
    bring(state)
    shutil.rmtree(client.store_of(TOKENIZER) / "refs")
    assert looked(state, TOKENIZER).missing == ("a.json", "same.json")


def test_another_cache_is_another_place(licensed, state, monkeypatch, tmp_path):
    bring(state)
    monkeypatch.setattr(client.constants, "HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert not looked(state, MODEL).there


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "snapshots": [{}]}'])
def test_a_damaged_record_is_as_good_as_none(state, text):
    state.mkdir()
    (state / record.NAME).write_text(text)
    assert record.load(state) == ()


def test_the_record_is_replaced_in_one_step_and_keeps_the_others(licensed, state):
    bring(state, (MODEL,))
    bring(state, (TOKENIZER,))
    found = json.loads((state / record.NAME).read_text())
    assert [entry["repository"] for entry in found["snapshots"]] == ["nvidia/model", "some/tokenizer"]
    assert [path.name for path in state.iterdir()] == [record.NAME]
