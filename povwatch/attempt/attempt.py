"""A claimed job's files in its private folder: the copy of the clip, the working copy, and the finished result.

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from povwatch.attempt import soundtrack
from povwatch.attempt.copies import refuse_text, signature_of, take_copy
from povwatch.attempt.made_files import By, MadeFiles
from povwatch.core import layout
from povwatch.core.cosmos import EDGE_PRESET, PRESETS
from povwatch.core.errors import CheckFailed, EnvironmentFault, FinishFailed, JobFailed, NotAVideo, PovwatchError
from povwatch.core.machine_faults import Place, translate_os_errors
from povwatch.core.mailbox import Gauge
from povwatch.core.scores import COMPARED, HANDS, KEPT, SCORES, Missing
from povwatch.engines.annotate.annotation import control_key, to_compute
from povwatch.engines.control_files import left_by
from povwatch.files import private
from povwatch.files.fs import closing, fsync_dir, open_beneath
from povwatch.files.signature import signature
from povwatch.media.errors import MediaError, MediaStopped, MediaTooSlow
from povwatch.media.info import Checked, Expectation, Prepared, Scored, Scoring, VideoInfo
from povwatch.media.run import call
from povwatch.spec.model import Spec

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from povwatch.attempt.shared_files import SharedFiles
    from povwatch.core.speed import Speed
    from povwatch.engines.annotate.annotation import Annotation
    from povwatch.engines.annotate.annotator import Annotator
    from povwatch.engines.control_files import ControlFile

WORK_TIMEOUT = 4 * 3600.0
"""Seconds for one pass over a clip's frames: an hour of 4K on a busy machine."""

MASK = "kept.mp4"
"""The name of the mask of what is kept of the clip, in the private folder."""

FINAL = "final.mp4"
"""The name of the finished result in the private folder."""

SHEET = "sheet.jpg"
"""The name of its contact sheet there."""

SCORE_FIRST, SCORE_FRAME, DECODE_FRAME = 60.0, 0.5, 0.05
"""Seconds that scoring may take: for its start, for each frame that is compared, and for each that is decoded."""


