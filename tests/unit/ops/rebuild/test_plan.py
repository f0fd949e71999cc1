"""How the clips are restored when the journal is made again; nothing is read from a disk here."""

from __future__ import annotations

import dataclasses

import pytest

from povwatch.core.looks import Owner
from povwatch.media.info import Checked
from povwatch.ops.rebuild.outputs import Promise, Result
from povwatch.ops.rebuild.plan import Clip, Fate, bases_of, leftovers, plan
from povwatch.ops.rebuild.restore import jobs
from povwatch.publish import Entry, Sealed

LAYOUT = "{folder}/{stem}/{stem}_{kind}.mp4"


def made(path=b"a.mp4", base=b"a", *, job=1, run="r1", source="A", spec="s", at=1.0, problem="", version="", look=""):
    target = b"%s/%s_aug%s.mp4" % (base, base, version.encode())
    output = Entry(b"", target, 10, "c0de")
    file = target[:-3] + b"json"
    text = {"source": {}, "engine": {}, "output": {field.name: None for field in dataclasses.fields(Checked)}}
    return Result(path, base, output, source, spec, "cosmos", job, run, 1, 0, at - 1, at, text, file, problem, look)


def clip(path=b"a.mp4", base=b"a", *, source="A", spec="s", **to):
    return Clip(path, base, b"stat", source, has_spec=spec is not None, spec_hash=spec, **to)


def promise(one):
    return Promise(one, Sealed(one.job, one.run_id, 1, (one.output,)))


def fate(results=(), clips=(), *, promises=(), strays=None, hold=False):
    found = plan(list(results), list(promises), list(clips), strays or {}, hold=hold)
    return {verdict.path: (verdict.fate, verdict.why) for verdict in found.verdicts}


def test_same_clip_and_json_is_done():
    assert fate([made()], [clip()]) == {b"a.mp4": (Fate.DONE, "")}


def test_without_a_json_it_is_done():
    """A clip without a JSON is what it was."""
    assert fate([made()], [clip(spec=None)])[b"a.mp4"][0] is Fate.DONE


@pytest.mark.parametrize("spec", ["other", ""])
def test_another_json_is_another_run(spec):
    where, why = fate([made()], [Clip(b"a.mp4", b"a", b"stat", "A", has_spec=True, spec_hash=spec or None)])[b"a.mp4"]
    assert where is Fate.EDITED
    assert ("cannot be run" in why) is not spec


def test_json_of_an_older_result_is_done():
    """A JSON that is as it was for an older result is done, too."""
    results = [made(spec="old"), made(job=2, run="r2", spec="new", at=2, version="_v2")]
    assert fate(results, [clip(spec="old")])[b"a.mp4"][0] is Fate.DONE


def test_other_content_is_new():
    """Other content under a name is new, and the old result stays known."""
    found = plan([made()], [], [clip(source="B")], {}, hold=False)
    assert [(verdict.path, verdict.fate) for verdict in found.verdicts] == [(b"a.mp4", Fate.NEW)]
    assert [number for number, _ in found.results] == [1]


def test_undone_clip_is_new_or_held():
    """A clip that was never done is new, or held if that is asked for."""
    assert fate([], [clip(source=None)])[b"a.mp4"] == (Fate.NEW, "")
    assert fate([], [clip(source=None)], hold=True)[b"a.mp4"][0] is Fate.HELD
    assert fate([made()], [clip(spec="other")], hold=True)[b"a.mp4"][0] is Fate.HELD
    assert fate([made()], [clip()], hold=True)[b"a.mp4"][0] is Fate.DONE


def test_result_without_a_manifest_holds():
    """A result without a manifest holds the clip that it may belong to."""
    strays = {Owner(b"a.mp4", ""): b"a/a_aug.mp4"}
    where, why = fate([], [clip(source=None)], strays=strays)[b"a.mp4"]
    assert where is Fate.HELD
    assert why == "a/a_aug.mp4 has no manifest, and may be its result"
    assert fate([made()], [clip(spec="other")], strays=strays)[b"a.mp4"][0] is Fate.HELD
    assert fate([made()], [clip()], strays=strays)[b"a.mp4"][0] is Fate.DONE


def test_unreadable_clip_is_held():
    where, why = fate([made()], [Clip(b"a.mp4", b"a", b"stat", unreadable="Permission denied")])[b"a.mp4"]
    assert where is Fate.HELD
    assert "Permission denied" in why


def test_manifest_without_its_result_is_done():
    """A manifest without its result is no reason for a second run."""
    assert fate([made(problem="it is not there")], [clip()]) == {b"a.mp4": (Fate.DONE, "it is not there")}


