import os

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs

torch = Deferred("torch")
embeddings = Deferred("povwatch.engines.transfer.embeddings")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


def stored(folder, prompt, embedding, **options):
    """Keep an embedding, and come back when it is on the disk."""
    store = embeddings.Embeddings(str(folder / "prompts"), {"model": 1}, room=0, **options)
    store.keep(prompt, embedding)
    store.close()
    return store


def some(number=0):
    return torch.full((1, 4, 6), float(number), dtype=torch.bfloat16)


def test_same_prompt_of_the_same_model(tmp_path) -> None:
    """An embedding is found again for the same prompt and model alone."""
    store = stored(tmp_path, "a towel", some(3))
    assert torch.equal(store.load("a towel"), some(3))
    assert store.load("a cup") is None
    assert embeddings.Embeddings(str(tmp_path / "prompts"), {"model": 2}).load("a towel") is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_file_counts_as_missing(tmp_path, damage) -> None:
    store = stored(tmp_path, "a towel", some(3))
    (path,) = (tmp_path / "prompts").iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"cut": data[:-2], "flipped": data, "empty": b""}[damage])
    assert store.load("a towel") is None


def test_least_used_are_deleted(tmp_path) -> None:
    """The files take no more room than allowed; those that were used last stay."""
    for number in range(3):
        store = stored(tmp_path, str(number), some(number))
    for age, path in enumerate((tmp_path / "prompts").iterdir()):
        os.utime(path, (1000 + age, 1000 + age))
    assert store.load("0") is not None  # it is used now
    size = path.stat().st_size
    store = stored(tmp_path, "3", some(3), kept=2 * size)
    assert [store.load(str(number)) is not None for number in range(4)] == [True, False, False, True]


def test_full_disk_costs_time_alone(tmp_path) -> None:
    """Nothing is kept where the disk has too little room, or the folder cannot be made."""
    store = embeddings.Embeddings(str(tmp_path / "prompts"), {}, room=10**18)
    store.keep("a", some())
    store.close()
    assert list((tmp_path / "prompts").iterdir()) == []
    (tmp_path / "file").touch()
    assert stored(tmp_path / "file", "a", some()).load("a") is None


def test_prompt_is_embedded_once(tiny, tmp_path, monkeypatch) -> None:
    """The next process takes a prompt's embedding from the disk: the same numbers, and no text encoder is run."""
    options = {"prompt_cache": str(tmp_path / "prompts")}
    monkeypatch.setitem(embeddings.Embeddings.__init__.__kwdefaults__, "room", 0)
    first = tiny_jobs.loaded(tiny, **options)[0]._loaded.model
    expected = first.embed("a towel")
    first.kept_embeddings.close()
    second = tiny_jobs.loaded(tiny, **options)[0]._loaded.model
    monkeypatch.setattr(second, "_embed", None)
    assert torch.equal(second.embed("a towel"), expected)
