import importlib.util
import os
import struct
from pathlib import Path

import pytest

from povwatch.engines.upstream.store import ChunkStore, Latents, key_of

LATENTS = Latents("F32", (1, 2, 3), bytes(range(24)), "cuda")
KEY = key_of(seed=1)


@pytest.fixture
def store(tmp_path):
    store = ChunkStore(str(tmp_path / "chunks"), KEY)
    store.put(0, 5, LATENTS)
    return store


@pytest.fixture
def file(store, tmp_path):
    [file] = (tmp_path / "chunks").iterdir()
    return file


def test_what_was_put_comes_back(store):
    assert store.get(0, 5) == LATENTS


def test_another_chunk_seed_or_job_does_not(store, tmp_path):
    assert store.get(1, 5) is None
    assert store.get(0, 6) is None
    assert ChunkStore(str(tmp_path / "chunks"), key_of(seed=2)).get(0, 5) is None


def test_a_file_cut_short_at_any_byte_counts_as_missing(store, file):
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert store.get(0, 5) is None, length
    file.write_bytes(whole)
    assert store.get(0, 5) == LATENTS


def test_any_flipped_bit_counts_as_missing_or_changes_nothing(store, file):
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = store.get(0, 5)
        assert found is None or found.data == LATENTS.data, at


@pytest.mark.parametrize("content", [b"", b"\0" * 8, struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"[]", b"x" * 99])
def test_another_file_under_the_name_counts_as_missing(store, file, content):
    file.write_bytes(content)
    assert store.get(0, 5) is None


def test_a_write_that_fails_leaves_what_was_there(store, file, monkeypatch):
    def full(_fd):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("povwatch.engines.chunk_files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(0, 5, Latents("F32", (1,), b"abcd", "cpu"))
    monkeypatch.undo()
    assert list(file.parent.iterdir()) == [file]
    assert store.get(0, 5) == LATENTS


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(
        "povwatch.engines.chunk_files.os.fsync", lambda fd: done.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    ChunkStore(str(tmp_path), KEY).put(3, 1, LATENTS)
    assert done == [f"{tmp_path}/cosmos-0003.safetensors.part", str(tmp_path)]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_torchs_own_tensors_come_back_bit_for_bit(tmp_path, name):
    import torch  # noqa: PLC0415

    from povwatch.engines.upstream import tensors  # noqa: PLC0415

    tensor = torch.randn(1, 16, 3, 4, 5).to(getattr(torch, name)).transpose(2, 4)
    store = ChunkStore(str(tmp_path), KEY)
    store.put(0, 1, tensors.pack(tensor))
    again = tensors.unpack(store.get(0, 1))
    assert again.dtype == tensor.dtype
    assert torch.equal(again, tensor)


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed")
def test_the_file_is_what_safetensors_reads(store, file):
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(file, framework="numpy") as opened:
        assert opened.get_tensor("latents").tobytes() == LATENTS.data
        assert opened.metadata()["key"] == KEY
