"""One run of a hook, from its copies to its expected files. It runs in a thread and never sees the journal.

A hook must not write in inputs/: a look before the run and one after it find what it changed there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.attempt.copies import refuse_text, take_copy
from povwatch.config.hooks import filled
from povwatch.core import layout
from povwatch.core.errors import HookFailed, OutputsAway, PovwatchError, SourceChanged
from povwatch.core.units import spell_duration
from povwatch.files import private
from povwatch.files.fs import FOLDER, closing, open_beneath
from povwatch.files.names import is_ignored
from povwatch.files.signature import same_content, signature
from povwatch.hooks.expected import first_problem
from povwatch.hooks.plan import needless
from povwatch.hooks.program import run_program
from povwatch.process.start import describe_end

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from povwatch.config.hooks import Hook
    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.core.mailbox import Mailbox
    from povwatch.hooks.program import Ended
    from povwatch.publish.staging import Staging

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
"""Flags for a new file in a folder that is empty at first."""

NAMED = 3
"""At most so many new files, or processes, are named."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request to run a hook, with the facts that it needs."""

    hook: Hook
    job: Job
    spec: dict[str, Any]
    """In upstream's fields."""
    source: Path | None
    """The private copy that the clip ran from; None before its run, and after povwatch rebuild."""
    output: bytes | None
    """The published file, relative to outputs/."""
    ran_before: bool
    """Whether the hook is done for a clip with these bytes."""
    filled_for: str | None
    """Hash of the clip, at this path, that the hook was last done for."""
    ran_for_look: bool = False
    """Whether the hook is done for another look of the clip."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a hook printed."""

    job: int
    hook: str
    text: str


@dataclass(slots=True)
class Outcome:
    """How a run ended."""

    seconds: float = 0.0
    skipped: str = ""
    """Why the hook did not have to run."""
    called_off: bool = False
    error: PovwatchError | None = None
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Further events for the log, with their fields."""


def perform(
    cancelled: threading.Event, request: HookRequest, config: Config, staging: Staging, lines: Mailbox[Line]
) -> Outcome:
    """Run a hook, unless it does not have to run.

    Args:
        cancelled: set when the run is no longer wanted.
        lines: gets the hook's output.

    Raises:
        PovwatchError: it could not be run here and now.
    """
    outcome, begun = Outcome(), time.monotonic()
    job, hook = request.job, request.hook
    target = layout.output(config.publish.layout, job.path, job.base, "aug")
    outdir = staging.result_folder(layout.split(target)[0])
    values = _values(request, config, staging.for_hooks(job.id), outdir)
    expects = [str(config.folder / filled(text, values)) for text in hook.expects]
    try:
        if (hook.once or request.ran_for_look) and (why := _not_needed(request, expects, cancelled)):
            outcome.skipped = why
        else:
            ended = _run(request, config, values, lines, outcome, cancelled=cancelled)
            outcome.called_off = ended.called_off
            if not ended.called_off:
                _judge(hook, ended, expects, cancelled)
    except HookFailed as error:
        outcome.error = error
    finally:
        staging.clear_hooks(job.id)
    outcome.seconds = round(time.monotonic() - begun, 3)
    return outcome


def _run(
    request: HookRequest,
    config: Config,
    values: dict[str, str],
    lines: Mailbox[Line],
    outcome: Outcome,
    *,
    cancelled: threading.Event,
) -> Ended:
    """Run the program, and note its changes to files that are not its own."""
    job, hook = request.job, request.hook
    copy = _give(request, config, values, cancelled)
    before = look_at_inputs(config.paths.inputs, job)
    ended = run_program(
        [filled(text, values) for text in hook.argv],
        cwd=config.folder,
        env={name: filled(text, values) for name, text in hook.env.items()},
        timeout=hook.timeout,
        on_line=lambda text: lines.put(Line(job.id, hook.name, text)),
        cancelled=cancelled,
    )
    if changed := changes_in_inputs(before, look_at_inputs(config.paths.inputs, job), job):
        outcome.notes.append(("hook-inputs", {"hook": hook.name, "what": changed}))
    if copy is not None and not _same(Path(values["video"]), copy):
        outcome.notes.append(("hook-copy", {"hook": hook.name}))
    if ended.left_out:
        outcome.notes.append(("hook-flood", {"hook": hook.name, "lines": ended.left_out}))
    if ended.left and not ended.called_off:
        outcome.notes.append(("hook-left", {"hook": hook.name, "left": _names(ended.left)}))
    return ended


def _values(request: HookRequest, config: Config, folder: Path, outdir: Path) -> dict[str, str]:
    """The value of each placeholder."""
    job = request.job
    name = layout.split(job.path)[1]
    return {
        "video": str(folder / os.fsdecode(name)),
        "spec": str(folder / os.fsdecode(job.stem + b".json")),
        "outdir": str(outdir),
        "stem": os.fsdecode(job.base),
        "look": job.look,
        "job": str(job.id),
        "output": "" if request.output is None else str(config.paths.outputs / os.fsdecode(request.output)),
    }


def _not_needed(request: HookRequest, expects: Sequence[str], cancelled: threading.Event) -> str:
    """Why the hook does not have to run, as a clause; empty if it has to."""
    wrong, frames = first_problem(expects, cancelled) if expects else ("", {})
    why = needless(
        request.hook,
        ran_before=request.ran_before,
        filled_for=request.filled_for,
        source_hash=request.job.source_hash,
        complete=not wrong,
        ran_for_look=request.ran_for_look,
    )
    clip = json.loads(request.job.source_info or "{}").get("frames")
    others = {name: count for name, count in frames.items() if clip and count != clip}
    if why and others:
        name, count = next(iter(others.items()))
        why += (
            f" (but {name} has {count} frames and the clip {clip}: if it is of another video, move it away and retry)"
        )
    return why


def _give(request: HookRequest, config: Config, values: dict[str, str], cancelled: threading.Event) -> bytes | None:
    """Make the copies that the hook names. Returns the signature of the clip's copy."""
    named = request.hook.placeholders
    video, spec = (Path(values[what]) for what in ("video", "spec"))
    with private.opened(str(video.parent)) as private_fd:
        if "spec" in named:
            with os.fdopen(os.open(spec.name, NEW, 0o666, dir_fd=private_fd), "w", encoding="utf-8") as file:
                file.write(json.dumps(request.spec, indent=2) + "\n")
        if "video" not in named:
            return None
        if request.source is None:
            _copy(request, config, private_fd, video.name, cancelled)
        else:
            _link(request.source, private_fd, video.name)
        return signature(os.stat(video.name, dir_fd=private_fd))


