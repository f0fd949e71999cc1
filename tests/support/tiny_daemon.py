"""A daemon with the tiny model."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
from support import forked_workers, tiny_needs
from support.clips import make_clip, upright_frames
from support.daemons import PATIENCE, Daemon

SIZE = (48, 32)
"""What tiny_model.CONFIG works at: such a clip is not scaled."""

FRAMES = 22
"""Three chunks of 9, two of them with a frame of the one before."""

STEPS = 2

HELD = (1, 1)
"""The second of the three chunks, after its first step."""

LONG = 4 * PATIENCE
"""Seconds: a worker imports torch first, and on a busy machine that takes its time."""


class Tiny(Daemon):
    """Its engine is tests/support/tiny_model.py."""

    def __init__(self, folder: Path, model: Path, *, forks: bool = True, **config) -> None:
        """Write config.toml, with `config` over tiny_model.CONFIG.

        Args:
            forks: whether its workers may be forked from a process that has imported torch.
        """
        super().__init__(folder, engine={"kind": f"{tiny_needs.MODEL}:TinyEngine", "load_timeout": "5m"})
        self.hold_file, self.trace_file = folder / "hold", folder / "trace"
        self.env = {
            "TINY_MODEL": str(model),
            "TINY_CONFIG": json.dumps(config),
            "TINY_HOLD": str(self.hold_file),
            "TINY_TRACE": str(self.trace_file),
        }
        if forks:
            self.before = functools.partial(forked_workers.install, forked_workers.server())

    def ask_for(self, name: str, *, made: Path | None = None, frames: int = FRAMES, **fields) -> None:
        """Drop a clip whose JSON is there already: `made`, or one of so many frames of the model's own size."""
        controls = {} if "vis" in fields else {"edge": {"control_weight": 0.7}}
        words = {"prompt": "hands fold a towel", "negative_prompt": "blur"}
        shared = {"name": Path(name).stem, "video_path": name, "seed": 3, "num_steps": STEPS}
        spec = shared | words | controls | fields
        (self.inputs / name).with_suffix(".json").write_text(json.dumps(spec))
        if made is None:
            made = self.folder / f"made{frames}.mp4"
            if not made.exists():  # x264 now and then makes another file of the same frames
                make_clip(made, frames=frames, size=SIZE, options={"crf": "12"})
        self.copy(made, name)

    def done(self, name: str, *, stem: str = "", kind: str = "aug") -> dict:
        """Wait until a clip has come out; its manifest. A look's has another `stem` and `kind` than its name says."""

        def ended() -> bool:
            wrong = self.events("invalid-spec", clip=name) + self.events("failed", clip=name)
            assert not wrong, wrong
            return bool(self.events("done", clip=name))

        self.until(ended, f"{name} is done", LONG)
        stem = stem or Path(name).stem
        return json.loads((self.outputs / stem / f"{stem}_{kind}.json").read_text())

    def pictures(self, name: str) -> np.ndarray:
        """The frames that came out."""
        stem = Path(name).stem
        return np.stack(list(upright_frames(self.outputs / stem / f"{stem}_aug.mp4")))

    def hold(self) -> None:
        """Have the next job stand still where HELD says."""
        self.hold_file.write_text("{} {}".format(*HELD))

    def let_go(self) -> None:
        self.hold_file.unlink()

    def held(self, name: str) -> int:
        """Wait until a clip's job stands still; its number."""
        job = self.wait_for("started", clip=name, patience=LONG)["job"]
        self.until(lambda: self.steps(job)[-1:] == [HELD], f"{name} is held", LONG)
        return job

    def steps(self, job: int) -> list[tuple[int, int]]:
        """Chunk and step of everything that was generated for a job."""
        lines = [line.split() for line in self.trace_file.read_text().splitlines()] if self.trace_file.exists() else []
        return [
            (int(chunk), int(step)) for number, stage, chunk, step in lines if (int(number), stage) == (job, "denoise")
        ]

    @property
    def worker(self) -> int:
        """The worker's process id."""
        return self.events("worker-started")[-1]["pid"]
