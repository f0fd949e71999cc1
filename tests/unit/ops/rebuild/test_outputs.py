"""Manifests in an outputs folder: what counts as one, and what is made of one that does not."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from povwatch.attempt.attempt import Attempt
from povwatch.core.job import Job, JobState
from povwatch.media.info import Checked, VideoInfo
from povwatch.ops.rebuild.outputs import Result, find_promises, first, parse, read_outputs
from povwatch.publish import Entry, Publisher
from povwatch.results.manifest import manifest

RESULT = b"a video, more or less"
SHA = hashlib.sha256(RESULT).hexdigest()
JOB = Job(
    id=7,
    path=b"d/caf\xe9.mp4",
    base=b"caf\xe9",
    state=JobState.CHECKING,
    run_id="r1",
    attempts=2,
    spec_hash="5bec",
    engine="cosmos",
)


def text(target=b"d/caf\xe9/caf\xe9_aug.mp4", job=JOB):
    return manifest(
        job,
        Attempt(
            folder="/secret",
            info=VideoInfo(complete=True, frames=12, sha256="5" * 64, size=3).to_json(),
            spec={},
            capabilities={"name": "cosmos", "real": True, "kind": "something of the engine's own"},
            artifact={"path": "/secret"},
        ),
        {"name": "a", "seed": 3, "edge": {}},
        [Entry(b"final.mp4", target, len(RESULT), SHA)],
        Checked(12, 96, 64, "30/1", 0.4, "yuv420p", "h264", None, len(RESULT), SHA),
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:01:00+00:00",
    )


def put(outputs, name, data):
    file = outputs / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


@pytest.fixture
def outputs(tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def test_manifest_says_all_a_journal_needs():
    made = parse(text())
    assert isinstance(made, Result)
    assert (made.path, made.base, made.output.target) == (b"d/caf\xe9.mp4", b"caf\xe9", b"d/caf\xe9/caf\xe9_aug.mp4")
    assert (made.source_hash, made.spec_hash, made.engine) == ("5" * 64, "5bec", "cosmos")
    assert (made.job, made.run_id, made.attempts, made.finished - made.started) == (7, "r1", 2, 60)


def test_manifest_names_its_look():
    """A manifest says of which look its result is; one that nobody can have is refused."""
    look = dataclasses.replace(JOB, look="nacht_ä")
    assert parse(text(job=look)).look == "nacht_ä"
    assert parse(text()).look == ""
    wrong = json.loads(text(job=look)) | {"look": "../night"}
    assert "look cannot be used" in parse(json.dumps(wrong).encode())


def test_result_is_beside_its_manifest(outputs):
    """A result is looked for beside its manifest, wherever its folder was moved."""
    put(outputs, "elsewhere/x_aug_v2.mp4", RESULT)
    put(outputs, "elsewhere/x_aug_v2.json", text())
    (made,) = read_outputs(outputs).results
    assert (made.output.target, made.file, made.problem) == (b"elsewhere/x_aug_v2.mp4", b"elsewhere/x_aug_v2.json", "")


def test_missing_or_foreign_results(outputs):
    """A result that is missing, or another file, is told."""
    put(outputs, "a/a_aug.json", text())
    put(outputs, "b/b_aug.json", text())
    put(outputs, "b/b_aug.mp4", b"somebody's")
    problems = sorted(made.problem for made in read_outputs(outputs).results)
    assert problems == [
        "a/a_aug.mp4 is not there, only its manifest is",
        "b/b_aug.mp4 is not the file that its manifest describes",
    ]


def changed(**fields):
    value = json.loads(text())
    for key, new in fields.items():
        where, _, inner = key.partition("__")
        if inner:
            value[where][inner] = new
        else:
            value[where] = new
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (changed(engine={"name": "cosmos"}), "engine.kind"),
        (changed(source__path_hex="2e2e2f61"), "'..' in a path"),
        (changed(output__path_hex="2f61"), "not a relative path"),
        (changed(source__base_hex="zz"), "a path in it"),
        (changed(source__path_hex=""), "empty"),
        (changed(finished_at="yesterday"), "finished_at"),
        (changed(job=0), "job"),
    ],
)
def test_unusable_manifest_is_told(outputs, data, why):
    """A manifest that cannot be used is told and describes nothing."""
    put(outputs, "a/a_aug.json", data)
    put(outputs, "a/a_aug.mp4", RESULT)
    found = read_outputs(outputs)
    assert found.results == []
    assert why in found.unusable[b"a/a_aug.json"]
    assert b"a/a_aug.mp4" in found.without_manifest()
    assert first(outputs) == b"a/a_aug.json"  # it still says that something was published


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[1]", b'{"hands": 2}', b"\xff\xfe", b'["manifest_version", "povwatch"]'),
        *(text()[:400], b"[" * 100_000),
    ],
)
def test_foreign_files_are_ignored(outputs, data):
    """JSON files of other people are no manifests."""
    put(outputs, "a/1_mano.json", data)
    found = read_outputs(outputs)
    assert (found.results, found.unusable) == ([], {})
    assert first(outputs) is None


def test_no_link_is_followed(outputs, tmp_path):
    """No link is followed, and our own folder is not looked into."""
    put(tmp_path, "outside/a_aug.json", text())
    (outputs / "link").symlink_to(tmp_path / "outside")
    (outputs / "a.json").symlink_to(tmp_path / "outside/a_aug.json")
    put(outputs, ".povwatch/7.r1/manifest_v1.json", text())
    assert read_outputs(outputs).files == {}
    assert first(outputs) is None


def test_unlistable_folder_is_told(outputs, monkeypatch):
    put(outputs, "a/a_aug.json", text())
    import os  # noqa: PLC0415 - patched for this test alone

    real = os.listdir

    def refuse(fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/a"):  # noqa: PTH115
            raise PermissionError(13, "Permission denied")
        return real(fd)

    monkeypatch.setattr("povwatch.ops.rebuild.outputs.os.listdir", refuse)
    assert read_outputs(outputs).unreadable == {b"a": "Permission denied"}


# -- sealed results


def sealed(outputs, *, taken=False):
    """A run's private folder as `seal` leaves it."""
    publisher = Publisher(outputs)
    folder = publisher.staging.make(JOB.id, JOB.run_id)
    (folder / "final.mp4").write_bytes(RESULT)
    (folder / "working.mp4").write_bytes(b"x")
    if taken:
        put(outputs, "a/a_aug.mp4", b"somebody's")
    names = lambda version: [b"a/a_aug.mp4" if version == 1 else b"a/a_aug_v%d.mp4" % version]  # noqa: E731
    return publisher, publisher.seal(
        JOB.id,
        JOB.run_id,
        [folder / "final.mp4"],
        names=names,
        describe=lambda entries: text(entries[0].target, dataclasses.replace(JOB)),
    )


