"""Leaves the controls that a job computes, as files for further jobs on the same clip: see engines/control_files.py.

They are written in the thread that computes them, so that the GPU waits for no file: there is time for it while a chunk
before is generated.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core.cosmos import GREY
from povwatch.engines.control_files import ControlFile
from povwatch.media.lossless import LosslessWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from povwatch.engines.control import Frame
    from povwatch.engines.transfer.request import Request


class Leaving:
    """The control files of one job."""

    def __init__(self, folder: str) -> None:
        """`folder`: the job's work folder."""
        self._folder = folder
        self._writers: dict[str, LosslessWriter] = {}
        self.files: list[ControlFile] = []
        """Those that are whole: none before every frame was read."""

    @contextmanager
    def writing(self, request: Request) -> Iterator[None]:
        """Write the frames that are added in this block, and finish the files at its end."""
        with ExitStack() as stack:
            for one in request.computed:
                path = str(Path(self._folder, f"control_file_{one.key}.mp4"))
                writer = LosslessWriter(path, request.rate, request.size, grey=one.key in GREY)
                self._writers[one.key] = stack.enter_context(writer)
            yield
        self.files = [
            ControlFile.written(self._writers[one.key].path, one.setting(request.size), request.frames)
            for one in request.computed
            if self._writers[one.key].frames == request.frames
        ]

    def add(self, row: Mapping[str, Frame]) -> None:
        """Write the computed controls of the next frame, by hint key."""
        for key, writer in self._writers.items():
            writer.add(row[key])
