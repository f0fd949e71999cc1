"""An engine that computes or reads a clip's controls as the diffusers engine does, and copies the clip."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.engines.transfer.frames import pieces
from povwatch.engines.transfer.leaving import Leaving
from povwatch.engines.transfer.request import read
from povwatch.engines.transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Context

SETTINGS = Settings(controls=("edge", "vis"))


class Engine:
    """See the module."""

    def load(self, _config: dict[str, Any], _report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Load nothing."""
        return {"name": "controls alone", "controls": list(SETTINGS.controls), "max_frames": None, "real": True}

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Read every chunk's controls, and copy the working copy."""
        asked = read(job, SETTINGS)
        leaving = Leaving(context.workdir) if asked.leaves_files and asked.computed else None
        began, used = time.monotonic(), time.process_time()
        for piece in pieces(asked, leaving):
            context.progress("read", step=sum(len(frames) for frames in piece.controls.values()), steps=10**9)
        took = {"control": time.monotonic() - began, "control, processor": time.process_time() - used}
        path = str(Path(context.workdir, "out.mp4"))
        shutil.copyfile(job["video"], path)
        return {
            "path": path,
            "frames": job["frames"],
            "seconds": took,
            "control_files": [one.to_json() for one in leaving.files] if leaving else [],
            "control_files_used": {one.key: one.file.sha256 for one in asked.controls if one.file},
        }