def _copy(request: HookRequest, config: Config, private_fd: int, video: str, cancelled: threading.Event) -> None:
    """Copy the clip from inputs/."""
    try:
        with closing(os.open(config.paths.inputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            take_copy(root, request.job.path, private_fd, video, cancelled)
        refuse_text(private_fd, video, request.job.path)
        _check_that_it_is_the_clip(request.job, config)
    except SourceChanged as error:
        if request.output is None:
            raise
        raise HookFailed(  # its result exists, so the clip must not arrive anew
            f"The clip that the result was made from is not in inputs/ any more ({error.what.rstrip('.')}), "
            "and which private copy was its own was lost with the journal.",
            "Run it by hand if that is needed.",
        ) from error


def _check_that_it_is_the_clip(job: Job, config: Config) -> None:
    try:
        there = signature((config.paths.inputs / os.fsdecode(job.path)).lstat())
    except OSError as error:
        raise SourceChanged(f"The clip is gone ({error.strerror}).") from error
    if job.source_stat is None or not same_content(there, job.source_stat):
        raise SourceChanged("The clip is not the one that arrived.")


def _link(source: Path, private_fd: int, video: str) -> None:
    """Link the run's copy, which nothing else needs any more. Without hard links, copy it."""
    try:
        with private.opened(str(source.parent)) as run:
            try:
                os.link(source.name, video, src_dir_fd=run, dst_dir_fd=private_fd, follow_symlinks=False)
            except FileNotFoundError:
                raise
            except OSError:
                with (
                    os.fdopen(os.open(source.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=run), "rb") as one,
                    os.fdopen(os.open(video, NEW, 0o600, dir_fd=private_fd), "wb") as other,
                ):
                    shutil.copyfileobj(one, other)
    except (FileNotFoundError, OutputsAway) as error:
        if source.exists():
            raise
        raise HookFailed(
            "The private copy of the clip is gone.", "Nobody but povwatch may remove what is in outputs/.povwatch."
        ) from error


def _same(file: Path, was: bytes) -> bool:
    try:
        return same_content(signature(file.lstat()), was)
    except OSError:
        return False


def _judge(hook: Hook, ended: Ended, expects: Sequence[str], cancelled: threading.Event) -> None:
    """Check that the hook ended well and left its expected files."""
    if ended.timed_out:
        raise HookFailed(
            f"It took longer than {spell_duration(hook.timeout)} and was ended.",
            f"If it needs more, raise its timeout; if it hangs, fix it{_last_line(ended.tail)}",
        )
    if ended.status != 0:
        raise HookFailed(f"It {describe_end(ended.status)}.", f"Fix what it complains of{_last_line(ended.tail)}")
    wrong, _ = first_problem(expects, cancelled)
    if wrong:
        left = f" It left {_names(ended.left)} behind, which does not count." if ended.left else ""
        todo = f"Have it write all that its `expects` names{_last_line(ended.tail)}"
        raise HookFailed(f"It ended well, but {wrong}.{left}", todo)


def _last_line(tail: Sequence[str]) -> str:
    """The end of a sentence: the last line that the hook printed."""
    if not tail:
        return "; it printed nothing."
    return f'. Its last words: "{layout.shown(tail[-1].encode("utf-8", "surrogateescape"))}".'


def _names(left: Sequence[str]) -> str:
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return f"{len(left)} process{'es' if len(left) > 1 else ''} ({', '.join(left[:NAMED])}{more})"


# -- what a hook changed in inputs/


@dataclass(frozen=True, slots=True)
class InputsLook:
    """The clip's files in inputs/ at one moment."""

    clip: bytes | None
    """The clip's signature; None if it is missing."""
    spec: bytes | None
    """The JSON's signature; None if it is missing."""
    like_it: frozenset[bytes]
    """Names in the clip's folder that begin with the clip's name: `clip_overlay.mp4`."""


def look_at_inputs(inputs: Path, job: Job) -> InputsLook | None:
    """Look at the files; None if the folder cannot be read."""
    beside = layout.beside(job.path, job.stem)
    folder, name = layout.split(job.path)
    own = {layout.split(path)[1] for path in (job.path, beside.spec, beside.error, beside.go, beside.hold)}
    # `clip2.mp4` is another clip; a program that reads clip.mp4 writes clip_overlay.mp4 or clip.mp4.npz.
    like_it = re.compile(rb"(?:%s)[^0-9A-Za-z]" % b"|".join(map(re.escape, {name, job.base, layout.stem_of(name)})))
    try:
        with (
            closing(os.open(inputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root,
            closing(open_beneath(root, folder, FOLDER)) as there,
        ):
            found = [os.fsencode(entry) for entry in os.listdir(there)]  # noqa: PTH208 - a descriptor
            return InputsLook(
                _signature(there, name),
                _signature(there, layout.split(beside.spec)[1]),
                frozenset(
                    n
                    for n in found
                    if n not in own and like_it.match(n) and not is_ignored(n) and not _is_of_look(n, job.base)
                ),
            )
    except OSError:
        return None


def _is_of_look(name: bytes, base: bytes) -> bool:
    """Whether a file beside a clip may be that of one of its looks: users add those at any time."""
    return name.startswith(base + b".") and name.endswith((b".json", b".go", b".hold", layout.ERROR))


def changes_in_inputs(before: InputsLook | None, after: InputsLook | None, job: Job) -> str:
    """What changed between two looks, as a clause; empty if nothing did."""
    if before is None or after is None:
        return ""
    spec = layout.shown(layout.split(layout.beside(job.path, job.stem).spec)[1])
    found = []
    for what, then, now in (("the clip", before.clip, after.clip), (spec, before.spec, after.spec)):
        if then is not None and now is None:
            found.append(f"{what} went away")
        elif then is not None and now is not None and not same_content(then, now):
            found.append(f"{what} changed")
    if new := sorted(after.like_it - before.like_it):
        more = f" and {len(new) - NAMED} more" if len(new) > NAMED else ""
        found.append(f"{', '.join(map(layout.shown, new[:NAMED]))}{more} appeared")
    return ", ".join(found)


def _signature(folder: int, name: bytes) -> bytes | None:
    try:
        return signature(os.lstat(name, dir_fd=folder))
    except FileNotFoundError:
        return None
