"""How the clips are restored when the journal is made again; nothing is read from a disk here."""

from __future__ import annotations

import pytest

from povwatch.ops.rebuild.manifests import Made
from povwatch.ops.rebuild.plan import Clip, Fate, bases_of, leftovers, plan
from povwatch.ops.rebuild.rooms import Room
from povwatch.publish import Entry, Sealed

LAYOUT = "{folder}/{stem}/{stem}_{kind}.mp4"


def made(path=b"a.mp4", base=b"a", *, job=1, run="r1", source="A", spec="s", at=1.0, problem="", version=""):
    target = b"%s/%s_aug%s.mp4" % (base, base, version.encode())
    output = Entry(b"", target, 10, "c0de")
    file = target[:-3] + b"json"
    return Made(path, base, output, source, spec, "cosmos", job, run, 1, 0, at - 1, at, {}, file, problem)


def clip(path=b"a.mp4", base=b"a", *, source="A", spec="s", **to):
    return Clip(path, base, b"stat", source, has_spec=spec is not None, spec_hash=spec, **to)


def room(one):
    return Room(one, Sealed(one.job, one.run_id, 1, (one.output,)))


def fate(results=(), clips=(), *, rooms=(), strays=None, hold=False):
    found = plan(list(results), list(rooms), list(clips), strays or {}, hold=hold)
    return {verdict.path: (verdict.fate, verdict.why) for verdict in found.verdicts}


def test_the_same_clip_with_the_same_json_is_done():
    assert fate([made()], [clip()]) == {b"a.mp4": (Fate.DONE, "")}


def test_without_a_json_it_is_what_it_was():
    assert fate([made()], [clip(spec=None)])[b"a.mp4"][0] is Fate.DONE


@pytest.mark.parametrize("spec", ["other", ""])
def test_another_json_is_another_run_as_ever(spec):
    where, why = fate([made()], [Clip(b"a.mp4", b"a", b"stat", "A", has_spec=True, spec_hash=spec or None)])[b"a.mp4"]
    assert where is Fate.EDITED
    assert ("cannot be run" in why) is not spec


def test_a_json_that_is_as_it_was_for_an_older_result_is_done_too():
    results = [made(spec="old"), made(job=2, run="r2", spec="new", at=2, version="_v2")]
    assert fate(results, [clip(spec="old")])[b"a.mp4"][0] is Fate.DONE


def test_other_content_under_the_name_is_new_and_its_result_stays_known():
    found = plan([made()], [], [clip(source="B")], {}, hold=False)
    assert [(verdict.path, verdict.fate) for verdict in found.verdicts] == [(b"a.mp4", Fate.NEW)]
    assert [number for number, _ in found.made] == [1]


def test_a_clip_that_was_never_done_is_new_or_held_if_that_is_asked_for():
    assert fate([], [clip(source=None)])[b"a.mp4"] == (Fate.NEW, "")
    assert fate([], [clip(source=None)], hold=True)[b"a.mp4"][0] is Fate.HELD
    assert fate([made()], [clip(spec="other")], hold=True)[b"a.mp4"][0] is Fate.HELD
    assert fate([made()], [clip()], hold=True)[b"a.mp4"][0] is Fate.DONE


def test_a_result_without_a_manifest_holds_the_clip_that_it_may_belong_to():
    strays = {b"a.mp4": b"a/a_aug.mp4"}
    where, why = fate([], [clip(source=None)], strays=strays)[b"a.mp4"]
    assert where is Fate.HELD
    assert why == "a/a_aug.mp4 has no manifest, and may be its result"
    assert fate([made()], [clip(spec="other")], strays=strays)[b"a.mp4"][0] is Fate.HELD
    assert fate([made()], [clip()], strays=strays)[b"a.mp4"][0] is Fate.DONE


def test_a_clip_that_cannot_be_read_is_held():
    where, why = fate([made()], [Clip(b"a.mp4", b"a", b"stat", unreadable="Permission denied")])[b"a.mp4"]
    assert where is Fate.HELD
    assert "Permission denied" in why


def test_a_manifest_without_its_result_is_no_reason_for_a_second_run():
    assert fate([made(problem="it is not there")], [clip()]) == {b"a.mp4": (Fate.DONE, "it is not there")}


def test_a_result_whose_clip_is_gone_stays_known():
    found = plan([made()], [], [], {}, hold=False)
    assert found.verdicts[0].fate is Fate.GONE
    assert found.bases == {b"a.mp4": b"a"}


def test_a_sealed_result_is_published_and_its_clip_is_not_run():
    assert fate([], [clip()], rooms=[room(made(job=5))])[b"a.mp4"][0] is Fate.PUBLISH
    assert fate([], [], rooms=[room(made(job=5))])[b"a.mp4"][0] is Fate.PUBLISH


def test_a_visible_result_with_hooks_to_come_is_promised_once_more():
    one = made(job=5)
    found = plan([one], [room(one)], [clip()], {}, hold=False)
    assert [kept.made for kept in found.rooms] == [one]
    assert found.made == []
    assert found.verdicts[0].fate is Fate.PUBLISH


def test_a_visible_result_that_a_newer_one_followed_is_known_and_its_hooks_are_not_run():
    one, newer = made(job=5), made(job=6, run="r6", spec="edited", at=2)
    found = plan([one, newer], [room(one)], [clip(spec="edited")], {}, hold=False)
    assert found.rooms == []
    assert [number for number, _ in found.made] == [5, 6]
    assert found.verdicts[0].fate is Fate.DONE


def test_numbers_stay_where_they_can_and_a_clip_s_newest_job_has_the_highest():
    results = [
        made(job=7, at=1),
        made(b"b.mp4", b"b", job=7, run="of another journal", at=2),
        made(job=3, run="of another journal", at=3, version="_v2"),
    ]
    assert [number for number, _ in plan(results, [], [], {}, hold=False).made] == [7, 8, 9]
    # The room goes by its job's number: that is no other's.
    found = plan([made(b"b.mp4", b"b", job=7)], [room(made(job=7, run="r7"))], [], {}, hold=False)
    assert [number for number, _ in found.made] == [8]
    assert [kept.made.job for kept in found.rooms] == [7]


def test_a_copy_of_a_result_counts_once_and_the_one_with_its_video_counts():
    results = [made(problem="it is not there"), made()]
    assert [one.problem for _, one in plan(results, [], [], {}, hold=False).made] == [""]


def test_two_clips_that_claim_one_name_do_not_both_get_it():
    found = bases_of([made(b"a.mp4", b"a"), made(b"a.mov", b"a", at=2)], [])
    assert found == {b"a.mov": b"a"}


def test_strays_are_told_by_the_clip_s_names_in_any_version():
    bases = {b"a.mp4": b"a", b"d/a.mov": b"a.mov", b"c.mp4": b"c"}
    strays = [b"a/a_aug_v12.mp4", b"d/a.mov/a.mov_preview.mp4", b"c/1_mano_overlay.mp4", b"c/c_aug.txt"]
    assert leftovers(LAYOUT, bases, strays) == {
        b"a.mp4": b"a/a_aug_v12.mp4",
        b"d/a.mov": b"d/a.mov/a.mov_preview.mp4",
    }
