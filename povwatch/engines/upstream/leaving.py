"""Leaves the controls that upstream computes for a job, and hands it those that another job on the clip has left.

edge and vis are computed for each chunk, from frames that are padded at the clip's end; what is left has the frames
that were asked for. depth and seg are computed for the whole clip, whatever max_frames says. So what upstream has of a
control file is what it would have computed: it reads it at the model's size, which is the file's, and pads it as it
pads the clip's frames.

Source: `generate_img2world` (inference/inference_pipeline.py), `read_and_process_control_input` (inference/utils.py).
"""

from __future__ import annotations

import os.path
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CONTROLS, GREY, PRESETS, RESOLUTION
from povwatch.engines.control_files import ControlFile, fitting
from povwatch.engines.upstream.ability import FRAMES_MAX, wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from povwatch.media.lossless import LosslessWriter

METHOD = 1
"""Counts the changes of how control files are made: another number, another control file."""

PROMPT_WORDS = 128
"""Words of the prompt that name the segments where `control_prompt` does not. Source: `seg_control_prompt`."""

CONTROL = "control_input_"
"""Prefix of the controls' names in upstream's dictionaries."""


def taken(job: Mapping[str, Any]) -> dict[str, ControlFile]:
    """The control files that a job reads: hint key to file."""
    found = {key: fitting(job, setting(job, key), _frames(job, key)) for key in _computed(job)}
    return {key: file for key, file in found.items() if file is not None}


def setting(job: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Everything that decides the frames of a computed control, beside the clip's."""
    spec, asked = job["spec"], job["spec"][key]
    found = {"engine": "cosmos", "method": METHOD, "key": key, "resolution": spec.get("resolution", RESOLUTION)}
    if key in PRESETS:
        return {**found, "preset": asked.get(PRESETS[key]) or "medium", "frames": _frames(job, key)}
    if key == "seg":
        prompt = asked.get("control_prompt")
        found["prompt"] = " ".join(spec["prompt"].split()[:PROMPT_WORDS]) if prompt is None else prompt
    return found


class Leaving:
    """The control files of one job; a context manager. They are whole when the block ends."""

    def __init__(self, job: Mapping[str, Any], folder: str) -> None:
        """`folder`: the job's work folder."""
        self._job = job
        self._folder = folder
        self._left = [key for key in _computed(job) if key not in taken(job) and job["frames"] <= FRAMES_MAX]
        self._carried = int(job["spec"].get("num_conditional_frames", 1))
        self._begin = 0
        """The first frame of the next chunk."""
        self._writers: dict[str, LosslessWriter] = {}
        self._stack = ExitStack()

    def whole(self, controls: Mapping[str, Any]) -> None:
        """Write the controls that upstream has computed of the whole clip: uint8, shape (3, frames, height, width)."""
        for key in self._left:
            pictures = controls.get(CONTROL + key)
            if key not in PRESETS and pictures is not None:
                self._write(key, pictures[:, : self._job["frames"]])

    def chunk(self, batch: Mapping[str, Any]) -> None:
        """Write those of the next chunk: uint8, shape (1, 3, frames, height, width)."""
        size = 0
        for key in self._left:
            pictures = batch.get(CONTROL + key)
            if key in PRESETS and pictures is not None:
                size = pictures.shape[2]
                done = self._writers[key].frames if key in self._writers else 0
                self._write(key, pictures[0][:, done - self._begin : _frames(self._job, key) - self._begin])
        self._begin += size - self._carried

    @property
    def files(self) -> list[ControlFile]:
        """The files, once the block has ended."""
        return [
            ControlFile.written(writer.path, setting(self._job, key), writer.frames)
            for key, writer in self._writers.items()
            if writer.frames == _frames(self._job, key)
        ]

    def _write(self, key: str, pictures: Any) -> None:  # noqa: ANN401 - a torch.Tensor
        import numpy as np  # noqa: PLC0415 - upstream's own, as PyAV; the pure parts do without it

        from povwatch.media.lossless import LosslessWriter  # noqa: PLC0415

        if key not in self._writers:
            path = os.path.join(self._folder, f"control_file_{key}.mp4")  # noqa: PTH118
            rate = Fraction(self._job["fps_num"], self._job["fps_den"])
            size = (pictures.shape[3], pictures.shape[2])
            writer = LosslessWriter(path, rate, size, grey=key in GREY)
            self._writers[key] = self._stack.enter_context(writer)
        for n in range(pictures.shape[1]):
            self._writers[key].add(np.asarray(pictures[:, n]).transpose(1, 2, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _computed(job: Mapping[str, Any]) -> Iterable[str]:
    """The hint keys of a job that upstream computes."""
    spec = job["spec"]
    return [key for key in CONTROLS if spec.get(key) is not None and not spec[key].get("control_path")]


def _frames(job: Mapping[str, Any], key: str) -> int:
    """Frames of a computed control."""
    return wanted(job["spec"], job["frames"]) if key in PRESETS else int(job["frames"])
