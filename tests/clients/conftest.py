"""A daemon that all tests of copying programs in a process share, and clips that are worth copying."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import av
import pytest
from support.clips import make_clip
from support.daemons import Corner, Daemon

if TYPE_CHECKING:
    from pathlib import Path


class Incoming(Corner):
    """A folder that a test copies clips into."""

    def untouched(self, name: str = "a.mov", *, on: str) -> None:
        """Wait until povwatch waits for the rest of a copy, and check that it took no part of it for a clip."""
        self.wait_state(name, "arriving", waiting_on=on)
        assert not self.events("arrived", clip=name)

    def came_in(self, name: str, source: Path, *, arrivals: int = 1) -> None:
        """Wait until a clip has arrived: one job, with the bytes of `source`, and not before it was complete.

        Args:
            arrivals: how often it arrived, once for each content.
        """
        self.wait_for("arrived", clip=name, count=arrivals)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        job = self.until(lambda: (job := self.peek(name)) and job["source_hash"] == digest and job, "the right bytes")
        assert (job["state"], job["attempts"], job["error"]) == ("grace", 0, None)
        assert len(self.events("arrived", clip=name)) == arrivals  # and none half copied
        assert len(self.events("seen", clip=name)) == 1
        assert not self.events("rejected", clip=name)

    def comes_out(self, name: str) -> None:
        """Start a clip, and check that it runs once and is published once."""
        before = self.published()
        self.ask("go", name)
        self.wait_for("done", clip=name)
        assert len(self.events("started", clip=name)) == 1
        stem = name.split(".", maxsplit=1)[0]
        new = sorted(set(self.published()) - set(before))
        assert new == [f"{stem}/{stem}_preview.json", f"{stem}/{stem}_preview.mp4"]


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A daemon in which clips wait in their grace, so that most tests need no run."""
    with Daemon(tmp_path_factory.mktemp("clients") / "pov", grace={"period": "1h"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """The test's own folder in the shared daemon's inputs."""
    return Incoming(shared, f"{request.module.__name__.rpartition('.')[2]}-{request.node.name}")


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A clip of a megabyte, so that it can be caught half copied; uncompressed sound makes it cheap."""
    made = make_clip(tmp_path_factory.mktemp("films") / "film.mov", fps=1, audio="pcm_s16le")
    assert made.stat().st_size > 1_000_000
    return made


@pytest.fixture(scope="session")
def fast_film(film):
    """The same clip with its index in front: half of it already looks like a video."""
    path = film.with_name("fast.mov")
    with av.open(str(film)) as old, av.open(str(path), "w", options={"movflags": "+faststart"}) as new:
        streams = {stream: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                new.mux(packet)
    assert path.read_bytes().find(b"moov") < 1000
    return path
