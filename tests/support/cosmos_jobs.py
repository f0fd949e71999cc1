"""Shared by tests of the cosmos engine: the double's environment, clips, jobs, and a worker."""

import tempfile
from pathlib import Path

from support.clips import make_clip
from support.supervising import Loop

from povwatch.process import protocol
from povwatch.workers import events

DOUBLES = Path(__file__).parents[1] / "doubles"
ENGINE = "povwatch.engines.cosmos:CosmosEngine"
SIZE = (64, 48)


def clip(path, frames=12, fps=24, **shape):
    return make_clip(path, frames=frames, size=shape.pop("size", SIZE), fps=fps, **shape)


def job(video, frames=12, *, size=SIZE, fps=24, **spec):
    """A job as the daemon sends it, with two steps per chunk and an edge control unless the spec differs."""
    fields = {"prompt": "a kitchen", "negative_prompt": "a game", "seed": 7, "guidance": 3, "num_steps": 2}
    controls = {} if {"edge", "vis", "depth", "seg"} & spec.keys() else {"edge": {"control_weight": 1.0}}
    return {
        "id": 1,
        "name": "generated",
        "video": str(video),
        "frames": frames,
        "width": size[0],
        "height": size[1],
        "fps_num": fps,
        "fps_den": 1,
        "spec": {"name": "generated", "video_path": str(video), **fields, **controls, **spec},
    }


class Worker(Loop):
    """A supervised worker with the double of upstream, and a folder for its temporary files."""

    def __init__(self, config=None, *, engine=ENGINE, env=None, **limits):
        self.temporary = tempfile.TemporaryDirectory()
        env = {"PYTHONPATH": str(DOUBLES), "TMPDIR": self.temporary.name, **(env or {})}
        super().__init__(engine, config=config or {"controls": ["edge"]}, env=env, **limits)

    def __exit__(self, *_):
        super().__exit__(*_)
        self.temporary.cleanup()


class Desk:
    """Gives a worker jobs with a private folder each; all share a folder for their chunks."""

    def __init__(self, loop, folder):
        self.loop = loop
        self.folder = folder
        self.count = 0
        self.chunks = folder / "chunks"

    def begin(self, wanted):
        self.count += 1
        workdir = self.folder / f"work {self.count}"
        workdir.mkdir()
        run_id = f"r{self.count}"
        self.loop.forget()
        self.loop.supervisor.generate(protocol.Generate(wanted, run_id, str(workdir), str(self.chunks)))
        return run_id

    def do(self, wanted):
        self.begin(wanted)
        return self.loop.until((protocol.Generated, events.JobFailed, events.WorkerLost))
