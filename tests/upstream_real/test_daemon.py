"""The whole daemon with engine.kind = "cosmos" and upstream's own package, under script/upstream-proof alone."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from support.clips import number_of, read_times, upright_frames
from support.daemons import Daemon
from support.gpu_machine import Machine
from support.upstream_packages import LONG, PYTHON, Upstream
from support.waiting import sound

pytestmark = pytest.mark.timeout(1800)

SIZE = (160, 96)

RATE = Fraction(30000, 1001)


class Real(Daemon):
    """A machine with one GPU, as far as NVML tells; upstream's work is done on the CPU."""

    def __init__(self, folder, **engine):
        package = Upstream()
        settings = {"kind": "cosmos", "python": str(PYTHON), "guardrails": False, "load_timeout": "20m"}
        super().__init__(folder, engine=settings | {"stall_timeout": "10m"} | engine, publish={"keep_controls": True})
        self.env = package.env | {"TOY": "none"}
        Machine(self)

    def ask_for(self, name, frames=120, **fields):
        """Drop a clip of NTSC's rate with sound, and its JSON."""
        spec = {"name": name, "video_path": f"{name}.mp4", "prompt": "a kitchen", "negative_prompt": "blur", "seed": 3}
        spec |= {"num_steps": 2, "resolution": "256", "edge": {"control_weight": 0.7}} | fields
        (self.inputs / f"{name}.json").write_text(json.dumps(spec))
        self.clip(f"{name}.mp4", frames=frames, size=SIZE, fps=RATE, audio="aac", options={"crf": "8"})

    def done(self, name):
        """The manifest of a clip that has come out."""
        self.until(lambda: self._ended(name), f"{name} is done", LONG)
        return json.loads((self.outputs / name / f"{name}_aug.json").read_text())

    def _ended(self, name):
        wrong = [self.events(event, clip=f"{name}.mp4") for event in ("invalid-spec", "failed")]
        assert not any(wrong), wrong
        return self.events("done", clip=f"{name}.mp4")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """One daemon for all, since its worker loads for long."""
    with Real(tmp_path_factory.mktemp("real") / "pov") as daemon:
        daemon.start()
        yield daemon
        assert daemon.stop() == 0
        sound(daemon)


def test_published(here):
    """A clip comes out with its own times and sound, the panels that it asks for, and its control video."""
    here.ask_for("shown", show_input=True, show_control_condition=True)
    manifest = here.done("shown")
    published = here.outputs / "shown/shown_aug.mp4"
    frames = list(upright_frames(published))
    assert len(frames) == 120
    assert frames[0].shape[:2] == (SIZE[1], 3 * SIZE[0])
    assert [number_of(frame[:, SIZE[0] : 2 * SIZE[0]]) for frame in frames] == list(range(120))
    assert read_times(published) == read_times(here.inputs / "shown.mp4")
    assert (here.outputs / "shown/shown_aug_control_edge.mp4").exists()
    assert manifest["engine"]["name"] == "cosmos"
    assert set(manifest["seconds_of_generate"]) == {"read", "encode", "denoise", "decode", "finish"}


def test_cancelled_by_command(here):
    """`povwatch cancel` leaves a clip in its second chunk, and the worker does the next clip."""
    here.ask_for("unwanted", num_steps=20)
    here.until(lambda: _fraction(here, "unwanted") > 1 / 2, "the second of two chunks", LONG)
    done = here.call("cancel", "unwanted.mp4")
    assert done.returncode == 0, done.stderr
    here.wait_state("unwanted.mp4", "cancelled", patience=LONG)
    here.ask_for("wanted", 12, num_steps=1)
    here.done("wanted")
    assert len(here.events("engine-ready")) == 1
    assert not (here.outputs / "unwanted").exists()


def _fraction(daemon, name):
    """How much of a clip is done."""
    progress = (daemon.peek(f"{name}.mp4") or {}).get("progress") or {}
    return progress.get("fraction", 0.0)