def test_result_of_a_gone_clip_stays_known():
    found = plan([made()], [], [], {}, hold=False)
    assert found.verdicts[0].fate is Fate.GONE
    assert found.bases == {b"a.mp4": b"a"}


def test_sealed_result_is_published():
    """A sealed result is published, and its clip does not run."""
    assert fate([], [clip()], promises=[promise(made(job=5))])[b"a.mp4"][0] is Fate.PUBLISH
    assert fate([], [], promises=[promise(made(job=5))])[b"a.mp4"][0] is Fate.PUBLISH


def test_visible_result_with_hooks_to_come():
    """A visible result with hooks to come is promised once more."""
    one = made(job=5)
    found = plan([one], [promise(one)], [clip()], {}, hold=False)
    assert [kept.result for kept in found.promises] == [one]
    assert found.results == []
    assert found.verdicts[0].fate is Fate.PUBLISH


def test_followed_result_runs_no_hooks():
    """A result that a newer one followed is known, and its hooks do not run."""
    one, newer = made(job=5), made(job=6, run="r6", spec="edited", at=2)
    found = plan([one, newer], [promise(one)], [clip(spec="edited")], {}, hold=False)
    assert found.promises == []
    assert [number for number, _ in found.results] == [5, 6]
    assert found.verdicts[0].fate is Fate.DONE


def test_job_numbers():
    """Numbers stay where they can, and a clip's newest job has the highest."""
    results = [
        made(job=7, at=1),
        made(b"b.mp4", b"b", job=7, run="of another journal", at=2),
        made(job=3, run="of another journal", at=3, version="_v2"),
    ]
    assert [number for number, _ in plan(results, [], [], {}, hold=False).results] == [7, 8, 9]
    # The private folder goes by its job's number: that is no other's.
    found = plan([made(b"b.mp4", b"b", job=7)], [promise(made(job=7, run="r7"))], [], {}, hold=False)
    assert [number for number, _ in found.results] == [8]
    assert [kept.result.job for kept in found.promises] == [7]


def test_copy_of_a_result_counts_once():
    """A copy of a result counts once; the one with its video counts."""
    results = [made(problem="it is not there"), made()]
    assert [one.problem for _, one in plan(results, [], [], {}, hold=False).results] == [""]


def test_two_clips_claim_one_name():
    """Of two clips that claim one base the later one gets it."""
    found = bases_of([made(b"a.mp4", b"a"), made(b"a.mov", b"a", at=2)], [])
    assert found == {b"a.mov": b"a"}


def test_strays_in_any_version():
    """Stray results are found by the clip's names, in any version."""
    clips = {Owner(b"a.mp4", ""): b"a", Owner(b"d/a.mov", ""): b"a.mov", Owner(b"c.mp4", ""): b"c"}
    bases = clips | {Owner(b"a.mp4", "night"): b"a", Owner(b"a.mp4", "rain"): b"a"}
    strays = [b"a/a_aug_v12.mp4", b"d/a.mov/a.mov_preview.mp4", b"c/1_mano_overlay.mp4", b"c/c_aug.txt"]
    assert leftovers(LAYOUT, bases, [*strays, b"a/a_night_aug_v2.mp4"]) == {
        (b"a.mp4", ""): b"a/a_aug_v12.mp4",
        (b"d/a.mov", ""): b"d/a.mov/a.mov_preview.mp4",
        (b"a.mp4", "night"): b"a/a_night_aug_v2.mp4",
    }


def test_looks_apart():
    """Each look of a clip is judged by its own results."""
    results = [made(), made(job=2, run="r2", spec="n", look="night"), made(job=3, run="r3", spec="g", look="gone")]
    clips = [clip(), clip(spec="n", look="night"), clip(spec="s", look="rain"), clip(spec="x", look="snow")]
    strays = {Owner(b"a.mp4", "snow"): b"a/a_snow_aug.mp4"}
    found = plan(results, [promise(made(job=4, run="r4", look="rain"))], clips, strays, hold=False)
    assert [(verdict.called, verdict.fate) for verdict in found.verdicts] == [
        (b"a.mp4", Fate.DONE),
        (b"a.mp4@gone", Fate.GONE),
        (b"a.mp4@night", Fate.DONE),
        (b"a.mp4@rain", Fate.PUBLISH),
        (b"a.mp4@snow", Fate.HELD),
    ]
    restored = {restored.job.look: restored.job for restored in jobs(found, clips, 9.0)}
    assert {look: (job.id, str(job.state)) for look, job in restored.items()} == {
        "": (1, "done"),
        "night": (2, "done"),
        "gone": (3, "done"),
        "rain": (4, "publishing"),
        "snow": (5, "arriving"),
    }
    assert restored["snow"].hold