class ScoringOptions(NamedTuple):
    """What is made of a result beside its check."""

    scores: bool = False
    sheet: bool = False
    judged: bool = False
    """Whether the scores decide about the result."""
    hands_model: str | None = None
    """MediaPipe's model of hand landmarks; empty if none is configured, None to leave hands out."""


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
        with self._timed("prepare"), private.opened(self.folder) as private_fd:
            source = "source" + Path(os.fsdecode(clip)).suffix.lower()
            with closing(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd:
                take_copy(root_fd, clip, private_fd, source, cancelled)
            args = {"source": source, "info": self.info, "out_path": "working.mp4"}
            made = self._call("prepare", args, cancelled, report)
            if made["copied"]:  # the working copy is the clip itself, sound included
                os.unlink(source, dir_fd=private_fd)
                source = made["path"]
            self._sync(private_fd, source, made["times"])
            self.source = self._absolute(source)
            self.prepared = made | {name: self._absolute(made[name]) for name in ("path", "times")}
            if made["damage"] or made["frames"] != self.info.get("frames"):  # every frame was decoded: these count
                self._refuse_misfits(made["frames"])
                self.info = self.info | {name: made[name] for name in ("frames", "start", "duration", "damage")}
            if made["resized"]:
                self.info = self.info | {"resized": made["resized"]}
            self._make_sound(private_fd, cancelled)

    def complete(
        self,
        root: Path,
        clip: bytes,
        cancelled: threading.Event,
        *,
        shared: SharedFiles | None = None,
        before: Attempt | None = None,
        annotator: Annotator | None = None,
        gauge: Gauge | None = None,
    ) -> None:
        """Copy the files that the spec names into the folder, and make the mask of what is kept, and further controls.

        Args:
            root: inputs/.
            clip: relative to it.
            cancelled: set when the attempt is no longer wanted.
            shared: the files of the clip that its looks share; None if it shares none.
            before: the attempt that tried another seed, if there was one. What it has made is taken.
            annotator: computes controls that need a model; None if the engine does that itself.
            gauge: gets the progress.

        Raises:
            SourceChanged: such a file is not the one that was admitted.
            JobFailed: what a hook left is missing, does not fit, or is empty; or a control cannot be computed.
            PovwatchError: any other error of media.run.
        """
        with private.opened(self.folder) as private_fd:
            tried = (before.folder, before.made) if before is not None else ()
            files = MadeFiles(private_fd, self.made, shared, cancelled, *tried)
            with (
                self._timed("prepare"),
                closing(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd,
            ):
                self._take_references(root_fd, layout.split(clip)[0], files)
            self._make_mask(files)
            if annotator is not None:
                self._annotate(files, annotator, gauge or Gauge())

    def adopt(self, made: Attempt) -> bool:
        """Take the copies that another attempt at the same clip has made.

        The files get further names (hard links) in this attempt's folder: the bytes are there once.

        Returns:
            False if they cannot be taken: they are gone, or the file system has no hard links. Then nothing is kept.

        Raises:
            PovwatchError: as `prepare`.
        """
        names = made.names_of_copies()
        with self._timed("prepare"), private.opened(self.folder) as private_fd:
            if not _linked(made.folder, private_fd, names):
                return False
            self._sync(private_fd, *names)
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
        return list(dict.fromkeys(self._relative(path) for path in paths if path))

    def _become(self, other: Attempt) -> None:
        """Have what is known of another attempt's copies, whose files this one's folder has under the same names."""

        def here(path: str) -> str:
            return self._absolute(other._relative(path))

        self.info = other.info
        self.source = here(other.source)
        self.prepared = other.prepared | {name: here(other.prepared[name]) for name in ("path", "times")}
        self.sound = other.sound | ({"path": here(other.sound["path"])} if other.sound.get("path") else {})

    def _make_mask(self, files: MadeFiles) -> None:
        """Make the mask of what is kept, if the spec keeps anything, and have the engine get it.

        Raises:
            JobFailed: what a hook left is missing, does not fit, or is empty.
        """
        own, where = self.frozen.povwatch, self.frozen.kept_as
        if own.keep is None or where is None:
            return
        path = os.path.join(self.results, own.keep)  # noqa: PTH118 - as it is written
        args = {
            "path": path,
            "root": self.outputs,
            "out_path": MASK,
            "name": _kept_name(path),
            "prepared": self._prepared_inside(),
            "dilate": own.dilate,
        }

        def make() -> dict[str, Any]:
            with self._timed("mask"):
                made = self._call("mask", args, files.cancelled)
            about = {key: value for key, value in made.items() if key != "path"}
            return {"file": layout.shown(os.fsencode(path)), **about, "dilate": own.dilate}

        source = keep_source(self.frozen, self.outputs, self.results)
        mask = files.get(_key("mask", source), MASK, make)
        self._sync(files.private_fd, MASK)
        self.kept = mask.about | {"as": where}
        self.references[where] = self._absolute(MASK)

    def _annotate(self, files: MadeFiles, annotator: Annotator, gauge: Gauge) -> None:
        """Make the controls of the spec that a model computes, and have the engine get them like given ones.

        Raises:
            JobFailed: one cannot be computed.
        """
        for one in to_compute(self.frozen.upstream()):
            name = f"computed_{one.kind}.mp4"

            def make(one: Annotation = one, name: str = name) -> dict[str, Any]:
                gauge.begin(f"computing {one.kind}")
                with self._timed(one.kind):
                    return annotator.make(
                        one,
                        self._prepared_inside(),
                        folder=self.folder,
                        out_path=name,
                        report=gauge.set,
                        cancelled=files.cancelled,
                    )

            gauge.begin(f"waiting for {one.kind}")
            made = files.get(control_key(one), name, make)
            self._sync(files.private_fd, name)
            known = {key: value for key, value in made.about.items() if key != "path"}
            self.annotated[one.kind] = known | {"computed_by": str(made.by)}
            self.references[one.field] = self._absolute(name)

    def take_control_files(self, shared: SharedFiles | None, before: Attempt | None) -> None:
        """Take the controls that engines have left, as far as this spec's controls are of their kind.

        Args:
            shared: those of other looks of the clip; None if it shares none.
            before: the attempt that tried another seed; it has left some, or has taken some. None without one.

        Raises:
            OutputsAway: the private folder is gone, or is not povwatch's.
        """
        wanted = {key for key, one in self.frozen.controls.items() if one.control_path is None}
        self.control_files, self.left_by_seeds = [], []
        with private.opened(self.folder) as private_fd:
            if before is not None:
                self._take_from_seed(before, private_fd, wanted)
            for key, about in shared.known().items() if shared is not None else ():
                known = any(_control_key(one) == key for one in self.control_files)
                if known or about.get("setting", {}).get("key") not in wanted:
                    continue
                name = f"left_control_{len(self.control_files)}.mp4"
                if shared is not None and shared.take(key, private_fd, name) is not None:
                    self.control_files.append({**about, "path": self._absolute(name)})

    def _take_from_seed(self, before: Attempt, private_fd: int, wanted: set[str]) -> None:
        """Take the controls that the seed before has left, and those that it has taken itself."""
        left = [one.to_json() for one in left_by(before.artifact)]
        by_seeds = {*before.left_by_seeds, *(one["sha256"] for one in left)}
        with suppress(OSError, PovwatchError), private.opened(before.folder) as there:
            for one in [*left, *before.control_files]:
                name = f"left_control_{len(self.control_files)}.mp4"
                if one["setting"]["key"] in wanted:
                    source = before._relative(one["path"])
                    os.link(source, name, src_dir_fd=there, dst_dir_fd=private_fd, follow_symlinks=False)
                    self.control_files.append({**one, "path": self._absolute(name)})
        self.left_by_seeds = [one["sha256"] for one in self.control_files if one["sha256"] in by_seeds]

    def who_computed(self, sha256: str) -> By:
        """Who has computed a control that the engine has read, or left."""
        if sha256 in self.left_by_seeds:
            return By.SEED
        return By.LOOK if any(one["sha256"] == sha256 for one in self.control_files) else By.THIS

    def keep_control_files(self, shared: SharedFiles) -> list[ControlFile]:
        """Keep the controls that the engine has left for other looks of the clip; returns them.

        Raises:
            OutputsAway: the private folder is gone, or is not povwatch's.
        """
        left = left_by(self.artifact)
        with private.opened(self.folder) as private_fd:
            for one in left:
                about = {key: value for key, value in one.to_json().items() if key != "path"}
                shared.keep(_control_key(about), private_fd, self._relative(one.path), about)
        return left

    def forget_control_files(self, shared: SharedFiles) -> None:
        """Have the controls computed anew that the engine got: it could not use them."""
        for about in self.control_files:
            shared.forget(_control_key(about))

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

    def finish(self, report: Callable[[float], None], cancelled: threading.Event) -> Checked:
        """Make the files to publish from the artifact, and check them.

        A control video that fails its check is left out. It does not cost the result.

        Raises:
            CheckFailed: the artifact is not what was asked for; the engine is to blame.
            FinishFailed: the artifact is good, but finishing it failed; povwatch is to blame.
            EnvironmentFault: the machine does not allow it now.
            MediaStopped: `cancelled` was set.
        """
        if not self._sound_is_ready():
            self._make_sound_again(cancelled)
        expected = self._expected()
        try:
            checked = self._finish(self.artifact["path"], self.final, expected, report, cancelled)
        except (EnvironmentFault, MediaStopped):
            raise
        except PovwatchError as error:
            self._check_artifact_alone(error, expected, cancelled)
            raise FinishFailed(
                f"What was generated is right, and finishing it failed: {error.what}", error.todo
            ) from error
        self.controls, self.lost_controls = {}, {}
        expected = dataclasses.replace(expected, panels=1, sound=False, not_blank=False)
        for key, path in (self.artifact.get("controls") or {}).items() if self.keep_controls else ():
            try:
                found = self._finish(path, self.control(key), expected, lambda _: None, cancelled)
            except (EnvironmentFault, MediaStopped):
                raise
            except PovwatchError as error:
                self.lost_controls[key] = str(error)
            else:
                self.controls[key] = found.to_json()
        return checked

    def score(
        self, options: ScoringOptions, frames: int, report: Callable[[float], None], cancelled: threading.Event
    ) -> None:
        """Score the finished result, and make its contact sheet. A failure is kept as words, and costs nothing else.

        Args:
            frames: of the result.

        Raises:
            EnvironmentFault: the result is to be judged, and the machine does not allow to score it now.
            MediaStopped: `cancelled` was set.
        """
        self.scored = {}
        if not options.scores and not options.sheet:
            return
        about = self._scoring(options, frames)
        seconds = SCORE_FIRST + SCORE_FRAME * min(frames, COMPARED) + DECODE_FRAME * frames
        try:
            with self._timed("score"):
                self.scored = self._call("score", {"about": about.to_json()}, cancelled, report, timeout=seconds)
        except MediaStopped:
            raise
        except PovwatchError as error:
            if options.judged and isinstance(error, EnvironmentFault):
                raise
            word = Missing.OUT_OF_TIME if isinstance(error, MediaTooSlow) else Missing.FAILED
            names = [name for name in SCORES if not name.endswith(KEPT) and name not in HANDS] if options.scores else []
            self.scored = Scored(missing=dict.fromkeys(names, str(word)), problem=str(error)).to_json()

    def sync_finished(self) -> None:
        """Have the finished files on the disk, before the journal says that they are.

        Raises:
            PovwatchError: the disk does not keep them.
        """
        with private.opened(self.folder) as private_fd:
            self._sync(private_fd, *(file.name for file in self.files))

    def _scoring(self, options: ScoringOptions, frames: int) -> Scoring:
        """What is scored against what."""
        ready, spec = Prepared.from_json(self.prepared), self.frozen.upstream()
        edge: dict[str, Any] = spec.get("edge") or {}
        given, mask = (self.references.get(f"edge.{name}") for name in ("control_path", "mask_path"))
        computed = spec.get("edge") is not None and given is None
        return Scoring(
            result=FINAL,
            frames=frames,
            panels=self._expected().panels,
            clip=self._relative(ready.path),
            pad=ready.pad,
            measured=options.scores,
            edge_preset=(edge.get(PRESETS["edge"]) or EDGE_PRESET) if computed else None,
            edge_control=self._relative(given) if given else None,
            edge_mask=self._relative(mask) if mask else None,
            kept=MASK if self.kept else None,
            hands_model=options.hands_model,
            sheet=SHEET if options.sheet else None,
        )

    def _check_artifact_alone(self, error: PovwatchError, expected: Expectation, cancelled: threading.Event) -> None:
        """Check the artifact alone, without the changes of finishing.

        Raises:
            CheckFailed: it is not what was asked for. `error` is raised if it is a CheckFailed, else the new finding.
        """
        asked = Expectation(frames=expected.frames, not_blank=expected.not_blank)
        args = {"artifact": self._relative(self.artifact["path"]), "expectation": asked.to_json()}
        try:
            self._call("check", args, cancelled)
        except CheckFailed as found:
            if isinstance(error, NotAVideo):
                what = f"The engine's artifact cannot be used: {error.what}"
                raise CheckFailed(what, "The engine's output before that may say why.") from error
            raise (error if isinstance(error, CheckFailed) else found) from None
        except MediaError:  # this check failed too, so nothing proves the artifact wrong
            return

    def _finish(
        self,
        generated: str,
        to: Path,
        expected: Expectation,
        report: Callable[[float], None],
        cancelled: threading.Event,
    ) -> Checked:
        """Finish and check one video."""
        with self._timed("finish"):
            with private.opened(self.folder) as private_fd, suppress(FileNotFoundError):
                os.unlink(to.name, dir_fd=private_fd)  # left by a crash during this step
            args: dict[str, Any] = {
                "info": self.info,
                "prepared": self._prepared_inside(),
                "generated": self._relative(generated),
                "out_path": to.name,
                "frames": expected.frames,
                "panels": expected.panels,
                "keep_size": expected.width is None,
                "sound": self._relative(self.sound["path"]) if expected.sound else None,
            }
            made = self._call("finish", args, cancelled, lambda fraction: report(fraction / 2))
        if expected.rate is None:  # only the first frames, and the sound may begin after them
            expected = dataclasses.replace(expected, sound=made["sound"])
        with self._timed("check"):
            args = {
                "artifact": to.name,
                "expectation": expected.to_json() | {"times": self._prepared_inside()["times"]},
            }
            found = self._call("check", args, cancelled, lambda fraction: report(0.5 + fraction / 2))
        return Checked.from_json(found)

    def _expected(self) -> Expectation:
        """The shape that the spec asks for; by default the clip's own."""
        ready, info, spec = Prepared.from_json(self.prepared), VideoInfo.from_json(self.info), self.frozen
        real = bool(self.capabilities.get("real"))
        panels = 1
        if real:  # a preview shows only the control, whatever the spec asks for
            panels += int(spec.show_input) + (len(spec.controls) if spec.show_control_condition else 0)
        frames = min(spec.max_frames or ready.frames, ready.frames)
        keep = spec.keep_input_resolution or not real
        whole = frames == ready.frames
        return Expectation(
            frames=frames,
            width=info.display_width if keep else None,
            height=info.display_height if keep else None,
            panels=panels,
            rate=ready.rate if whole else None,
            constant=ready.constant,
            times=ready.times,
            time_base=ready.time_base,
            sound=self.sound["path"] is not None,
            not_blank=real,
        )

    def _sound_is_ready(self) -> bool:
        """Whether the sound was made, and its file exists if there is any."""
        return bool(self.sound) and (self.sound["path"] is None or Path(self.sound["path"]).is_file())

    def _make_sound(self, private_fd: int, cancelled: threading.Event) -> None:
        """Make the result's sound and sync it. Finishing only copies it."""
        with self._timed("sound"):
            args = {"source": self._relative(self.source), "info": self.info, "prepared": self._prepared_inside()}
            made = soundtrack.make(self.folder, args, float(self.info.get("duration", 0.0)), cancelled)
        if made.path is not None:
            self._sync(private_fd, made.path)
            made = dataclasses.replace(made, path=self._absolute(made.path))
        self.sound = made.to_json()

    def _make_sound_again(self, cancelled: threading.Event) -> None:
        """Make the sound if its file is gone, or if an older povwatch prepared the clip.

        Raises:
            FinishFailed: the sound existed before, and cannot be made now.
        """
        proven = self.sound
        with private.opened(self.folder) as private_fd:
            self._make_sound(private_fd, cancelled)
        if proven and self.sound["path"] is None:
            problem, self.sound = self.sound["problem"], proven
            raise FinishFailed(f"The sound that was made is gone, and cannot be made again: {problem}")

    def _prepared_inside(self) -> dict[str, Any]:
        """Prepared, with paths relative to the folder."""
        return self.prepared | {name: self._relative(self.prepared[name]) for name in ("path", "times")}

    def _for_engine(self, ready: Prepared) -> dict[str, Any]:
        """Upstream's fields, with the private copy of every file that they name."""
        fields = self.frozen.upstream() | {"name": "generated", "video_path": ready.path}
        for where, copy in self.references.items():
            control, _, key = where.rpartition(".")
            (fields[control] if control else fields)[key] = copy
        return fields

    def _call(
        self,
        operation: str,
        args: dict[str, Any],
        cancelled: threading.Event,
        report: Callable[[float], None] | None = None,
        timeout: float = WORK_TIMEOUT,
    ) -> dict[str, Any]:
        """Let a media child work in the folder."""
        return call(operation, args, timeout=timeout, folder=self.folder, on_progress=report, cancelled=cancelled)

    def _absolute(self, name: str) -> str:
        """The absolute path of a file in the folder."""
        return os.path.join(self.folder, name)  # noqa: PTH118 - as it is written

    def _relative(self, path: str) -> str:
        """A file's path relative to the folder. An engine may have resolved the folder's path."""
        inside = self.folder if path.startswith(f"{self.folder}/") else os.path.realpath(self.folder)
        return path.removeprefix(f"{inside}/")

    def _take_references(self, root_fd: int, folder: bytes, files: MadeFiles) -> None:
        """Copy the files that the spec names, and remember the copies. Those that name the same file share its copy."""
        for where, path in self.frozen.referenced_paths().items():
            if where == "prompt_path":
                continue  # its text is already the prompt
            copy = f"{where.replace('.', '_')}{Path(path).suffix.lower()}"
            named = os.path.join(folder, os.fsencode(path))  # noqa: PTH118 - bytes
            present = signature_of(root_fd, named)
            key = _key("reference", [named.hex(), present.hex()])
            if files.take(key, copy) is None:
                copied = take_copy(root_fd, named, files.private_fd, copy, files.cancelled, names=1)
                refuse_text(files.private_fd, copy, named)
                if copied == present:  # else it changed while it was copied
                    files.keep(key, copy, {})
            self.references[where] = self._absolute(copy)

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

    def _sync(self, private_fd: int, *names: str) -> None:
        """Sync files that finishing needs. After a power cut the artifact is finished, not generated again.

        Raises:
            EnvironmentFault: the disk does not keep them.
        """
        with translate_os_errors(Place.PREPARE, f"The private copy in {self.folder}"):
            for name in names:
                with closing(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private_fd)) as fd:
                    os.fsync(fd)
            fsync_dir(private_fd)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 3)


