"""Which hook of a job comes next, and whether it is needed at all. Pure.

1. The hooks of a moment run one after the other, in the order of config.toml.
2. One that is over (done, skipped, failed) does not run again for this job, neither after a crash nor for the next
   attempt.
3. If the clip's bytes are others by now, nothing of that holds. If its JSON means something else by now, it does not
   hold for a hook that names {spec}.
4. One that failed, and is to stop, is the last one.
5. `once`: a hook is not needed where it has run for this very video and what it expects is there. It is not needed
   either where all that it expects is there already and no run of ours for another video can have made it: somebody
   filled the folder before, and that is respected. One that expects nothing goes by the video alone, whatever its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.hook_record import HookRun, HookState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.config.hooks import Hook
    from povwatch.core.job import Job

BEFORE, AFTER = "before", "after"


def next_hook(hooks: Sequence[Hook], moment: str, job: Job, records: Mapping[str, HookRun]) -> Hook | None:
    """The hook that a job waits for; None if it waits for none.

    Args:
        hooks: all of them, in order.
        moment: BEFORE or AFTER.
        job: the job.
        records: what is known of its hooks, by their names.
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


def current(record: HookRun | None, hook: Hook, job: Job) -> HookRun | None:
    """What is known of a hook, if it was for the clip, and the JSON, as they are now."""
    if record is None or record.source_hash != job.source_hash:
        return None
    return None if "spec" in hook.placeholders and record.spec_hash != job.spec_hash else record


def needless(hook: Hook, *, ran_before: bool, filled_for: str | None, source_hash: str | None, there: bool) -> str:
    """Why a hook need not run, as a clause; empty if it has to.

    Args:
        hook: the hook.
        ran_before: it is done for a clip with these very bytes.
        filled_for: the bytes' hash of the clip under this name that it was last done for; None if it never was.
        source_hash: of this clip's bytes.
        there: everything that it expects is there and decodes.
    """
    if not hook.once:
        return ""
    if not hook.expects:
        return "it has run for this video" if ran_before else ""
    if not there:
        return ""
    if filled_for is None:
        return "all that it expects is there already"
    return "it has run for this video, and all that it expects is there" if filled_for == source_hash else ""
