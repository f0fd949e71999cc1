"""The loop's own decisions: when it sleeps."""

from __future__ import annotations

import json

import pytest
from support.built import NoEvents
from support.hand_clock import HandClock

from povwatch.config.settings import Config, Paths
from povwatch.core.changes import Arrived
from povwatch.daemon.loop import Daemon
from povwatch.daemon.outside import Outside
from povwatch.gpu.nvml import Gpus
from povwatch.media.info import VideoInfo


@pytest.fixture
def daemon(tmp_path):
    paths = Paths(inputs=tmp_path / "inputs", outputs=tmp_path / "outputs", state=tmp_path / "state")
    outside = Outside(clock=HandClock(), read_gpus=Gpus, watcher=lambda root, hints, **_: NoEvents(root, hints))
    daemon = Daemon(Config(paths=paths, engine={"kind": "preview"}), outside=outside)
    yield daemon
    daemon._end()


def test_sleeps_while_inputs_is_away(daemon, tmp_path):
    """The stages that need inputs/ take no turn then, so their deadlines must not wake the loop."""
    app = daemon.app
    app.folder_monitor.start()
    (job,) = app.store.add([(b"a.mp4", b"")])
    info = json.dumps(VideoInfo(complete=True, frames=12).to_json())
    app.store.apply(
        job, Arrived(described={}, source_hash="a", source_stat=b"", source_info=info, now=app.clock.wall())
    )
    (tmp_path / "inputs").rename(tmp_path / "elsewhere")
    for _ in range(3):
        app.clock.now += 10
        daemon._tick(app.clock.boot())
    assert app.root.away is not None
    assert app.grace.next_deadline() < app.clock.boot()
    assert daemon._pause() > 0
