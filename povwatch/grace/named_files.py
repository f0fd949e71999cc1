"""The control videos and masks that JSONs name. A child process measures each once; then they are compared with clips.

A file counts once it has been unchanged for `arrival.settle`. A new file of the same name is measured again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from povwatch.container.report import VIDEO_KINDS, Kind
from povwatch.container.signature import classify
from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault, Problem, SourceChanged
from povwatch.core.retry import FAULTS_PATIENCE
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.media.errors import KILLED_MAX, MediaKilled, MediaStopped
from povwatch.media.fit import Shape, misfit
from povwatch.media.info import Bounds, Measured
from povwatch.media.run import PROBE, call

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from povwatch.core.background import Background
    from povwatch.core.errors import PovwatchError
    from povwatch.engines.abilities import Abilities
    from povwatch.files.signature import Signature
    from povwatch.media.info import VideoInfo
    from povwatch.spec.inputs_folder import InputsFolder
    from povwatch.spec.model import Spec
    from povwatch.spec.references import NamedFile

MEASURE_TIMEOUT = 1800.0
"""Seconds for reading every packet of a file."""

KEPT = 256
"""Files that are remembered. Beyond that, the ones that nobody asked for lately are forgotten."""

FORGOTTEN_AFTER = 60.0
"""Seconds that count as lately."""

MASKS = (".mask_path", "guided_generation_mask")
"""Fields of masks, or their ends."""

NOT_MEASURED = frozenset({"prompt_path", "image_context_path"})
"""Fields whose files have no frames to count."""


@dataclass(slots=True)
class _File:
    """What is known of one file."""

    signature: Signature
    since: float
    """Since when it has this signature, on the boot clock."""
    asked_at: float
    measuring: bool = False
    faults: int = 0
    """How often in a row the machine prevented the measuring, or killed its process."""
    fault: str = ""
    """Why, as sentences."""
    found: Measured | Problem | None = None
    asking: set[int] = field(default_factory=set)
    """The jobs that wait for it."""


def judge(
    files: Mapping[str, NamedFile],
    spec: Spec,
    clip: Shape,
    *,
    abilities: Abilities,
    measured: Callable[[NamedFile, str], Measured | Problem | None],
) -> tuple[list[Problem], list[str]]:
    """Compare the files that a JSON names with its clip.

    Args:
        files: by the field that names each.
        clip: upright.
        abilities: what the engine reads.
        measured: gives the measurement of a file, by a kind of `measure`; None while it is unknown.

    Returns:
        The problems, and the fields whose files are still to be measured.
    """
    wanted = min(clip.frames, spec.max_frames or clip.frames)
    problems, unknown = [], []
    for name, file in files.items():
        if name == "prompt_path":
            continue
        problem = abilities.unreadable(name, os.fsdecode(file.path), file.head)
        if problem is None and name not in NOT_MEASURED:
            kind, problem = _kind(name, file, wanted)
            if kind:
                found = measured(file, kind)
                if found is None:
                    unknown.append(name)
                else:
                    any_size = abilities.scales_masks and name.endswith(MASKS)
                    problem = _fits(name, found, clip, wanted, any_size=any_size)
        if problem is not None:
            problems.append(problem)
    return problems, unknown


def measure(root: Path, path: bytes, kind: str, cancelled: threading.Event | None = None) -> Measured:
    """Let a child process measure the file at `path` below `root`. It may take minutes. Symlinks are not followed.

    `kind` is one of media.measure. `cancelled` is set when the answer is no longer wanted.

    Raises:
        PovwatchError: it cannot be read, is gone, or the work was cancelled.
    """
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind}
    return Measured.from_json(call("measure", args, timeout=MEASURE_TIMEOUT, limits=PROBE, cancelled=cancelled))


def upright(info: VideoInfo) -> Shape:
    """The shape that files made for this clip must have."""
    return Shape(info.frames, info.display_width, info.display_height, info.fps)


def unusable(error: PovwatchError) -> Problem:
    """The problem of a file that could not be measured."""
    return Problem(f"cannot be used: {error.what.rstrip('.')}", error.todo)


class NamedFiles:
    """Measures and remembers the files that JSONs name."""

    def __init__(self, folder: InputsFolder, background: Background, *, settle: float) -> None:
        self._folder = folder
        self._background = background
        self._settle = settle
        self._files: dict[bytes, _File] = {}
        self.answered: set[int] = set()
        """Jobs for which a measurement has ended. The grace stage takes them out."""

    def judge(
        self, job: int, spec: Spec, path: bytes, clip: Shape, now: float, *, abilities: Abilities
    ) -> tuple[list[Problem], list[str]]:
        """Compare the files that a job's JSON (at `path`) names with its clip, like the function `judge`.

        Raises:
            EnvironmentFault: the folder is away, or fails.
        """
        files = self._folder.named_files(spec, path)
        return judge(files, spec, clip, abilities=abilities, measured=partial(self._measured, job, now))

    def hindrance(self, job: int) -> str:
        """Why the machine cannot measure a file that a job waits for, after a few failures; else empty."""
        files = self._files.values()
        return next((file.fault for file in files if job in file.asking and file.faults >= FAULTS_PATIENCE), "")

    def _measured(self, job: int, now: float, file: NamedFile, kind: str) -> Measured | Problem | None:
        """A file's measurement; None while it is unknown."""
        known = self._files.get(file.path)
        if known is None or known.signature != file.signature:
            self._forget(now)
            known = self._files[file.path] = _File(file.signature, now, now)
        known.asked_at = now
        if known.found is None:
            known.asking.add(job)
            if not known.measuring and now - known.since >= self._settle:
                self._measure(file, known, kind)
        return known.found

    def _measure(self, file: NamedFile, known: _File, kind: str) -> None:
        key = ("measure", file.path)
        if self._background.busy(key):  # it measures the earlier file of this name
            return
        known.measuring = True
        then = partial(self._keep, file.path, known)
        self._background.submit(key, then, _have_measured, self._folder.root, file.path, kind)

    def _keep(self, path: bytes, known: _File, outcome: Measured | Exception) -> None:
        """Keep what a child process found in a file, and have the jobs checked that wait for it."""
        known.measuring = False
        faults, known.faults = known.faults + 1, 0
        if isinstance(outcome, Measured):
            known.found = outcome
        elif _says_nothing(outcome, faults):
            known.since = known.asked_at  # wait again: an immediate try would fail too
            known.faults, known.fault = faults, str(outcome)
        elif not isinstance(outcome, (MediaStopped, SourceChanged)):  # these say nothing: it is measured again
            known.found = unusable(translate_unforeseen(outcome, f"while it measured {layout.shown(path)}"))
        self.answered |= known.asking
        known.asking.clear()

    def _forget(self, now: float) -> None:
        if len(self._files) >= KEPT:
            recent = {path: file for path, file in self._files.items() if now - file.asked_at < FORGOTTEN_AFTER}
            self._files = recent


