"""Finishes an engine's artifact, checks it, and scores it against the clip. Runs in a background thread."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from povwatch.attempt.attempt import FINAL, MASK, SHEET
from povwatch.core.cosmos import EDGE_PRESET, PRESETS
from povwatch.core.errors import CheckFailed, EnvironmentFault, FinishFailed, NotAVideo, PovwatchError
from povwatch.core.mailbox import Gauge
from povwatch.core.scores import COMPARED, HANDS, KEPT, SCORES, Missing
from povwatch.files import private
from povwatch.media.errors import MediaError, MediaStopped, MediaTooSlow
from povwatch.media.info import Checked, Expectation, Prepared, Scored, Scoring, VideoInfo

if TYPE_CHECKING:
    import threading

    from povwatch.attempt.attempt import Attempt

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


def finish(attempt: Attempt, gauge: Gauge, cancelled: threading.Event) -> Checked:
    """Make the files to publish from the artifact, and check them.

    A control video that fails its check is left out. It does not cost the result. `gauge` gets the progress.

    Raises:
        CheckFailed: the artifact is not what was asked for; the engine is to blame.
        FinishFailed: the artifact is good, but finishing it failed; povwatch is to blame.
        EnvironmentFault: the machine does not allow it now.
        MediaStopped: `cancelled` was set.
    """
    if not _sound_is_ready(attempt):
        _make_sound_again(attempt, cancelled)
    expected = _expected(attempt)
    try:
        checked = _finish(attempt, attempt.artifact["path"], attempt.final, expected, gauge=gauge, cancelled=cancelled)
    except (EnvironmentFault, MediaStopped):
        raise
    except PovwatchError as error:
        _check_artifact_alone(attempt, error, expected, cancelled)
        raise FinishFailed(f"What was generated is right, and finishing it failed: {error.what}", error.todo) from error
    attempt.controls, attempt.lost_controls = {}, {}
    expected = dataclasses.replace(expected, panels=1, sound=False, not_blank=False)
    for key, path in (attempt.artifact.get("controls") or {}).items() if attempt.keep_controls else ():
        try:
            found = _finish(attempt, path, attempt.control(key), expected, gauge=Gauge(), cancelled=cancelled)
        except (EnvironmentFault, MediaStopped):
            raise
        except PovwatchError as error:
            attempt.lost_controls[key] = str(error)
        else:
            attempt.controls[key] = found.to_json()
    return checked


def _finish(
    attempt: Attempt,
    generated: str,
    to: Path,
    expected: Expectation,
    *,
    gauge: Gauge,
    cancelled: threading.Event,
) -> Checked:
    """Finish and check one video."""
    gauge.begin("finishing")
    with attempt.timed("finish"):
        with private.opened(attempt.folder) as private_fd, suppress(FileNotFoundError):
            os.unlink(to.name, dir_fd=private_fd)  # left by a crash during this step
        args: dict[str, Any] = {
            "info": attempt.info,
            "prepared": attempt.prepared_inside(),
            "generated": attempt.relative(generated),
            "out_path": to.name,
            "frames": expected.frames,
            "panels": expected.panels,
            "keep_size": expected.width is None,
            "sound": attempt.relative(attempt.sound["path"]) if expected.sound else None,
        }
        made = attempt.call("finish", args, cancelled, gauge.set)
    if expected.rate is None:  # only the first frames, and the sound may begin after them
        expected = dataclasses.replace(expected, sound=made["sound"])
    gauge.begin("checking")
    with attempt.timed("check"):
        args = {
            "artifact": to.name,
            "expectation": expected.to_json() | {"times": attempt.prepared_inside()["times"]},
        }
        found = attempt.call("check", args, cancelled, gauge.set)
    return Checked.from_json(found)


def _check_artifact_alone(
    attempt: Attempt, error: PovwatchError, expected: Expectation, cancelled: threading.Event
) -> None:
    """Check the artifact alone, without the changes of finishing.

    Raises:
        CheckFailed: it is not what was asked for. `error` is raised if it is a CheckFailed, else the new finding.
    """
    asked = Expectation(frames=expected.frames, not_blank=expected.not_blank)
    args = {"artifact": attempt.relative(attempt.artifact["path"]), "expectation": asked.to_json()}
    try:
        attempt.call("check", args, cancelled)
    except CheckFailed as found:
        if isinstance(error, NotAVideo):
            what = f"The engine's artifact cannot be used: {error.what}"
            raise CheckFailed(what, "The engine's output before that may say why.") from error
        raise (error if isinstance(error, CheckFailed) else found) from None
    except MediaError:  # this check failed too, so nothing proves the artifact wrong
        return


def _expected(attempt: Attempt) -> Expectation:
    """The shape that the spec asks for; by default the clip's own."""
    ready, info, spec = Prepared.from_json(attempt.prepared), VideoInfo.from_json(attempt.info), attempt.frozen
    real = bool(attempt.capabilities.get("real"))
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
        sound=attempt.sound["path"] is not None,
        not_blank=real,
    )