def _key(what: str, of: object) -> str:
    """The key of a shared file."""
    return json.dumps([what, of], sort_keys=True)


def _control_key(about: Mapping[str, Any]) -> str:
    """The key of a control that an engine has left."""
    return _key("control", [about["setting"], about["frames"]])


def keep_source(spec: Spec, outputs: str, results: str) -> list[Any] | None:
    """What a mask of what is kept is made of: the file's name, the dilation, and the file's signature in hexadecimal.

    The signature is empty if the file is not there. None if the spec keeps nothing.

    Args:
        outputs: outputs/, absolute.
        results: the clip's folder in it, relative.
    """
    own = spec.povwatch
    if own.keep is None:
        return None
    found = ""
    with suppress(OSError), closing(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        path = os.path.join(results, own.keep)  # noqa: PTH118 - as it is written
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with closing(open_beneath(root, os.fsencode(path), flags)) as fd:
            found = signature(os.fstat(fd)).hex()
    return [own.keep, own.dilate, found]


def kept_missing(spec: Spec, outputs: str, results: str) -> str:
    """The file that the spec keeps and that is not there, as its field and path; empty otherwise.

    For the arguments see keep_source.
    """
    source = keep_source(spec, outputs, results)
    if source is None or source[2]:
        return ""
    path = os.path.join(results, source[0])  # noqa: PTH118 - as it is written
    there = os.path.isdir(outputs) and not os.path.lexists(os.path.join(outputs, path))  # noqa: PTH112, PTH118
    return _kept_name(path) if there else ""


def _kept_name(path: str) -> str:
    return f"povwatch.keep (outputs/{layout.shown(os.fsencode(path))})"


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
