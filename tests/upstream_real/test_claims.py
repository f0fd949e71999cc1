"""What the cosmos engine claims, held against upstream's own package and against its double.

Upstream's runs in tiny networks of random weights on a CPU, under script/upstream-proof alone; the double runs always.
So a double that behaves otherwise than upstream fails here.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.clips import make_clip, upright_frames
from support.cosmos_jobs import job
from support.disks import fill, small_disk
from support.upstream_packages import LONG, PACKAGES, Worker

from povwatch.core import errors
from povwatch.engines import text_filters
from povwatch.engines.needs import GUARDS
from povwatch.engines.upstream.leaving import taken
from povwatch.media.lossless import LosslessWriter
from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.states import SupervisorState

pytestmark = pytest.mark.timeout(1200)

SIZE = (160, 96)

CHUNKS = 3

FRAMES = 200
"""Three chunks of 93 frames, each of which goes on with a frame of the one before."""

ENDS = (protocol.Generated, events.JobFailed, events.JobCancelled, events.WorkerLost)

ROUNDING = 0.02
"""By how much latents may differ that bfloat16 rounds on other ways."""

ALL = ["edge", "vis", "depth", "seg"]


@pytest.fixture(scope="module", params=PACKAGES)
def package(request):
    return PACKAGES[request.param]()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Clips by number of frames, and a control, masks and a picture for the short one."""
    folder = tmp_path_factory.mktemp("files")
    made = {n: make_clip(folder / f"{n}.mp4", frames=n, size=SIZE, fps=24) for n in (1, 2, 12, 120, FRAMES)}
    made["control"] = make_clip(folder / "control.mp4", frames=12, first=90, size=SIZE, fps=24)
    made["mask"] = _mask(folder / "mask.mp4")
    made["kept"] = folder / "kept.npz"
    np.savez(made["kept"], (np.arange(SIZE[0]) < SIZE[0] // 2)[None, None] * np.ones((12, SIZE[1], 1), np.uint8))
    made["labels"] = folder / "labels.npz"
    np.savez(
        made["labels"],
        np.where(np.arange(SIZE[0]) < SIZE[0] // 4, 1, 2)[None, None] * np.ones((12, SIZE[1], 1), np.uint8),
    )
    made["style"] = folder / "style.png"
    next(iter(_images(made[12]))).save(made["style"])
    return made


def _images(path):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_image()


def _mask(path):
    """White on the left, black on the right."""
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:, : SIZE[0] // 2] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class Desk:
    """Gives jobs to a worker, each in a folder of its own."""

    def __init__(self, loop, folder):
        self.loop, self.folder, self.count = loop, folder, 0

    def begin(self, wanted, chunks=None, *, workdir=None):
        """Begin a job; `chunks` names the folder for its finished chunks, else it gets a new one."""
        self.count += 1
        self.workdir = workdir or self.folder / f"work-{self.count}"
        self.workdir.mkdir(exist_ok=True)
        self.chunks = self.folder / (chunks or f"chunks-{self.count}")
        self.ready()
        self.loop.forget()
        request = protocol.Generate(wanted, f"r{self.count}", str(self.workdir), str(self.chunks))
        self.loop.supervisor.generate(request)
        return request.run_id

    def end(self):
        return self.loop.until(ENDS, within=LONG)

    def do(self, wanted, chunks=None, **how):
        self.begin(wanted, chunks, **how)
        return self.end()

    def made(self, wanted, chunks=None):
        """The artifact of a job that has to succeed."""
        end = self.do(wanted, chunks)
        assert isinstance(end, protocol.Generated), end
        return end.artifact

    def until_in(self, chunk):
        """Wait until a chunk is denoised, past its first step."""

        def there():
            seen = [p for p in self.loop.of(protocol.Progress) if (p.chunk, p.stage) == (chunk, "denoise") and p.step]
            assert not any(isinstance(event, ENDS) for event in self.loop.events), self.loop.events[-3:]
            return seen or None

        self.loop._run(there, f"chunk {chunk}", LONG)

    def ready(self):
        """Wait for the worker: pytest-xdist may run a test after one that has cost the worker."""
        self.loop.until_state(SupervisorState.READY, within=LONG)

    def pid(self):
        """The process that does the next job."""
        self.ready()
        return self.loop.supervisor.pid

    def said(self, words):
        return [event.line for event in self.loop.of(events.EngineOutput) if words in event.line]

    def latents(self):
        """The bytes of the finished chunks, by name."""
        return {file.name: file.read_bytes() for file in sorted(self.chunks.iterdir())}

    def numbers(self):
        """The same without the key and the seed that are written beside the numbers, which differ by job."""
        return {name: parts(chunk)[1] for name, chunk in self.latents().items()}


def parts(chunk):
    """The header and the bytes of the numbers in a chunk's file."""
    (length,) = struct.unpack("<Q", chunk[:8])
    return json.loads(chunk[8 : 8 + length]), chunk[8 + length :]


@pytest.fixture(scope="module")
def desk(package, tmp_path_factory):
    """A worker that is kept for all tests that do not spoil it."""
    folder = tmp_path_factory.mktemp(package.name)
    with Worker(package, folder) as loop:
        loop.ready(within=LONG)
        yield Desk(loop, folder)


def edge(files, frames=12, **spec):
    return job(files[frames], frames, size=SIZE, resolution="256", **spec) | {"keep_controls": True}


def still(files, **spec):
    """One frame in a chunk of one frame, which takes a tenth of the time."""
    return edge(files, 1, num_video_frames_per_chunk=1, **spec)


def bytes_of(artifact):
    """The bytes of the result and of its control videos."""
    return {key: Path(path).read_bytes() for key, path in {"": artifact["path"], **artifact["controls"]}.items()}


STEPS = 8
"""So many that a job is still in a chunk when it is cancelled or killed there."""

WHOLE = {"num_steps": STEPS, "prompt": "a kitchen [draws]"}
"""Of a job of three chunks, whose network draws random numbers: what was drawn for a chunk decides nothing later."""


@pytest.fixture(scope="module")
def whole(desk, files):
    """A job of three chunks: its artifact, its files' bytes, its latents, and what was reported."""
    began = time.monotonic()
    artifact = desk.made(edge(files, FRAMES, **WHOLE))
    return {
        "artifact": artifact,
        "bytes": bytes_of(artifact),
        "latents": desk.latents(),
        "progress": desk.loop.of(protocol.Progress),
        "events": list(desk.loop.events),
        "seconds": time.monotonic() - began,
        "said": desk.said("calls of the network"),
        "files": sorted(file.name for file in desk.workdir.iterdir()),
    }


# -- what is loaded ----------------------------------------------------------------------------------------------------


def test_capabilities(desk):
    """The worker says which upstream, model and checkpoint it has loaded."""
    told = desk.loop.supervisor.capabilities
    assert (told["name"], told["model"], told["controls"]) == ("cosmos", "edge", ["edge"])
    assert (told["guardrails"], told["gpus"], told["max_frames"]) == (False, 1, 5000)
    assert told["version"].startswith("1.5.0")
    [weights] = told["checkpoints"]
    assert weights["revision"] == "b67b64abda3801a9aceddbff2bdb86126c06db74"
    assert (desk.loop.package.name == "double") or len(weights["sha256"]) == 64


# -- three chunks ------------------------------------------------------------------------------------------------------


def test_three_chunks(whole):
    """A clip of three chunks comes out frame for frame, in its own size."""
    artifact = whole["artifact"]
    assert (artifact["frames"], artifact["width"], artifact["height"]) == (FRAMES, *SIZE)
    assert (artifact["chunks"], artifact["chunks_resumed"]) == (CHUNKS, 0)
    assert len(list(upright_frames(artifact["path"]))) == FRAMES
    assert len(list(upright_frames(artifact["controls"]["edge"]))) == FRAMES
    assert list(whole["latents"]) == [f"cosmos-{n:04d}.safetensors" for n in range(CHUNKS)]
    mine = {"generated.json", "generated.mp4", "generated.txt", "generated_control_edge.mp4", "tmp"}
    assert set(whole["files"]) == mine


def test_stages_in_order(whole):
    """Each chunk is encoded, denoised and decoded, and each is told as it begins."""
    told = [(p.stage, p.chunk) for p in whole["progress"] if p.chunks == CHUNKS]
    stages = [one for n, one in enumerate(told) if not n or told[n - 1] != one]
    chunks = [[("encode", n), ("denoise", n), ("decode", n), ("read", n + 1)] for n in range(CHUNKS)]
    assert stages[-1] == ("finish", CHUNKS)
    assert stages[:-1] == [one for chunk in chunks for one in chunk][:-1]


def test_steps_count_what_is_done(desk, whole):
    """Of each chunk no step is done at first, and all of them at the end."""
    for chunk in range(CHUNKS):
        told = [p for p in whole["progress"] if (p.stage, p.chunk) == ("denoise", chunk)]
        assert {(p.chunks, p.steps) for p in told} == {(CHUNKS, STEPS)}
        steps = [p.step for p in told]
        assert (steps[0], steps[-1]) == (0, STEPS)
        assert steps == sorted(steps)
        assert len(set(steps)) > 2
        # A step of upstream's tiny networks may be over before it is told.
        assert desk.loop.package.name != "double" or set(steps) == set(range(STEPS + 1))


def test_calls_of_the_network(whole):
    """The network is called twice a step, each step is told once both calls are done, and one hook lies on it."""
    calls = 0
    for event in whole["events"]:
        if isinstance(event, events.EngineOutput):
            calls += "call of the network done" in event.line
        elif isinstance(event, protocol.Progress) and event.stage == "denoise":
            # What is printed comes another way than what is reported, perhaps a moment later.
            assert calls - (event.chunk * STEPS + event.step) * 2 in {-1, 0, 1}, event
    assert whole["said"][-1].endswith(f"calls of the network: {CHUNKS * STEPS * 2}; hooks on decode: 1")


def test_convolutions_are_not_timed(whole):
    """cuDNN chooses alike in every worker, although upstream has it choose by time."""
    assert [event.line for event in whole["events"] if "convolutions are timed" in getattr(event, "line", "")][
        -1
    ].endswith("convolutions are timed: False")


def test_seconds_by_stage(whole):
    """The seconds of all stages add up to what the job took."""
    seconds = whole["artifact"]["seconds"]
    assert set(seconds) == {"read", "encode", "denoise", "decode", "finish"}
    assert sum(seconds.values()) == pytest.approx(whole["seconds"], rel=0.2, abs=1.0)
    assert seconds["denoise"] > 0


def test_resident(desk, files, whole):
    """Another job in between, with other prompts, changes nothing: the same worker gives the same latents and file."""
    pid = desk.pid()
    other = desk.made(edge(files, prompt="a workshop", negative_prompt="blur", seed=8))
    assert desk.said("hooks on decode: 1")
    again = desk.made(edge(files, FRAMES, **WHOLE))
    assert desk.loop.supervisor.pid == pid
    assert again["chunks_resumed"] == 0
    assert desk.latents() == whole["latents"]
    assert bytes_of(again) == whole["bytes"]
    assert bytes_of(other)[""] != whole["bytes"][""]


PROMPTS = {"prompt": "a kitchen", "negative_prompt": "blur"}
"""The tiny text encoder tells them apart. It does not tell "a kitchen" from "a game", so guidance would not count."""


@pytest.fixture(scope="module")
def plain(desk, files):
    """The numbers of a still's latents."""
    desk.made(still(files, **PROMPTS))
    return desk.numbers()


@pytest.mark.parametrize(
    "field", [{"prompt": "a workshop"}, {"negative_prompt": "a game"}, {"seed": 8}, {"guidance": 7}]
)
def test_each_field_counts(desk, files, plain, field):
    """Another prompt, negative prompt, seed or guidance gives other latents."""
    desk.made(still(files, **PROMPTS | field))
    assert desk.numbers().keys() == plain.keys()
    assert desk.numbers() != plain


@pytest.mark.parametrize("make", [edge, still])
def test_chunks_are_found_again(desk, files, make):
    """A chunk that is kept is taken, for the same job alone, and its files are the same."""
    kept = f"kept {make.__name__}"
    first = desk.made(make(files), kept)
    again = desk.made(make(files), kept)
    assert (first["chunks_resumed"], again["chunks_resumed"]) == (0, 1)
    assert bytes_of(again) == bytes_of(first)


@pytest.mark.parametrize("field", [{"seed": 8}, {"prompt": "a workshop"}, {"edge": {"control_weight": 0.5}}])
def test_others_chunks_are_not_taken(desk, files, field):
    """A job with another field makes its own chunks."""
    desk.made(still(files), "other")
    assert desk.made(still(files, **field), "other")["chunks_resumed"] == 0


# -- other ways through upstream ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [93, 1])
def test_still(desk, files, size):
    """One frame is a video of one frame, whichever chunk size it is made with."""
    artifact = desk.made(edge(files, 1, num_video_frames_per_chunk=size))
    assert (artifact["frames"], artifact["width"], artifact["height"]) == (1, *SIZE)
    assert len(list(upright_frames(artifact["path"]))) == 1
    assert len(list(upright_frames(artifact["controls"]["edge"]))) == 1
    assert not list(desk.workdir.glob("*.jpg"))


GUIDED = {"guided_generation_mask": "mask", "guided_generation_step_threshold": 1}

FIELDS = {
    "max_frames, preset": ({"max_frames": 7, "edge": {"preset_edge_threshold": "very_low"}}, 7, 1),
    "control and mask": ({"edge": {"control_weight": 0.5, "control_path": "control", "mask_path": "mask"}}, 12, 1),
    "style picture, show_control_condition": ({"image_context_path": "style", "show_control_condition": True}, 12, 2),
    "style frame, show_input": ({"context_frame_index": 3, "show_input": True}, 12, 2),
    "guided video, show both": ({**GUIDED, "show_input": True, "show_control_condition": True}, 12, 3),
    "guided array, one step": ({"guided_generation_mask": "kept", "num_steps": 1}, 12, 1),
    "guidance 0": ({"guidance": 0}, 12, 1),
}
"""Fields, the frames that come out, and the pictures side by side."""


def named(files, value):
    """The same fields, with the files' places."""
    if isinstance(value, dict):
        return {key: named(files, one) for key, one in value.items()}
    return str(files[value]) if isinstance(value, str) and value in files else value


@pytest.mark.parametrize("name", FIELDS)
def test_field(desk, files, name):
    """A field that takes another way through upstream comes out whole."""
    fields, frames, panels = FIELDS[name]
    artifact = desk.made(edge(files, **named(files, fields)))
    assert (artifact["frames"], artifact["width"], artifact["height"]) == (frames, SIZE[0] * panels, SIZE[1])
    assert len(list(upright_frames(artifact["path"]))) == frames


def test_named_labels_are_kept(desk, files):
    """Of an .npz mask the labels that are named decide the latents; all of them are those of none that is named."""
    made = []
    for labels in (None, [1, 2], [1], [2]):
        mask = {"guided_generation_mask": str(files["labels"]), "guided_generation_foreground_labels": labels}
        desk.made(edge(files, num_steps=1, **mask))
        made.append(desk.numbers())
    assert made[0] == made[1]
    assert all(one != other for one, other in itertools.combinations(made[1:], 2))


def test_models_own_size(desk, files):
    """Without keep_input_resolution the result has the model's size."""
    artifact = desk.made(edge(files, keep_input_resolution=False))
    assert (artifact["width"], artifact["height"]) == desk.loop.package.model_size


def test_carried_frames(desk, files):
    """With num_conditional_frames 0 or 2 too, two chunks give each frame once."""
    for carried in (0, 2):
        artifact = desk.made(edge(files, 120, num_steps=1, num_conditional_frames=carried))
        assert (artifact["frames"], artifact["chunks"]) == (120, 2)


# -- controls that another job has left --------------------------------------------------------------------------------


def further(desk, wanted):
    """A job that leaves its controls, then one that reads them: both artifacts, and whether all came out alike."""
    first = desk.made(wanted | {"leave_control_files": True})
    alone = (desk.latents(), bytes_of(first))
    again = desk.made(wanted | {"control_files": first["control_files"], "leave_control_files": True})
    return first, again, (desk.latents(), bytes_of(again)) == alone


@pytest.mark.parametrize(
    ("frames", "fields"),
    [(120, {}), (120, {"max_frames": 100, "num_conditional_frames": 2}), (12, {"max_frames": 7}), (1, {})],
    ids=["two chunks", "two carried frames", "few frames", "one frame"],
)
def test_computed_edges_are_read_again(desk, files, frames, fields):
    """A job that reads the edges which another one has left gives the same latents and files to the bit."""
    wanted = edge(files, frames, num_steps=1, **fields)
    first, again, alike = further(desk, wanted)
    [left] = first["control_files"]
    assert left["frames"] == fields.get("max_frames", frames)
    assert again["control_files_used"] == {"edge": left["sha256"]}
    assert again["control_files"] == []
    assert alike


def test_edges_are_not_computed_again(desk, files):
    """A job does what a control file says: one with other edges gives other latents; other settings take none."""
    wanted = edge(files, num_steps=1)
    first = desk.made(wanted | {"leave_control_files": True})
    plain = desk.numbers()
    [left] = first["control_files"]
    with LosslessWriter(
        str(desk.workdir / "white.mp4"), Fraction(24), desk.loop.package.model_size, grey=True
    ) as white:
        for _ in range(12):
            white.add(np.full((*desk.loop.package.model_size[::-1], 3), 255, np.uint8))
    other = left | {"path": white.path}
    desk.made(wanted | {"control_files": [other]})
    assert desk.numbers() != plain
    for change in ({"max_frames": 11}, {"edge": {"preset_edge_threshold": "low"}}, {"resolution": "480"}):
        asked = wanted | {"spec": wanted["spec"] | change, "control_files": [other]}
        assert taken(asked) == {}


def test_chunk_is_found_with_a_control_file(desk, files):
    """A chunk that was made with computed edges is found again by an attempt that reads them."""
    wanted = edge(files, num_steps=1, seed=5)
    first = desk.made(wanted | {"leave_control_files": True}, "kept with edges")
    again = desk.made(wanted | {"control_files": first["control_files"]}, "kept with edges")
    assert (first["chunks_resumed"], again["chunks_resumed"]) == (0, 1)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_disk_full(desk, files, tmp_path):
    """A disk that runs full while the result is written is told as that, and the worker stays."""
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    pid = desk.pid()
    with small_disk(tmp_path / "small", 1):
        fill(tmp_path / "small", 2**20 - 3 * 4096)
        end = desk.do(edge(files), workdir=tmp_path / "small")
    assert isinstance(end, events.JobFailed), end
    assert (end.failure_kind, "No space left" in str(end.error)) == ("disk-full", True), end.error
    assert isinstance(desk.do(still(files)), protocol.Generated)
    assert desk.loop.supervisor.pid == pid


def test_cancelled(desk, files, whole):
    """A job that is cancelled in its second chunk is left; its first chunk is kept, and the model stays loaded."""
    pid = desk.pid()
    run_id = desk.begin(edge(files, FRAMES, **WHOLE))
    desk.until_in(1)
    desk.loop.supervisor.cancel(run_id, "deleted")
    end = desk.end()
    assert isinstance(end, events.JobCancelled), end
    assert end.why == "deleted"
    assert desk.latents() == {name: whole["latents"][name] for name in list(whole["latents"])[:1]}
    assert isinstance(desk.do(still(files)), protocol.Generated)
    assert desk.loop.supervisor.pid == pid


def test_killed(desk, files, whole):
    """After a kill -9 in the second chunk the job goes on with it; latents and files are those of a whole run."""
    desk.begin(edge(files, FRAMES, **WHOLE), "cut")
    desk.until_in(1)
    os.kill(desk.loop.supervisor.pid, signal.SIGKILL)
    lost = desk.end()
    assert isinstance(lost, events.WorkerLost), lost
    assert isinstance(lost.error, errors.WorkerDied)
    assert desk.latents().keys() == {"cosmos-0000.safetensors"}
    assert "it/s" not in str(lost.error), "it quotes a progress bar"
    desk.ready()
    again = desk.made(edge(files, FRAMES, **WHOLE), "cut")
    assert (again["chunks"], again["chunks_resumed"]) == (CHUNKS, 1)
    assert desk.latents() == whole["latents"]
    assert bytes_of(again) == whole["bytes"]


# -- other models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four(package, tmp_path_factory):
    """The model of all four controls."""
    folder = tmp_path_factory.mktemp("four")
    with Worker(package, folder, controls=ALL) as loop:
        loop.ready(within=LONG)
        yield Desk(loop, folder)


def test_all_four(four, files):
    """The model of all four controls does a job with all, and one with a single control."""
    given = {"depth": {"control_weight": 0.2, "control_path": str(files["control"])}}
    given |= {"seg": {"control_weight": 0.2, "control_path": str(files["mask"])}}
    wanted = {"edge": {"control_weight": 0.3}, "vis": {"control_weight": 0.2}, **given}
    artifact = four.made(edge(files, **wanted))
    assert (artifact["frames"], sorted(artifact["controls"])) == (12, sorted(ALL))
    one = four.made(edge(files, 1, vis={"control_weight": 0.4}))
    assert sorted(one["controls"]) == ["vis"]
    assert len(four.loop.supervisor.capabilities["checkpoints"]) == 4


def test_found_in_the_clip(four, files):
    """Segments are found in the clip, and a mask from words, and both are made of the clip's frames."""
    named = {"seg": {"control_prompt": "a table"}, "edge": {"mask_prompt": "a kitchen"}}
    artifact = four.made(edge(files, 2, num_steps=1, **named))
    assert (artifact["frames"], sorted(artifact["controls"])) == (2, ["edge", "seg"])
    assert all(len(list(upright_frames(path))) == 2 for path in artifact["controls"].values())


def test_models_controls_are_read_again(four, files):
    """A blurred clip, its segments, and its depth are computed by one job and read by the next, the same to the bit."""
    deep = {"depth": {}} if four.loop.package.name == "double" else {}  # see test_depth_cannot_be_had
    wanted = edge(files, num_steps=1, max_frames=5, vis={}, seg={"control_prompt": "a table"}, **deep)
    first, again, alike = further(four, wanted)
    frames = {one["setting"]["key"]: one["frames"] for one in first["control_files"]}
    assert frames == {"vis": 5, "seg": 12} | ({"depth": 12} if deep else {})
    assert again["control_files_used"].keys() == frames.keys()
    assert alike


def test_depth_cannot_be_had(four, files):
    """Where the clip's depth cannot be computed, the job fails in words, and the worker stays."""
    if four.loop.package.name == "double":
        pytest.skip("the double computes depth, and tests/integration/test_cosmos_engine.py breaks it")
    pid = four.pid()
    end = four.do(edge(files, 1, depth={"control_weight": 1.0}))
    assert isinstance(end, events.JobFailed), end
    assert "depth: the clip's depth could not be computed" in str(end.error)
    assert four.loop.supervisor.pid == pid


@pytest.fixture(scope="module")
def distilled(package, tmp_path_factory):
    """The distilled model, with guardrails."""
    folder = tmp_path_factory.mktemp("distilled")
    with Worker(package, folder, model="edge/distilled", guardrails=True) as loop:
        loop.ready(within=LONG)
        yield Desk(loop, folder)


def test_distilled(distilled, files):
    """The distilled model calls the network once a step, and a kept chunk's control is written as a made one's."""
    first = distilled.made(edge(files, num_steps=35), "kept")
    assert (first["num_steps"], first["guidance"]) == (4, None)
    assert distilled.said("calls of the network: 4; hooks on decode: 1")
    steps = [p.step for p in distilled.loop.of(protocol.Progress) if p.stage == "denoise"]
    assert (steps[0], steps[-1]) == (0, 4)
    again = distilled.made(edge(files, num_steps=35), "kept")
    assert again["chunks_resumed"] == 1
    assert bytes_of(again) == bytes_of(first)


@pytest.mark.parametrize("what", ["prompt", "video"])
def test_guardrail_refuses(distilled, files, what):
    """What the guardrail refuses is blocked, with its reason, and the next job is done by the same worker."""
    pid = distilled.pid()
    end = distilled.do(edge(files, num_steps=1, prompt=f"a kitchen [blocked {what}]"))
    assert isinstance(end, events.JobFailed), end
    assert end.failure_kind == "blocked"
    refused = "the prompt: BLOCKLIST: " if what == "prompt" else "the generated video: VIDEOCONTENTSAFETYFILTER: unsafe"
    assert f"The guardrail refused {refused}" in str(end.error)
    assert distilled.made(edge(files, 1, num_steps=1))["guardrails"] is True
    assert distilled.loop.supervisor.pid == pid


def test_filters_that_ran_are_named(distilled, files):
    """The artifact names each filter that ran with its verdict; one that failed and let its text pass says so."""
    ran = {one["name"]: one for one in distilled.made(edge(files, 1, num_steps=1))["guardrail_filters"]}
    assert list(ran) == ["Blocklist", "Qwen3Guard", "VideoContentSafetyFilter", "RetinaFaceFilter"]
    assert {(one["how"], one["when"], one["times"]) for one in ran.values()} == {("ran", "engine", 1)}
    double = distilled.loop.package.name == "double"
    judged = ["passed", "passed" if double else "failed", "passed", "applied"]  # see make_others.py
    assert [one["verdict"] for one in ran.values()] == judged
    if not double:
        assert {one["repository"] for one in ran.values()} == {"nvidia/Cosmos-Guardrail1", "Qwen/Qwen3Guard-Gen-0.6B"}
        assert all(len(one["sha256"]) == 64 for one in ran.values())


def test_idle_worker_checks_prompts(distilled):
    """A worker without a job has upstream's text filters check prompts, and names the word that it refuses."""
    distilled.ready()
    answer = distilled.loop.checked("a kitchen", "a [blocked prompt] kitchen", within=LONG)
    assert answer.problem == ""
    passed, refused = answer.verdicts
    assert [one["filter"] for one in passed] == ["Blocklist", "Qwen3Guard"]
    assert [(one["filter"], one["verdict"]) for one in refused] == [("Blocklist", "blocked")]
    assert "blocked" in refused[0]["message"]


def test_text_filters_alone(package, tmp_path):
    """Upstream's text filters are loaded on the CPU without its model, and refuse what the model's worker refuses."""
    if package.name == "double":
        pytest.skip("the double has no guardrail outside of its model")
    with Worker(package, tmp_path, engine=text_filters.ENGINES["cosmos"], language_model=True) as loop:
        loop.ready(within=LONG)
        about = {one["name"]: one for one in loop.supervisor.capabilities["filters"]}
        assert list(about) == ["Blocklist", "Qwen3Guard"]
        assert about["Blocklist"]["revision"] == GUARDS["cosmos"].revision
        answer = loop.checked("a kitchen", "a [blocked prompt] kitchen", within=LONG)
    assert [[one["verdict"] for one in said] for said in answer.verdicts] == [["passed", "failed"], ["blocked"]]


# -- several processes for one job -------------------------------------------------------------------------------------


def values(chunk):
    """The latents of a chunk's file as floats."""
    header, data = parts(chunk)
    if header["latents"]["dtype"] == "BF16":
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.float32)


def test_two_ranks(package, desk, files, tmp_path):
    """Two processes do a job together: its latents are those of one process but for rounding. A lost one is told."""
    desk.made(edge(files))
    [alone] = desk.latents().values()
    with Worker(package, tmp_path, gpus_per_worker=2) as loop:
        loop.ready(within=LONG)
        pair = Desk(loop, tmp_path)
        artifact = pair.made(edge(files))
        assert (artifact["frames"], sorted(artifact["controls"])) == (12, ["edge"])
        [together] = pair.latents().values()
        one, other = values(alone), values(together)
        assert one.shape == other.shape
        assert np.linalg.norm(one - other) < ROUNDING * np.linalg.norm(one)

        pair.begin(edge(files, 120, num_steps=20))
        pair.until_in(1)
        [follower] = [pid for pid in group(loop.supervisor.pid) if pid != loop.supervisor.pid]
        os.kill(follower, signal.SIGKILL)
        lost = pair.end()
        assert isinstance(lost, events.WorkerLost), lost
        assert "Rank 1 is gone (was killed by SIGKILL" in str(lost.error)
        assert list(pair.latents()) == ["cosmos-0000.safetensors"]


def group(leader):
    """The workers in a process group."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if os.getpgid(int(entry.name)) == leader and b"worker.py" in (entry / "cmdline").read_bytes():
                yield int(entry.name)


# -- at the end, since it costs a worker -------------------------------------------------------------------------------

MEMORY = {
    "[oom]": ("four", "in chunk 1 of 1 (denoise)"),
    "[oom in decode]": ("distilled", "in chunk 1 of 1 (decode)"),
    "[oom at the end]": ("desk", "at the very end"),
}


@pytest.mark.parametrize("prompt", MEMORY)
def test_out_of_memory(desk, four, distilled, files, prompt):
    """Where the GPU's memory ran out is told, and the worker is replaced."""
    model, words = MEMORY[prompt]
    desk = {"desk": desk, "four": four, "distilled": distilled}[model]
    pid = desk.pid()
    end = desk.do(edge(files, 1, prompt=f"a kitchen {prompt}"))
    assert isinstance(end, events.JobFailed), end
    assert (end.failure_kind, words in str(end.error)) == ("out-of-memory", True), end.error
    desk.loop._run(lambda: desk.loop.supervisor.pid != pid or None, "another worker", LONG)
