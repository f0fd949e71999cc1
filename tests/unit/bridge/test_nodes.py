"""Whether a node may have workers. The node is a stand-in: what it answers is what the test says."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest

from povwatch import __version__
from povwatch.bridge import host, nodes
from povwatch.bridge.losses import Broken
from povwatch.bridge.nodes import Needs, Nodes, Refused
from povwatch.process import protocol

ABOUT = {"povwatch": __version__, "protocol": protocol.VERSION}


class Actor:
    """An actor of a node on which paths are others than here."""

    def __init__(self, here, there, **look):
        self.here, self.there = str(here), str(there)
        self.looked = 0
        self._look = {"problems": [], "state": "/s", "runtime": "/python", "clock": time.time()} | look

    async def call(self, method, *arguments):
        if method == "look":
            self.looked += 1
            return self._look
        assert method == "answer_canary"
        folder, name = arguments
        return host._canary(folder.replace(self.here, self.there), name)


@pytest.fixture
def admit(tmp_path, monkeypatch):
    """Admits a node whose outputs/ is another folder than the one here, or the same."""
    monkeypatch.setattr(nodes, "ANSWER_SECONDS", 0.3)
    outputs = tmp_path / "outputs"
    outputs.mkdir()

    def admit(*, there=outputs, about=ABOUT, shared=True, **look):
        actor = Actor(outputs, there, **look)
        known = Nodes(None, Needs("", outputs if shared else None, 1))
        node = known.get("n1", "gpu-02")
        try:
            for _ in range(2):
                asyncio.run(known.admit(node, actor, about, "engine"))
        except Refused as refusal:
            assert known.refused(time.monotonic()) == {"n1"}
            assert known.refused(time.monotonic() + nodes.LOOK_AGAIN) == frozenset()
            said = str(refusal)
        else:
            assert actor.looked == 1
            return node.problem
        assert node.problem == said
        return said

    yield admit
    assert not list(outputs.rglob("*canary*"))


def test_a_good_node_is_looked_at_once(admit):
    assert admit() == ""


def test_a_folder_that_is_not_there_is_told(admit, tmp_path):
    why = admit(there=tmp_path / "elsewhere")
    assert why.startswith("outputs is not shared with gpu-02. ")
    assert why.endswith('or set pool.files = "stream".')


def test_another_folder_of_that_name_is_told(admit, tmp_path):
    """Somebody else's disk is mounted there, say."""
    (tmp_path / "other/.povwatch").mkdir(parents=True, mode=0o700)
    assert "another folder there: what is written here is not seen" in admit(there=tmp_path / "other")


def test_a_copy_of_the_folder_is_told(admit, tmp_path, monkeypatch):
    """What is written there has to come back."""
    genuine = host._canary

    def copies(folder, name):
        shutil.copytree(tmp_path / "outputs/.povwatch", tmp_path / "copy/.povwatch")
        return genuine(folder, name)

    monkeypatch.setattr(host, "_canary", copies)
    assert "what is written there is not seen here" in admit(there=tmp_path / "copy")


def test_streamed_files_need_no_folder(admit, tmp_path):
    assert admit(there=tmp_path / "elsewhere", shared=False) == ""


def test_another_povwatch_is_told(admit):
    why = admit(about=ABOUT | {"povwatch": "0.0.1"})
    assert f"gpu-02 has povwatch 0.0.1 (protocol {protocol.VERSION}), and here it is {__version__}" in why


def test_what_a_node_lacks_is_told(admit):
    assert admit(problems=["It has no disk.", "It has no engine."]) == "gpu-02: It has no disk. It has no engine."


@pytest.mark.parametrize(("off", "words"), [(3600, "1 h 00 min ahead of"), (-3601, "1 h 00 min behind")])
def test_a_wrong_clock_is_told(admit, off, words):
    """The node works all the same."""
    assert f"The clock of gpu-02 is {words} the one here." in admit(clock=time.time() + off)


def test_a_node_that_fails_is_not_refused(admit):
    """Whether it can work is not known."""

    class Failing:
        async def call(self, *_):
            raise Broken("it broke", passing=True)

    known = Nodes(None, Needs("", None, 1))
    with pytest.raises(Broken):
        asyncio.run(known.admit(known.get("n1"), Failing(), ABOUT, "engine"))
    assert known.refused(time.monotonic()) == frozenset()
