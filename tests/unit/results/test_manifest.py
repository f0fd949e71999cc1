from __future__ import annotations

import json

from povwatch import __version__
from povwatch.attempt.attempt import Attempt
from povwatch.core.job import Job, JobState
from povwatch.media.info import Checked, Scored, VideoInfo
from povwatch.publish import Entry
from povwatch.results.manifest import PREVIEW_NOTE, SOURCE_FIELDS, manifest

JOB = Job(
    id=7,
    path=b"d/caf\xe9.mp4",
    base=b"caf",
    state=JobState.CHECKING,
    run_id="r1",
    attempts=2,
    crashes=1,
    spec_hash="5bec",
    engine="cosmos",
)
BEGIN, END = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00"
CHECKED = Checked(
    frames=12,
    width=96,
    height=64,
    rate="30000/1001",
    duration=0.4,
    pix_fmt="yuv420p",
    codec="h264",
    audio="aac",
    size=10,
    sha256="c0de",
)


def made(drawn=None, others=(), **changes):
    values = {
        "info": VideoInfo(complete=True, frames=12, sha256="50c3").to_json(),
        "spec": {"name": "caf", "seed": 3, "prompt": "Hände", "edge": {"control_weight": 1.0}},
        "capabilities": {"name": "cosmos", "version": "1", "real": True},
        "artifact": {"path": "/secret/out.mp4", "frames": 12, "peak_memory": 5},
        "sound": {"path": "/secret/sound.mp4", "audio": "aac", "copied": True, "problem": "", "changed": ""},
        "seconds": {"generate": 1.5},
        "gpu": {},
    }
    attempt = Attempt(folder="/secret", **(values | changes))
    entry = Entry(b"final.mp4", b"d/caf/caf_aug_v2.mp4", 10, "c0de")
    return manifest(
        JOB, attempt, attempt.spec, [entry, *others], CHECKED, drawn=drawn, started_at=BEGIN, finished_at=END
    )


def test_holds_all_to_run_it_again():
    """The manifest holds all that it takes to run the job again."""
    text = json.loads(made())
    assert (text["povwatch"], text["manifest_version"], text["kind"]) == (__version__, 1, "aug")
    assert bytes.fromhex(text["source"]["path_hex"]) == JOB.path
    assert text["clip"] == r"d/caf\xe9.mp4"
    assert set(text["source"]) == {"path_hex", "base_hex", *SOURCE_FIELDS}
    assert text["source"]["sha256"] == "50c3"
    assert text["spec"]["prompt"] == "Hände"
    assert (text["seed"], text["spec_hash"]) == (3, "5bec")
    assert (text["job"], text["run_id"], text["attempt"], text["crashes"]) == (7, "r1", 2, 1)
    assert (text["engine"]["name"], text["engine"]["kind"]) == ("cosmos", "cosmos")
    assert bytes.fromhex(text["source"]["base_hex"]) == JOB.base
    assert text["seconds"] == {"generate": 1.5}


def test_scores_are_numbers_alone():
    """The words of scores without a number, and what else is known, are beside them."""
    scored = Scored({"blur_ssim": 0.9}, {"edge_f1": "no-control"}, {"blur_ssim": {"x": 1}}, 12).to_json()
    text = json.loads(made(scored=scored))
    assert text["scores"] == {"blur_ssim": 0.9}
    assert text["scores_about"] == {
        "frames": 12,
        "missing": {"edge_f1": "no-control"},
        "details": {"blur_ssim": {"x": 1}},
    }
    assert "scores" not in json.loads(made())


def test_contact_sheet_is_described():
    sheet = Entry(b"sheet.jpg", b"d/caf/caf_sheet_v2.jpg", 20, "5ee7")
    text = json.loads(made(scored={"sheet": True}, others=[sheet]))
    assert text["sheet"] == {
        "file": "caf_sheet_v2.jpg",
        "path_hex": sheet.target.hex(),
        "sha256": "5ee7",
        "size": 20,
    }


def test_describes_the_file_beside_it():
    output = json.loads(made())["output"]
    assert (output["file"], output["sha256"], output["size"]) == ("caf_aug_v2.mp4", "c0de", 10)
    assert bytes.fromhex(output["path_hex"]) == b"d/caf/caf_aug_v2.mp4"
    assert (output["frames"], output["rate"], output["audio"]) == (12, "30000/1001", "aac")


DIFFUSERS = {
    "name": "diffusers",
    "version": "0.42.1",
    "real": True,
    "model": "nvidia/Cosmos-Transfer2.5-2B",
    "revisions": {"base": "c0ffee"},
    "files": {"vae/model.safetensors": {"size": 9, "sha256": "ab"}},
    "libraries": {"torch": "2.13.0"},
    "guardrails": True,
    "device": "NVIDIA H200",
}
JOB_DONE = {
    "path": "/secret/out.mp4",
    "frames": 200,
    "seed": 3,
    "num_steps": 35,
    "guidance": 3.0,
    "chunks": 3,
    "chunks_resumed": 1,
    "guardrails": True,
    "seconds": {"denoise": 200.5, "decode": 9.0},
    "peak_memory_bytes": 13_700_000_000,
}


