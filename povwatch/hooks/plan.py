"""Decides which hook of a job comes next, and whether it has to run. Pure.

1. The hooks of a moment run one after the other, in the order of config.toml.
2. A hook that is over (done, skipped, failed) never runs again for this job, neither after a crash nor for the next
   attempt.
3. Rule 2 ends when the clip's bytes change. For a hook that names {spec} it also ends when its JSON means something
   else.
4. After a failed hook with `on_failure = "stop"`, no other hook runs.
5. A hook with `once` is skipped if it has run for this very video and its expected files exist. It is also skipped if
   its expected files exist and it never ran for another video of this name: somebody filled the folder before, which
   is respected. A hook that expects nothing goes by the video alone, whatever the video's name.
6. A hook that runs once for a clip is skipped if it is done for another look of this very clip and its expected files
   exist.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from povwatch.config.hooks import filled, named
from povwatch.core.command import command
from povwatch.core.hook_record import HookRecord, HookState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.config.hooks import Hook
    from povwatch.core.job import Job

BEFORE, AFTER = "before", "after"


def next_hook(hooks: Sequence[Hook], moment: str, job: Job, records: Mapping[str, HookRecord]) -> Hook | None:
    """The hook that a job waits for; None if it waits for none.

    Args:
        hooks: all of them, in order.
        moment: BEFORE or AFTER.
        records: of its hooks, by name.
    """
    for hook in hooks:
        if hook.when != moment:
            continue
        record = current(records.get(hook.name), hook, job)
        if record is None or not record.state.over:
            return hook
        if record.state is HookState.FAILED and hook.on_failure == "stop":
            return None
    return None


def current(record: HookRecord | None, hook: Hook, job: Job) -> HookRecord | None:
    """A hook's record, if it is about the present clip and JSON; else None."""
    if record is None or record.source_hash != job.source_hash:
        return None
    return None if "spec" in hook.placeholders and record.spec_hash != job.spec_hash else record


def needless(
    hook: Hook,
    *,
    ran_before: bool,
    filled_for: str | None,
    source_hash: str | None,
    complete: bool,
    ran_for_look: bool = False,
) -> str:
    """Why a hook does not have to run, as a clause; empty if it has to.

    Args:
        ran_before: it is done for a clip with these very bytes.
        filled_for: hash of the clip, at this path, that it was last done for; None if it never was.
        source_hash: of this clip's bytes.
        complete: all its expected files exist and decode.
        ran_for_look: it is done for another look of this clip.
    """
    if ran_for_look and hook.once_a_clip and complete:
        return "it has run for another look of this clip"
    if not hook.once:
        return ""
    if not hook.expects:
        return "it has run for this video" if ran_before else ""
    if not complete:
        return ""
    if filled_for is None:
        return "all that it expects is there already"
    return "it has run for this video, and all that it expects is there" if filled_for == source_hash else ""


def remedy(hooks: Sequence[Hook], job: Job, name: str) -> str:
    """What to do about a file that is missing in the clip's folder in outputs/ once all hooks before it are over.

    A hook that is over does not run again for this job. After a retry it runs again if it expects a file that is
    missing.

    Args:
        hooks: all of them.
        name: of the file, relative to that folder.
    """
    before = [hook for hook in hooks if hook.when == BEFORE]
    if not before:
        return 'Have a hook with `when = "before"` write it, put it there, or take the line out of the JSON.'
    again = command("retry", clip=job.called)
    values = {"outdir": "", "stem": job.base.decode(errors="surrogateescape"), "look": job.look, "job": str(job.id)}
    for hook in before:
        texts = (text for text in hook.expects if named([text]) <= values.keys())
        if name in {posixpath.normpath(filled(text, values)).lstrip("/") for text in texts}:
            return f"The hook {hook.name} expects it and is over: {again} has it run again."
    names = ", ".join(hook.name for hook in before)
    return (
        f"The hooks before the clip are over ({names}), and none of them expects it. Name it in `expects` of the one "
        f"that writes it and restart povwatch, or put it there; then: {again}"
    )
