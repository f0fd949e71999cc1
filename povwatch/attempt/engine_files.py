"""The files that an engine gets beside the working copy: those that the JSON names, the mask of what is kept, controls.

A file that looks or seeds of a clip have in common is made once, see made_files.py. These functions run in background
threads, but for those about control files, which the loop calls right before and after the engine.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.attempt.attempt import MASK
from povwatch.attempt.copies import refuse_text, signature_of, take_copy
from povwatch.attempt.made_files import MadeFiles
from povwatch.core import layout
from povwatch.core.errors import PovwatchError
from povwatch.core.mailbox import Gauge
from povwatch.engines.annotate.annotation import control_key, to_compute
from povwatch.engines.control_files import left_by
from povwatch.files import private
from povwatch.files.fs import closing, open_beneath
from povwatch.files.signature import signature

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from povwatch.attempt.attempt import Attempt
    from povwatch.attempt.shared_files import SharedFiles
    from povwatch.engines.annotate.annotation import Annotation
    from povwatch.engines.annotate.annotator import Annotator
    from povwatch.engines.control_files import ControlFile
    from povwatch.spec.model import Spec


def complete(
    attempt: Attempt,
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
    with private.opened(attempt.folder) as private_fd:
        tried = (before.folder, before.made) if before is not None else ()
        files = MadeFiles(private_fd, attempt.made, shared, cancelled, *tried)
        with (
            attempt.timed("prepare"),
            closing(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd,
        ):
            _take_references(attempt, root_fd, layout.split(clip)[0], files)
        _make_mask(attempt, files)
        if annotator is not None:
            _annotate(attempt, files, annotator, gauge or Gauge())


def _take_references(attempt: Attempt, root_fd: int, folder: bytes, files: MadeFiles) -> None:
    """Copy the files that the spec names, and remember the copies. Those that name the same file share its copy."""
    for where, path in attempt.frozen.referenced_paths().items():
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
        attempt.references[where] = attempt.absolute(copy)


def _make_mask(attempt: Attempt, files: MadeFiles) -> None:
    """Make the mask of what is kept, if the spec keeps anything, and have the engine get it.

    Raises:
        JobFailed: what a hook left is missing, does not fit, or is empty.
    """
    own, where = attempt.frozen.povwatch, attempt.frozen.kept_as
    if own.keep is None or where is None:
        return
    path = os.path.join(attempt.results, own.keep)  # noqa: PTH118 - as it is written
    args = {
        "path": path,
        "root": attempt.outputs,
        "out_path": MASK,
        "name": _kept_name(path),
        "prepared": attempt.prepared_inside(),
        "dilate": own.dilate,
    }

    def make() -> dict[str, Any]:
        with attempt.timed("mask"):
            made = attempt.call("mask", args, files.cancelled)
        about = {key: value for key, value in made.items() if key != "path"}
        return {"file": layout.shown(os.fsencode(path)), **about, "dilate": own.dilate}

    source = keep_source(attempt.frozen, attempt.outputs, attempt.results)
    mask = files.get(_key("mask", source), MASK, make)
    attempt.sync(files.private_fd, MASK)
    attempt.kept = mask.about | {"as": where}
    attempt.references[where] = attempt.absolute(MASK)


def _annotate(attempt: Attempt, files: MadeFiles, annotator: Annotator, gauge: Gauge) -> None:
    """Make the controls of the spec that a model computes, and have the engine get them like given ones.

    Raises:
        JobFailed: one cannot be computed.
    """
    for one in to_compute(attempt.frozen.upstream()):
        name = f"computed_{one.kind}.mp4"

        def make(one: Annotation = one, name: str = name) -> dict[str, Any]:
            gauge.begin(f"computing {one.kind}")
            with attempt.timed(one.kind):
                return annotator.make(
                    one,
                    attempt.prepared_inside(),
                    folder=attempt.folder,
                    out_path=name,
                    report=gauge.set,
                    cancelled=files.cancelled,
                )

        gauge.begin(f"waiting for {one.kind}")
        made = files.get(control_key(one), name, make)
        attempt.sync(files.private_fd, name)
        known = {key: value for key, value in made.about.items() if key != "path"}
        attempt.annotated[one.kind] = known | {"computed_by": str(made.by)}
        attempt.references[one.field] = attempt.absolute(name)


def take_control_files(attempt: Attempt, shared: SharedFiles | None, before: Attempt | None) -> None:
    """Take the controls that engines have left, as far as this spec's controls are of their kind.

    Args:
        shared: those of other looks of the clip; None if it shares none.
        before: the attempt that tried another seed; it has left some, or has taken some. None without one.

    Raises:
        OutputsAway: the private folder is gone, or is not povwatch's.
    """
    wanted = {key for key, one in attempt.frozen.controls.items() if one.control_path is None}
    attempt.control_files, attempt.left_by_seeds = [], []
    with private.opened(attempt.folder) as private_fd:
        if before is not None:
            _take_from_seed(attempt, before, private_fd, wanted)
        for key, about in shared.known().items() if shared is not None else ():
            known = any(_control_key(one) == key for one in attempt.control_files)
            if known or about.get("setting", {}).get("key") not in wanted:
                continue
            name = f"left_control_{len(attempt.control_files)}.mp4"
            if shared is not None and shared.take(key, private_fd, name) is not None:
                attempt.control_files.append({**about, "path": attempt.absolute(name)})


def _take_from_seed(attempt: Attempt, before: Attempt, private_fd: int, wanted: set[str]) -> None:
    """Take the controls that the seed before has left, and those that it has taken itself."""
    left = [one.to_json() for one in left_by(before.artifact)]
    by_seeds = {*before.left_by_seeds, *(one["sha256"] for one in left)}
    with suppress(OSError, PovwatchError), private.opened(before.folder) as there:
        for one in [*left, *before.control_files]:
            name = f"left_control_{len(attempt.control_files)}.mp4"
            if one["setting"]["key"] in wanted:
                source = before.relative(one["path"])
                os.link(source, name, src_dir_fd=there, dst_dir_fd=private_fd, follow_symlinks=False)
                attempt.control_files.append({**one, "path": attempt.absolute(name)})
    attempt.left_by_seeds = [one["sha256"] for one in attempt.control_files if one["sha256"] in by_seeds]


def keep_control_files(attempt: Attempt, shared: SharedFiles) -> list[ControlFile]:
    """Keep the controls that the engine has left for other looks of the clip; returns them.

    Raises:
        OutputsAway: the private folder is gone, or is not povwatch's.
    """
    left = left_by(attempt.artifact)
    with private.opened(attempt.folder) as private_fd:
        for one in left:
            about = {key: value for key, value in one.to_json().items() if key != "path"}
            shared.keep(_control_key(about), private_fd, attempt.relative(one.path), about)
    return left


def forget_control_files(attempt: Attempt, shared: SharedFiles) -> None:
    """Have the controls computed anew that the engine got: it could not use them."""
    for about in attempt.control_files:
        shared.forget(_control_key(about))


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


def _key(what: str, of: object) -> str:
    """The key of a shared file."""
    return json.dumps([what, of], sort_keys=True)


def _control_key(about: Mapping[str, Any]) -> str:
    """The key of a control that an engine has left."""
    return _key("control", [about["setting"], about["frames"]])