@pytest.mark.parametrize("taken", [False, True])
def test_sealed_result_is_a_promise_again(outputs, taken):
    """What was sealed is the same promise again, and can be published."""
    publisher, promise = sealed(outputs, taken=taken)
    publisher.staging.make(8, "never sealed")
    (found,), lost = find_promises(outputs, (), hooks=True)
    assert found.sealed == promise
    assert lost == 1
    assert publisher.publish(found.sealed).gone == ()


def test_promise_of_several_files(outputs):
    """Control videos and the contact sheet that are still in the private folder are promised, too."""
    publisher = Publisher(outputs)
    folder = publisher.staging.make(JOB.id, JOB.run_id)
    for name in ("final.mp4", "control_edge.mp4", "sheet.jpg"):
        (folder / name).write_bytes(RESULT)

    def describe(entries):
        other = {"sheet": entries[2], "edge": entries[1]}
        files = {name: {"path_hex": e.target.hex(), "sha256": e.sha256, "size": e.size} for name, e in other.items()}
        found = {"sheet": files["sheet"], "control_videos": {"edge": files["edge"]}}
        return json.dumps(json.loads(text(entries[0].target)) | found).encode()

    names = lambda _: [b"a/a_aug.mp4", b"a/a_aug_control_edge.mp4", b"a/a_sheet.jpg"]  # noqa: E731
    files = [folder / name for name in ("final.mp4", "control_edge.mp4", "sheet.jpg")]
    promise = publisher.seal(JOB.id, JOB.run_id, files, names=names, describe=describe)
    (found,), _ = find_promises(outputs, (), hooks=True)
    assert found.sealed == promise
    (folder / "sheet.jpg").write_bytes(b"another")
    (found,), _ = find_promises(outputs, (), hooks=True)
    assert [entry.target for entry in found.sealed.entries] == [
        b"a/a_aug.mp4",
        b"a/a_aug_control_edge.mp4",
        b"a/a_aug.json",
    ]


def test_half_visible_is_still_a_promise(outputs):
    publisher, promise = sealed(outputs)
    (outputs / "a").mkdir()
    (outputs / ".povwatch/7.r1/final.mp4").rename(outputs / "a/a_aug.mp4")
    (found,), _ = find_promises(outputs, (), hooks=True)
    assert found.sealed == promise
    assert publisher.publish(found.sealed).gone == ()


def test_visible_is_a_promise_for_hooks(outputs):
    """A visible result is a promise only where hooks follow it."""
    publisher, promise = sealed(outputs)
    publisher.publish(promise)
    (made,) = read_outputs(outputs).results
    assert find_promises(outputs, [made], hooks=False) == ([], 0)
    (found,), lost = find_promises(outputs, [made], hooks=True)
    assert (found.result, found.sealed, lost) == (made, promise, 0)
    assert publisher.publish(found.sealed).gone == ()
    (outputs / "a/a_aug.mp4").write_bytes(b"somebody's")
    (made,) = read_outputs(outputs).results
    assert find_promises(outputs, [made], hooks=True) == ([], 0)


@pytest.mark.parametrize("what", ["final.mp4", "manifest_v1.json"])
def test_damaged_file_is_no_promise(outputs, what):
    """What is not whole is no promise."""
    sealed(outputs)
    file = outputs / ".povwatch/7.r1" / what
    file.write_bytes(file.read_bytes()[:-3])
    assert find_promises(outputs, (), hooks=True) == ([], 1)


def test_manifest_in_the_wrong_folder(outputs):
    """A manifest in another job's folder is no promise."""
    sealed(outputs)
    (outputs / ".povwatch/7.r1").rename(outputs / ".povwatch/9.r1")
    assert find_promises(outputs, (), hooks=True) == ([], 1)


def test_no_private_folder(outputs):
    assert find_promises(outputs, (), hooks=True) == ([], 0)