def test_what_made_it_is_on_record():
    """The manifest has the model, its files, libraries, settings, chunks and GPU."""
    spec = {"name": "a", "seed": 3, "num_steps": 35, "guidance": 3, "edge": {"control_weight": 0.7}, "vis": {}}
    seen = {"name": "NVIDIA H200", "uuid": "GPU-1", "peak_memory": 14_000_000_000, "energy": 5.5}
    text = json.loads(made(spec=spec, capabilities=DIFFUSERS, artifact=JOB_DONE, gpu=seen))
    assert text["model"]["name"] == "nvidia/Cosmos-Transfer2.5-2B"
    assert text["model"]["revisions"] == {"base": "c0ffee"}
    assert text["model"]["files"] == {"vae/model.safetensors": {"size": 9, "sha256": "ab"}}
    assert text["libraries"] == {"torch": "2.13.0"}
    assert (text["seed"], text["num_steps"], text["guidance"]) == (3, 35, 3.0)
    assert text["controls"] == {"edge": 0.7, "vis": 1.0}
    assert (text["chunks"], text["chunks_resumed"], text["guardrails"]) == (3, 1, True)
    assert text["seconds_of_generate"] == {"denoise": 200.5, "decode": 9.0}
    assert text["gpu"] == {"name": "NVIDIA H200", "uuid": "GPU-1", "peak_memory": 13_700_000_000, "energy": 5.5}


def test_guardrails_on_or_off():
    """Guardrails are named, whether they are on or off."""
    for on in (True, False):
        assert json.loads(made(capabilities={"name": "x", "real": True, "guardrails": on}))["guardrails"] is on
    assert json.loads(made(capabilities={"name": "preview"}))["guardrails"] is None


def test_unsaid_is_as_in_the_spec():
    """What the engine does not say is as the spec has it."""
    text = json.loads(made(artifact={"path": "x"}, gpu={"peak_memory": 7}))
    assert (text["seed"], text["num_steps"], text["controls"]) == (3, None, {"edge": 1.0})
    assert text["gpu"] == {"name": None, "peak_memory": 7}
    assert "chunks" not in text


def test_drawn_words_are_on_record():
    """What was drawn is on record, and nothing where nothing was drawn."""
    assert json.loads(made(drawn={"light": "lamp"}))["drawn"] == {"light": "lamp"}
    assert "drawn" not in json.loads(made(drawn={}))


def test_shared_controls_are_on_record():
    """The manifest says which look has computed a control, and of what file, without its path."""
    edge = {"setting": {"key": "edge"}, "frames": 12, "path": "/secret/e.mp4", "sha256": "ed9e", "size": 5}
    vis = edge | {"setting": {"key": "vis"}, "sha256": "0b5"}
    artifact = {"path": "/secret/x", "control_files": [vis], "control_files_used": {"edge": "ed9e"}}
    data = made(artifact=artifact, control_files=[edge, edge | {"sha256": "other"}])
    known = {"frames": 12, "size": 5}
    assert json.loads(data)["control_files"] == {
        "edge": {**known, "setting": {"key": "edge"}, "sha256": "ed9e", "computed_by": "another look"},
        "vis": {**known, "setting": {"key": "vis"}, "sha256": "0b5", "computed_by": "this look"},
    }
    assert b"/secret" not in data
    assert json.loads(data)["generated"] == {}
    assert "control_files" not in json.loads(made())


def test_private_paths_stay_private():
    assert b"/secret" not in made()
    assert json.loads(made())["generated"] == {"frames": 12, "peak_memory": 5}


def test_preview_says_what_it_is():
    for capabilities in ({"name": "preview", "real": False}, {"name": "toy"}):
        text = json.loads(made(capabilities=capabilities))
        assert (text["kind"], text["note"]) == ("preview", PREVIEW_NOTE)
    assert "note" not in json.loads(made())


def test_it_is_for_people_too():
    """The manifest is indented, and readable in every language."""
    data = made()
    assert data.endswith(b"}\n")
    assert "Hände".encode() in data
    assert data.count(b"\n") > 40


def test_lone_surrogates_are_escaped():
    """Lone surrogates are JSON's own escapes."""
    data = made(artifact={"path": "", "note": "\udcff\ud800"})
    assert json.loads(data.decode())["generated"]["note"] == "\udcff\ud800"


def test_terminal_obeys_nothing_in_it():
    """A terminal obeys nothing in a manifest, and every language is readable."""
    words = "Hände 手 🖐 \x9b31m\u202e\u2028\U000e0001\ud800\x1b\x7f"
    text = made(spec={"prompt": words}, artifact={"path": "/x", "note": words}).decode()
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text)["spec"]["prompt"] == words
    assert "Hände 手 🖐" in text
