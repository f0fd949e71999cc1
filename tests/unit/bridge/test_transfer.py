"""Files to a node and back: blocks, digests, broken connections. The node's side is a folder of this machine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from povwatch.bridge import transfer as module
from povwatch.bridge.losses import Broken
from povwatch.bridge.scratch import CHUNKS, WORK, Scratch
from povwatch.bridge.transfer import Transfer, TransferFailed, chunks_in


class Connection:
    """Calls a Scratch, and breaks or damages as the test says."""

    def __init__(self, folder):
        self.scratch = Scratch(str(folder))
        self.calls = []
        self.breaks = []
        """Calls to come at which the connection breaks: after the call was done."""
        self.damages = 0
        """Blocks to come that arrive damaged."""

    async def __call__(self, what, *arguments):
        self.calls.append(what)
        if self.damages and what == "receive":
            self.damages -= 1
            arguments = (*arguments[:2], b"x" + arguments[2][1:], arguments[3])
        try:
            answer = self.scratch.call(what, *arguments)
        except (ValueError, OSError) as error:
            raise Broken(str(error), passing=False) from error
        if what in self.breaks:
            self.breaks.remove(what)
            raise Broken("it broke", passing=True)
        return answer


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1000)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    return Connection(tmp_path / "node")


@pytest.fixture
def here(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir(mode=0o700)
    (folder / "clip").write_bytes(os.urandom(4500))
    return folder


def send(there, here, name="clip"):
    return asyncio.run(Transfer(there, "gpu-02").send(str(here / name)))


def begun(there, here, **chunks):
    digest = send(there, here)
    return there.scratch.begin("run", {"a/clip": digest}, chunks)


def put(folder, files):
    for name, data in files.items():
        path = Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def test_a_file_arrives(there, here):
    folders = begun(there, here)
    assert Path(f"{folders[WORK]}/a/clip").read_bytes() == (here / "clip").read_bytes()
    assert there.calls.count("receive") == 5


def test_a_file_is_sent_once(there, here):
    """The looks of a clip share it."""
    send(there, here)
    there.calls.clear()
    send(there, here)
    assert there.calls == ["have", "complete"]


def test_a_broken_connection_is_resumed(there, here):
    """No block is sent twice but the one at which it broke."""
    there.breaks = ["receive", "have", "complete"]
    send(there, here)
    assert there.calls.count("receive") == 6


def test_another_actor_resumes_it(there, here):
    class DiedError(Exception):
        pass

    async def dies(what, *arguments):
        if there.calls.count("receive") == 3:
            raise DiedError
        return await there(what, *arguments)

    with pytest.raises(DiedError):
        asyncio.run(Transfer(dies, "gpu-02").send(str(here / "clip")))
    there.calls.clear()
    send(there, here)
    assert there.calls.count("receive") == 2


def test_a_damaged_block_is_refused(there, here):
    there.damages = 1
    with pytest.raises(TransferFailed, match="gpu-02"):
        send(there, here)


def test_what_was_damaged_there_is_sent_anew(there, here):
    send(there, here)
    (kept,) = there.scratch._root and os.listdir(f"{there.scratch._root}/files")  # noqa: PTH208
    os.rename(f"{there.scratch._root}/files/{kept}", f"{there.scratch._root}/files/{kept}.part")  # noqa: PTH104
    with open(f"{there.scratch._root}/files/{kept}.part", "r+b") as file:  # noqa: PTH123
        file.write(b"damage")
    folders = begun(there, here)
    assert Path(f"{folders[WORK]}/a/clip").read_bytes() == (here / "clip").read_bytes()


def test_a_result_comes_back_resumed(there, here, tmp_path):
    """It gets its name when it is whole."""
    folders = begun(there, here)
    made = os.urandom(5500)
    Path(folders[WORK], "out.mp4").write_bytes(made)
    there.breaks = ["digest", "read", "read"]
    asyncio.run(Transfer(there, "gpu-02").fetch("run", WORK, "out.mp4", str(here)))
    assert (here / "out.mp4").read_bytes() == made
    assert sorted(one.name for one in here.iterdir()) == ["clip", "out.mp4"]


def test_a_part_from_before_is_used(there, here):
    folders = begun(there, here)
    made = os.urandom(5500)
    Path(folders[WORK], "out.mp4").write_bytes(made)
    digest = there.scratch.digest("run", WORK, "out.mp4")[1]
    (here / f"out.mp4.{digest[:16]}.part").write_bytes(made[:3000])
    there.calls.clear()
    asyncio.run(Transfer(there, "gpu-02").fetch("run", WORK, "out.mp4", str(here)))
    assert (here / "out.mp4").read_bytes() == made
    assert there.calls.count("read") == 3


def test_finished_chunks_come_once(there, here, tmp_path):
    """Those that the node got from here do not come back; what is being written is left."""
    chunks = tmp_path / "chunks"
    chunks.mkdir(mode=0o700)
    (chunks / "chunk_0").write_bytes(b"first")
    carrying = Transfer(there, "gpu-02")

    async def job():
        digest = await carrying.send(str(here / "clip"))
        first = await carrying.send(str(chunks / "chunk_0"))
        folders = await carrying.begin("run", {"clip": digest}, dict.fromkeys(chunks_in(str(chunks)), first))
        put(folders[CHUNKS], {"chunk_1": b"second", "deep/chunk_2": b"third", "chunk_3.part": b"not yet"})
        there.calls.clear()
        assert await carrying.fetch_chunks("run", str(chunks)) == ""
        assert there.calls.count("read") == 2
        there.calls.clear()
        await carrying.fetch_chunks("run", str(chunks))
        assert there.calls == ["finished_chunks"]

    asyncio.run(job())
    assert sorted(chunks_in(str(chunks))) == ["chunk_0", "chunk_1", "deep/chunk_2"]
    assert (chunks / "deep/chunk_2").read_bytes() == b"third"


@pytest.mark.parametrize("name", ["../../files/x", "/etc/passwd", "../chunks/x", ".", ""])
def test_no_file_outside_the_job_is_read(there, here, name):
    begun(there, here)
    with pytest.raises(ValueError, match=r"^.*$"):
        there.scratch.read("run", WORK, name, 0, 10)


@pytest.mark.parametrize("run_id", ["..", "a/b", ""])
def test_no_folder_outside_is_deleted(there, run_id):
    with pytest.raises(ValueError, match=r"^.*$"):
        there.scratch.end(run_id)


def test_what_is_long_unused_is_deleted(there, here):
    digest = send(there, here)
    kept = Path(there.scratch._root, "files", digest)
    os.utime(kept, (0, 0))
    there.scratch.begin("another", {}, {})
    assert not kept.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//x", "", "."])
def test_a_node_names_no_file_elsewhere(there, here, name):
    """It may be anybody's."""

    async def lies(what, *_):
        assert what == "finished_chunks"
        return [[name, 3, 1]]

    assert "none of a job's" in asyncio.run(Transfer(lies, "gpu-02").fetch_chunks("run", str(here)))
    assert [one.name for one in here.iterdir()] == ["clip"]
