"""A clip with further looks in the daemon that a test gives its turns: real files, a real journal, no worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.built import Built
from support.clips import make_clip

PERIOD = 120.0

STAND_IN = Path(__file__).parents[2] / "examples/mano/stand_in.py"
HANDS = "3_mano_no_overlay.mp4"
FRAMES = 5
"""Of the clip whose hands are kept."""


class Looks(Built):
    """The folder of a clip `a.mp4`, with what happens to its looks."""

    def __init__(self, folder, **sections):
        super().__init__(folder, **{"arrival": {"settle": "5s"}, "grace": {"period": "2m"}} | sections)

    def copy(self, name="a.mp4", **shape):
        """Copy a clip of some frames into inputs/, and let it arrive."""
        make_clip(self.inputs / name, **{"frames": 3, "size": (64, 48)} | shape)
        self.rescan()
        self.arrive()

    def arrive(self):
        """Let the clips on their way arrive, and have their JSONs found."""
        self.give_turns(self.app.arrival, self.clock.now + 20)
        self.settle()
        self.give_turns(self.app.arrival, self.clock.now + 1)
        self.rescan()

    def until(self, seconds):
        """Let some seconds pass in the graces and for the clips that are followed."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.give_turns(self.app.grace, min(end, self.clock.now + 1))
            self.give_turns(self.app.arrival, self.clock.now)

    def write(self, look="", clip="a.mp4", text=None, **fields):
        """Write the JSON of a look, as somebody in an editor does."""
        stem = clip.rpartition(".")[0]
        file = self.inputs / f"{stem}{look and '.'}{look}.json"
        new = file.with_name(f".{file.name}.new")
        spec = {"name": "x", "video_path": clip.rpartition("/")[2], "prompt": "a kitchen", "edge": {}}
        new.write_text(text or json.dumps(spec | fields))
        os.replace(new, file)  # noqa: PTH105 - as editors do
        return file

    def jobs(self, path=b"a.mp4"):
        """The newest job of each look of a clip, by look."""
        return {job.look: job for job in self.app.store.all_looks(path)}

    def states(self, path=b"a.mp4"):
        """Each look's state."""
        return {look: str(job.state) for look, job in self.jobs(path).items()}

    def events(self, name):
        """The jobs' looks that an event of this name was journalled for, in order."""
        return [self.app.store.job(job).look for job, _ in self.app.journal.events_named(name)]


class Keeping(Looks):
    """A clip and its looks in the queue, and the folder of its hooks' files."""

    def __init__(self, folder, **sections):
        super().__init__(folder, **sections)
        self.copy(frames=FRAMES, size=(96, 64), fps=25)
        self.hands = self.outputs / "a" / HANDS

    def draw(self, clip=None):
        """Draw the hands of the clip, or of another one, as the hook of examples/mano does."""
        self.hands.unlink(missing_ok=True)
        words = [sys.executable, str(STAND_IN), str(clip or self.inputs / "a.mp4"), "--out", str(self.hands.parent)]
        subprocess.run(words, check=True, capture_output=True)

    def queue(self, **own):
        """Write the JSON of each look, by its `povwatch`, and let their graces end."""
        for look, kept in own.items():
            self.write("" if look == "clip" else look, vis={}, povwatch=kept)
        self.rescan()
        self.until(PERIOD + 1)
        assert set(self.states().values()) == {"queued"}

    def prepare(self, look=""):
        job = self.jobs()[look]
        active = self.app.preparing.begin(job, f"run{job.id}", self.app.grace.spec_of(job))
        self.settle()
        return active
