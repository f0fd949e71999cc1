"""The record of an attempt, and its copies in its private folder: of the clip, the working copy, the sound.

engine_files.py makes what an engine gets beside them, finishing.py the result.
These methods run in background threads and do not know the journal; `to_json` has what must survive a crash.
Each piece of work opens the folder once and reaches every file from there: see private.py.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.attempt import soundtrack
from povwatch.attempt.copies import take_copy
from povwatch.attempt.made_files import By
from povwatch.core.errors import JobFailed, PovwatchError
from povwatch.core.machine_faults import Place, translate_os_errors
from povwatch.files import private
from povwatch.files.fs import closing, fsync_dir
from povwatch.media.info import Prepared
from povwatch.media.run import call
from povwatch.spec.model import Spec

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from povwatch.core.speed import Speed

WORK_TIMEOUT = 4 * 3600.0
"""Seconds for one pass over a clip's frames: an hour of 4K on a busy machine."""

MASK = "kept.mp4"
"""The name of the mask of what is kept of the clip, in the private folder."""

FINAL = "final.mp4"
"""The name of the finished result in the private folder."""

SHEET = "sheet.jpg"
"""The name of its contact sheet there."""


@dataclass(slots=True)
class Attempt:
    """One attempt's files and measurements."""

    folder: str
    """The private folder, absolute."""
    info: dict[str, Any]
    """VideoInfo of the clip, as JSON."""
    spec: dict[str, Any]
    """The frozen spec, as JSON."""
    source: str = ""
    """The private copy of the clip."""
    prepared: dict[str, Any] = field(default_factory=dict)
    """Prepared, as JSON."""
    sound: dict[str, Any] = field(default_factory=dict)
    """SoundTrack, as JSON; empty if an older povwatch prepared the clip."""
    references: dict[str, str] = field(default_factory=dict)
    """The private copies of the files that the spec names, by the spec's field."""
    artifact: dict[str, Any] = field(default_factory=dict)
    """The engine's report of its result."""
    capabilities: dict[str, Any] = field(default_factory=dict)
    """Capabilities of the engine that made the artifact."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage to wall-clock seconds."""
    gpu: dict[str, Any] = field(default_factory=dict)
    """Measured while the engine generated: name, uuid, peak_memory in bytes, energy and so on."""

    keep_controls: bool = False
    """Whether the control videos are published too."""
    speed: Speed = "exact"
    """How much the engine may approximate."""
    outputs: str = ""
    """outputs/, absolute; it may be empty unless the spec keeps what a hook has drawn."""
    results: str = ""
    """The clip's folder in it, relative, as from os.fsdecode."""
    prompt_filters: list[dict[str, Any]] = field(default_factory=list)
    """The filters of the guardrail that checked the prompts in the grace, for the manifest."""
    kept: dict[str, Any] = field(default_factory=dict)
    """The mask of what is kept of the clip, for the manifest; empty without one."""
    annotated: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The controls that a model has computed before the engine generates, for the manifest: hint key to Annotated,
    without its path, and who has computed it."""
    control_files: list[dict[str, Any]] = field(default_factory=list)
    """The controls that other looks or seeds have left for the engine, as control_files.ControlFile has them."""
    left_by_seeds: list[str] = field(default_factory=list)
    """SHA-256 of those of them that an earlier seed of this look has computed."""
    leaves_control_files: bool = False
    """Whether the engine leaves the controls that it computes, for other looks of the clip or further seeds."""
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The files that the next seed can take, as made_files.Made in JSON, by their keys."""
    controls: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Published control videos: hint key to the check's findings."""
    lost_controls: dict[str, str] = field(default_factory=dict)
    """Control videos that cannot be published: hint key to the reason."""
    scored: dict[str, Any] = field(default_factory=dict)
    """Scored, as JSON; empty if the result was not scored."""
    unfinished: int = 0
    """Failures to finish in a row."""

    def to_json(self) -> str:
        """For the journal."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Attempt:
        """From the journal, which an older povwatch may have written."""
        known = json.loads(text)
        known.pop("kept_from", None)
        return cls(**known)

    @property
    def frozen(self) -> Spec:
        """The spec."""
        return Spec.model_validate(self.spec)

    @property
    def lost(self) -> bool:
        """Whether the artifact or the copy of the clip is missing. A disk error does not count as missing."""
        return not all(_may_be_there(file) for file in (self.artifact.get("path", ""), self.source))

    @property
    def gone(self) -> bool:
        """Whether the whole folder is missing. A disk error does not count as missing."""
        return not _may_be_there(self.folder, stat.S_ISDIR)

    @property
    def final(self) -> Path:
        """The file to publish."""
        return Path(self.folder, FINAL)

    def control(self, key: str) -> Path:
        """A control video to publish."""
        return Path(self.folder, f"control_{key}.mp4")

    @property
    def has_sheet(self) -> bool:
        """Whether there is a contact sheet."""
        return bool(self.scored.get("sheet"))

    @property
    def files(self) -> list[Path]:
        """All files to publish, the result first."""
        sheet = [Path(self.folder, SHEET)] if self.has_sheet else []
        return [self.final, *map(self.control, self.controls), *sheet]

    def prepare(self, root: Path, clip: bytes, report: Callable[[float], None], cancelled: threading.Event) -> None:
        """Copy the clip into the private folder, and make the working copy and the sound.

        Raises:
            SourceChanged: the clip is not the one that was admitted.
            OutputsAway: the private folder is gone, or is not povwatch's.
            JobFailed: a file that the spec names does not fit the frames that decode.
            PovwatchError: any other error of media.run.
        """
        with self.timed("prepare"), private.opened(self.folder) as private_fd:
            source = "source" + Path(os.fsdecode(clip)).suffix.lower()
            with closing(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd:
                take_copy(root_fd, clip, private_fd, source, cancelled)
            args = {"source": source, "info": self.info, "out_path": "working.mp4"}
            made = self.call("prepare", args, cancelled, report)
            if made["copied"]:  # the working copy is the clip itself, sound included
                os.unlink(source, dir_fd=private_fd)
                source = made["path"]
            self.sync(private_fd, *{source, made["path"], made["times"]})  # a further seed reads the working copy too
            self.source = self.absolute(source)
            self.prepared = made | {name: self.absolute(made[name]) for name in ("path", "times")}
            if made["damage"] or made["frames"] != self.info.get("frames"):  # every frame was decoded: these count
                self._refuse_misfits(made["frames"])
                self.info = self.info | {name: made[name] for name in ("frames", "start", "duration", "damage")}
            if made["resized"]:
                self.info = self.info | {"resized": made["resized"]}
            self.make_sound(private_fd, cancelled)

    def adopt(self, made: Attempt) -> bool:
        """Take the copies that another attempt at the same clip has made.

        The files get further names (hard links) in this attempt's folder: the bytes are there once.

        Returns:
            False if they cannot be taken: they are gone, or the file system has no hard links. Then nothing is kept.

        Raises:
            PovwatchError: as `prepare`.
        """
        names = made.names_of_copies()
        with self.timed("prepare"), private.opened(self.folder) as private_fd:
            if not _linked(made.folder, private_fd, names):
                return False
            self.sync(private_fd, *names)
            if made.info.get("frames") != self.info.get("frames"):
                self._refuse_misfits(made.prepared["frames"])
            self._become(made)
        return True

    def shared_as(self, folder: str) -> Attempt:
        """The copies of this attempt under further names in another private folder, for `adopt`.

        Raises:
            OSError: the file system has no hard links, or the machine does not allow it now.
            PovwatchError: a folder is away.
        """
        shared = Attempt(folder=folder, info={}, spec={})
        with private.opened(folder) as there:
            if not _linked(self.folder, there, self.names_of_copies()):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        shared._become(self)
        return shared

    def names_of_copies(self) -> list[str]:
        """The files in the folder that `prepare` makes of the clip itself, each once."""
        paths = [self.source, self.prepared["path"], self.prepared["times"], self.sound.get("path")]
        return list(dict.fromkeys(self.relative(path) for path in paths if path))

    def _become(self, other: Attempt) -> None:
        """Have what is known of another attempt's copies, whose files this one's folder has under the same names."""

        def here(path: str) -> str:
            return self.absolute(other.relative(path))

        self.info = other.info
        self.source = here(other.source)
        self.prepared = other.prepared | {name: here(other.prepared[name]) for name in ("path", "times")}
        self.sound = other.sound | ({"path": here(other.sound["path"])} if other.sound.get("path") else {})

    def who_computed(self, sha256: str) -> By:
        """Who has computed a control that the engine has read, or left."""
        if sha256 in self.left_by_seeds:
            return By.SEED
        return By.LOOK if any(one["sha256"] == sha256 for one in self.control_files) else By.THIS

    @property
    def scaled_mask(self) -> str:
        """That the mask of what is kept was scaled, as a clause; empty if it was not."""
        size = (self.info.get("display_width"), self.info.get("display_height"))
        if not self.kept or (self.kept["width"], self.kept["height"]) == size:
            return ""
        return f", scaled from {self.kept['width']}x{self.kept['height']} to the clip's {size[0]}x{size[1]}"

    def request(self, job_id: int) -> dict[str, Any]:
        """The job as the engine gets it; see engine.port."""
        ready = Prepared.from_json(self.prepared)
        return {
            "id": job_id,
            "name": "generated",
            "video": ready.path,
            "frames": ready.frames,
            "width": ready.width,
            "height": ready.height,
            "fps_num": ready.fps_num,
            "fps_den": ready.fps_den,
            "spec": self._for_engine(ready),
            **({"keep_controls": True} if self.keep_controls else {}),
            **({"speed": self.speed} if self.speed != "exact" else {}),
            **({"control_files": self.control_files} if self.control_files else {}),
            **({"leave_control_files": True} if self.leaves_control_files else {}),
        }

    def make_sound(self, private_fd: int, cancelled: threading.Event) -> None:
        """Make the result's sound and sync it. Finishing only copies it."""
        with self.timed("sound"):
            args = {"source": self.relative(self.source), "info": self.info, "prepared": self.prepared_inside()}
            made = soundtrack.make(self.folder, args, float(self.info.get("duration", 0.0)), cancelled)
        if made.path is not None:
            self.sync(private_fd, made.path)
            made = dataclasses.replace(made, path=self.absolute(made.path))
        self.sound = made.to_json()

    def prepared_inside(self) -> dict[str, Any]:
        """Prepared, with paths relative to the folder."""
        return self.prepared | {name: self.relative(self.prepared[name]) for name in ("path", "times")}

    def _for_engine(self, ready: Prepared) -> dict[str, Any]:
        """Upstream's fields, with the private copy of every file that they name."""
        fields = self.frozen.upstream() | {"name": "generated", "video_path": ready.path}
        for where, copy in self.references.items():
            control, _, key = where.rpartition(".")
            (fields[control] if control else fields)[key] = copy
        return fields

    def call(
        self,
        operation: str,
        args: dict[str, Any],
        cancelled: threading.Event,
        report: Callable[[float], None] | None = None,
        timeout: float = WORK_TIMEOUT,
    ) -> dict[str, Any]:
        """Let a media child work in the folder."""
        return call(operation, args, timeout=timeout, folder=self.folder, on_progress=report, cancelled=cancelled)

    def absolute(self, name: str) -> str:
        """The absolute path of a file in the folder."""
        return os.path.join(self.folder, name)  # noqa: PTH118 - as it is written

    def relative(self, path: str) -> str:
        """A file's path relative to the folder. An engine may have resolved the folder's path."""
        inside = self.folder if path.startswith(f"{self.folder}/") else os.path.realpath(self.folder)
        return path.removeprefix(f"{inside}/")

    def _refuse_misfits(self, decoded: int) -> None:
        """Refuse control videos and masks that count frames which do not decode. `decoded` is the number that does.

        Raises:
            JobFailed: there is one: after the first such frame it would guide the wrong frames.
        """
        known = self.info.get("frames")
        for where, path in self.frozen.referenced_paths().items():
            if decoded != known and where not in {"prompt_path", "image_context_path"}:
                raise JobFailed(
                    f"{decoded} of the clip's {known} frames decode. {where} ({path}) has a frame for each of the "
                    f"{known}, so that the two would not go together frame by frame.",
                    "Encode the clip anew, so that it holds the frames that decode alone, and make that file from it.",
                )

    def sync(self, private_fd: int, *names: str) -> None:
        """Sync files that finishing, or a further seed, needs. After a power cut nothing is generated again for them.

        Raises:
            EnvironmentFault: the disk does not keep them.
        """
        with translate_os_errors(Place.PREPARE, f"The private copy in {self.folder}"):
            for name in names:
                with closing(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private_fd)) as fd:
                    os.fsync(fd)
            fsync_dir(private_fd)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to the seconds of a stage."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 3)


def _linked(folder: str, to: int, names: list[str]) -> bool:
    """Give files of a private folder further names in another one, open as `to`; False, and no name, if that fails."""
    made = []
    try:
        with private.opened(folder) as source:
            for name in names:
                os.link(name, name, src_dir_fd=source, dst_dir_fd=to, follow_symlinks=False)
                made.append(name)
    except (OSError, PovwatchError):
        for name in made:
            os.unlink(name, dir_fd=to)
        return False
    return True


def readable_attempt(artifact: str | None) -> Attempt | None:
    """The journal's attempt; None if there is none, or it is damaged."""
    try:
        attempt = Attempt.from_json(artifact or "")
    except (ValueError, TypeError, RecursionError):
        return None
    readable = isinstance(attempt.folder, str) and isinstance(attempt.artifact, dict)
    return attempt if readable and isinstance(attempt.artifact.get("path"), str) else None


def _may_be_there(path: str, is_it: Callable[[int], bool] = stat.S_ISREG) -> bool:
    """Whether a path leads to a plain file (or another kind, by `is_it` of its mode). A disk error counts as yes."""
    try:
        return is_it(os.stat(path).st_mode)  # noqa: PTH116 - as the paths are kept
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
