"""Which hook of a job comes next, whether it is needed, and what its texts become."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from povwatch.config.hooks import Hook, filled
from povwatch.core.hook_record import HookRecord, HookState
from povwatch.core.job import Job, JobState
from povwatch.hooks.plan import AFTER, BEFORE, needless, next_hook, remedy

JOB = Job(7, b"a.mp4", b"a", JobState.QUEUED, source_hash="bytes", spec_hash="spec")


def hook(name="mano", when="before", **settings):
    return Hook(**{"name": name, "when": when, "argv": ["mano", "{video}"]} | settings)


def records(**states):
    return {
        name: HookRecord(7, name, HookState(state), source_hash="bytes", spec_hash="spec")
        for name, state in states.items()
    }


def name(found):
    return found and found.name


HOOKS = [hook("one"), hook("last", "after"), hook("two")]


@pytest.mark.parametrize(
    ("known", "before", "after"),
    [
        ({}, "one", "last"),
        ({"one": "running"}, "one", "last"),
        ({"one": "waiting"}, "one", "last"),
        ({"one": "done"}, "two", "last"),
        ({"one": "skipped", "two": "done"}, None, "last"),
        ({"one": "done", "two": "done", "last": "done"}, None, None),
        ({"one": "failed"}, None, "last"),
    ],
)
def test_hooks_run_in_order(known, before, after):
    """Hooks run in order, and what is over is over."""
    assert name(next_hook(HOOKS, BEFORE, JOB, records(**known))) == before
    assert name(next_hook(HOOKS, AFTER, JOB, records(**known))) == after


def test_next_after_a_failed_continue():
    """After a failed hook that is to continue comes the next."""
    hooks = [hook("one", on_failure="continue"), hook("two")]
    assert name(next_hook(hooks, BEFORE, JOB, records(one="failed"))) == "two"


def test_another_video_or_spec():
    """Another video makes every hook due again, another spec those that name it."""
    hooks = [hook("one"), hook("two", argv=["x", "{spec}"])]
    known = records(one="done", two="done")
    assert next_hook(hooks, BEFORE, JOB, known) is None
    edited = Job(7, b"a.mp4", b"a", JobState.QUEUED, source_hash="bytes", spec_hash="edited")
    assert name(next_hook(hooks, BEFORE, edited, known)) == "two"
    replaced = Job(7, b"a.mp4", b"a", JobState.QUEUED, source_hash="others", spec_hash="spec")
    assert name(next_hook(hooks, BEFORE, replaced, known)) == "one"


@pytest.mark.parametrize(
    ("settings", "seen", "why"),
    [
        ({}, {"ran_before": True, "complete": True, "filled_for": "bytes"}, ""),
        ({"once": True}, {}, ""),
        ({"once": True}, {"ran_before": True}, "it has run for this video"),
        ({"once": True, "expects": ["x"]}, {"ran_before": True, "filled_for": "bytes"}, ""),
        ({"once": True, "expects": ["x"]}, {"complete": True}, "all that it expects is there already"),
        ({"once": True, "expects": ["x"]}, {"complete": True, "filled_for": "others", "ran_before": True}, ""),
        (
            {"once": True, "expects": ["x"]},
            {"complete": True, "filled_for": "bytes"},
            "it has run for this video, and all that it expects is there",
        ),
    ],
)
def test_once_is_for_a_video_or_a_folder(settings, seen, why):
    """once skips a hook for a video, or for a folder that somebody filled."""
    found = {"ran_before": False, "complete": False, "filled_for": None} | seen
    assert needless(hook(**settings), source_hash="bytes", **found) == why


def test_values_are_not_filled_in_again():
    """What a value holds is not filled in again."""
    values = {"video": "/in/{stem}.mp4", "stem": "{job}", "job": "7"}
    assert (
        filled("{stem}: {video} is {job}; {} { } {A} {a b}", values) == "{job}: /in/{stem}.mp4 is 7; {} { } {A} {a b}"
    )


@pytest.mark.parametrize(
    ("settings", "once"),
    [
        ({}, True),
        ({"per": "variant"}, False),
        ({"argv": ["x", "{spec}"]}, False),
        ({"argv": ["x", "{look}"]}, False),
        ({"when": "after"}, False),
        ({"when": "after", "per": "clip"}, True),
    ],
)
def test_once_a_clip_or_for_each_look(settings, once):
    """By default hooks run once before a clip and after each look; one that names the JSON runs for each look."""
    made = hook(**settings)
    assert made.once_a_clip is once
    facts = {"ran_before": False, "filled_for": None, "source_hash": "bytes", "ran_for_look": True}
    assert needless(made, complete=True, **facts) == ("it has run for another look of this clip" if once else "")
    assert needless(made, complete=False, **facts) == ""


def test_hook_of_a_clip_has_no_json():
    with pytest.raises(ValidationError, match="is another one for each look"):
        hook(per="clip", argv=["x", "{spec}"])


def test_remedy_for_a_missing_file():
    """A hook that expects the file runs again after a retry; otherwise it is said what is lacking."""
    again = "povwatch retry a.mp4"
    expects = hook("other", expects=["{outdir}/{stem}_x.mp4", "{outdir}/sub/h.mp4"])
    assert remedy([expects], JOB, "sub/h.mp4") == f"The hook other expects it and is over: {again} has it run again."
    assert remedy([hook("one"), expects], JOB, "h.mp4").startswith("The hooks before the clip are over (one, other)")
    assert "Have a hook with" in remedy([hook(when="after")], JOB, "h.mp4")