def _sound_is_ready(attempt: Attempt) -> bool:
    """Whether the sound was made, and its file exists if there is any."""
    return bool(attempt.sound) and (attempt.sound["path"] is None or Path(attempt.sound["path"]).is_file())


def _make_sound_again(attempt: Attempt, cancelled: threading.Event) -> None:
    """Make the sound if its file is gone, or if an older povwatch prepared the clip.

    Raises:
        FinishFailed: the sound existed before, and cannot be made now.
    """
    proven = attempt.sound
    with private.opened(attempt.folder) as private_fd:
        attempt.make_sound(private_fd, cancelled)
    if proven and attempt.sound["path"] is None:
        problem, attempt.sound = attempt.sound["problem"], proven
        raise FinishFailed(f"The sound that was made is gone, and cannot be made again: {problem}")


def score(attempt: Attempt, options: ScoringOptions, frames: int, gauge: Gauge, cancelled: threading.Event) -> None:
    """Score the finished result, and make its contact sheet. A failure is kept as words, and costs nothing else.

    Args:
        frames: of the result.

    Raises:
        EnvironmentFault: the result is to be judged, and the machine does not allow to score it now.
        MediaStopped: `cancelled` was set.
    """
    attempt.scored = {}
    if not options.scores and not options.sheet:
        return
    gauge.begin("scoring")
    about = _scoring(attempt, options, frames)
    seconds = SCORE_FIRST + SCORE_FRAME * min(frames, COMPARED) + DECODE_FRAME * frames
    try:
        with attempt.timed("score"):
            attempt.scored = attempt.call("score", {"about": about.to_json()}, cancelled, gauge.set, timeout=seconds)
    except MediaStopped:
        raise
    except PovwatchError as error:
        if options.judged and isinstance(error, EnvironmentFault):
            raise
        word = Missing.OUT_OF_TIME if isinstance(error, MediaTooSlow) else Missing.FAILED
        names = [name for name in SCORES if not name.endswith(KEPT) and name not in HANDS] if options.scores else []
        attempt.scored = Scored(missing=dict.fromkeys(names, str(word)), problem=str(error)).to_json()


def _scoring(attempt: Attempt, options: ScoringOptions, frames: int) -> Scoring:
    """What is scored against what."""
    ready, spec = Prepared.from_json(attempt.prepared), attempt.frozen.upstream()
    edge: dict[str, Any] = spec.get("edge") or {}
    given, mask = (attempt.references.get(f"edge.{name}") for name in ("control_path", "mask_path"))
    computed = spec.get("edge") is not None and given is None
    return Scoring(
        result=FINAL,
        frames=frames,
        panels=_expected(attempt).panels,
        clip=attempt.relative(ready.path),
        pad=ready.pad,
        measured=options.scores,
        edge_preset=(edge.get(PRESETS["edge"]) or EDGE_PRESET) if computed else None,
        edge_control=attempt.relative(given) if given else None,
        edge_mask=attempt.relative(mask) if mask else None,
        kept=MASK if attempt.kept else None,
        hands_model=options.hands_model,
        sheet=SHEET if options.sheet else None,
    )


def sync_finished(attempt: Attempt) -> None:
    """Have the finished files on the disk, before the journal says that they are.

    Raises:
        PovwatchError: the disk does not keep them.
    """
    with private.opened(attempt.folder) as private_fd:
        attempt.sync(private_fd, *(file.name for file in attempt.files))