def _have_measured(cancelled: threading.Event, root: Path, path: bytes, kind: str) -> Measured:
    return measure(root, path, kind, cancelled)


def _says_nothing(outcome: Exception, faults: int) -> bool:
    """Whether the machine alone is to blame, as far as can be told after so many faults in a row."""
    if isinstance(outcome, MediaKilled):
        return faults <= KILLED_MAX
    return isinstance(outcome, EnvironmentFault) and not isinstance(outcome, SourceChanged)


def _kind(name: str, file: NamedFile, wanted: int) -> tuple[str, Problem | None]:
    """How to measure a file, from its first bytes, or its problem. Neither if it needs no measuring."""
    kind, words = classify(file.head)
    if name == "guided_generation_mask" and file.path.endswith(b".npz"):
        wrong = None if kind is Kind.ARCHIVE else Problem("is no .npz file", "Write it with numpy.savez.", name)
        return ("" if wrong else "npz"), wrong
    if kind in VIDEO_KINDS:
        return str(kind), None
    if kind is Kind.PICTURE and wanted == 1:
        return "", None
    what = f"is {words}" if words else "is no video yet"
    return "", Problem(f"{what}, where a video is needed", "Give a video in MP4, Matroska or AVI.", name)


def _fits(name: str, found: Measured | Problem, clip: Shape, wanted: int, *, any_size: bool) -> Problem | None:
    if isinstance(found, Problem):
        return Problem(found.message, found.todo, name)
    if found.turned:
        message = "has rotation or mirror metadata, which engines ignore"
        return Problem(message, "Export it upright.", name)
    shape = Shape(found.frames, found.width, found.height, Fraction(found.rate))
    if any_size and found.width * found.height <= Bounds().pixels:
        shape = replace(shape, width=clip.width, height=clip.height)
    return misfit(name, shape, clip, wanted)
