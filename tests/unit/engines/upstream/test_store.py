import importlib.util
import os
import re
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


def test_other_chunk_seed_or_job_does_not(store, tmp_path):
    """Another chunk, seed or job gets nothing."""
    assert store.get(1, 5) is None
    assert store.get(0, 6) is None
    assert ChunkStore(str(tmp_path / "chunks"), key_of(seed=2)).get(0, 5) is None


def test_cut_file_counts_as_missing(store, file):
    """A file that is cut at any byte counts as missing."""
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert store.get(0, 5) is None, length
    file.write_bytes(whole)
    assert store.get(0, 5) == LATENTS


def test_flipped_bit_changes_nothing(store, file):
    """With any bit flipped, a file counts as missing or gives the same data."""
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = store.get(0, 5)
        assert found is None or found.data == LATENTS.data, at


@pytest.mark.parametrize("content", [b"", b"\0" * 8, struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"[]", b"x" * 99])
def test_foreign_file_counts_as_missing(store, file, content):
    """Another file under the name counts as missing."""
    file.write_bytes(content)
    assert store.get(0, 5) is None


def test_failed_write_keeps_what_was_there(store, file, monkeypatch):
    def full(_fd):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("povwatch.engines.chunk_files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(0, 5, Latents("F32", (1,), b"abcd", "cpu"))
    monkeypatch.undo()
    assert list(file.parent.iterdir()) == [file]
    assert store.get(0, 5) == LATENTS


def test_file_is_synced_before_its_name(tmp_path, monkeypatch):
    """A file is on the disk before it has its name."""
    done = []
    monkeypatch.setattr(
        "povwatch.engines.chunk_files.os.fsync", lambda fd: done.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
    )
    ChunkStore(str(tmp_path), KEY).put(3, 1, LATENTS)
    part, folder = done
    assert re.fullmatch(rf"{tmp_path}/cosmos-0003\.safetensors\.[0-9a-f]+\.part", part)
    assert folder == str(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_tensors_come_back_bit_for_bit(tmp_path, name):
    import torch  # noqa: PLC0415

    from povwatch.engines.upstream import tensors  # noqa: PLC0415

    tensor = torch.randn(1, 16, 3, 4, 5).to(getattr(torch, name)).transpose(2, 4)
    store = ChunkStore(str(tmp_path), KEY)
    store.put(0, 1, tensors.pack(tensor))
    again = tensors.unpack(store.get(0, 1))
    assert again.dtype == tensor.dtype
    assert torch.equal(again, tensor)


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed")
def test_safetensors_reads_the_file(store, file):
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(file, framework="numpy") as opened:
        assert opened.get_tensor("latents").tobytes() == LATENTS.data
        assert opened.metadata()["key"] == KEY
