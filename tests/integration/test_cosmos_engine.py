"""The cosmos engine in a real worker under a real supervisor; upstream's package is the double in tests/doubles."""

import json
import time
from pathlib import Path

import pytest
from support.clips import upright_frames
from support.cosmos_jobs import Desk, Worker, clip, job
from support.looks import FRAMES, HANDS, Keeping

from povwatch.core import command, errors
from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.states import SupervisorState

ALL = ["edge", "vis", "depth", "seg"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips by number of frames."""
    folder = tmp_path_factory.mktemp("clips")
    return {frames: clip(folder / f"{frames}.mp4", frames) for frames in (1, 12, 200)}


@pytest.fixture(scope="module")
def resident(tmp_path_factory):
    """One worker for many jobs, as it is meant to be used."""
    with Worker({"controls": ALL}) as loop:
        yield Desk(loop.ready(), tmp_path_factory.mktemp("resident"))
        assert loop.supervisor.state is SupervisorState.READY


@pytest.fixture
def desk(resident, tmp_path):
    """The resident worker, with chunks of this test's own."""
    resident.chunks = tmp_path / "chunks"
    return resident


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A worker with one control that may be replaced, with a few jobs on each."""
    folder = tmp_path_factory.mktemp("fragile")
    with Worker({"controls": ["edge"], "output_dir": str(folder / "load")}) as loop:
        desk = Desk(loop.ready(), folder)
        desk.printed = loop.of(events.EngineOutput)
        yield desk


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """A worker with the distilled model, without guardrails."""
    with Worker({"controls": ["edge"], "model": "edge/distilled", "guardrails": False}) as loop:
        yield Desk(loop.ready(), tmp_path_factory.mktemp("distilled"))


def pictures(artifact):
    return [frame.tobytes() for frame in upright_frames(artifact["path"])]


def refused(end, *words):
    """That a job failed for good, in words."""
    assert isinstance(end, events.JobFailed), end
    assert (end.failure_kind, type(end.error)) == ("invalid", errors.JobFailed), end
    for word in words:
        assert word in str(end.error)
    return True


# -- what it is, and what it makes -------------------------------------------------------------------------------------


def test_says_what_is_loaded(fragile):
    """The engine tells its model and GPU, though upstream prints on standard output."""
    told = fragile.loop.supervisor.capabilities
    assert (told["name"], told["version"], told["real"], told["max_frames"]) == ("cosmos", "1.5.0", True, 5000)
    assert (told["controls"], told["model"], told["guardrails"], told["gpus"]) == (["edge"], "edge", True, 1)
    assert (told["gpu"], told["torch"]) == ("NVIDIA H200 (double)", "2.7.0+double")
    [weights] = told["checkpoints"]
    assert (weights["control"], weights["repository"]) == ("edge", "nvidia/Cosmos-Transfer2.5-2B")
    assert weights["revision"] == "b67b64abda3801a9aceddbff2bdb86126c06db74"
    assert any('"type":"loaded"' in printed.line for printed in fragile.printed)
    assert (fragile.folder / "load/config.yaml").exists()


def test_artifact_says_how_it_was_made(desk, clips):
    """The artifact has seed, steps, guidance, guardrails, chunks and memory, and upstream's job names the clip."""
    artifact = desk.do(job(clips[12])).artifact
    assert (artifact["seed"], artifact["num_steps"], artifact["guidance"], artifact["guardrails"]) == (7, 2, 3, True)
    assert (artifact["chunks"], artifact["chunks_resumed"], artifact["peak_memory"]) == (1, 0, 13_700_000_000)
    workdir = Path(artifact["path"]).parent
    assert json.loads((workdir / "generated.json").read_text())["video_path"] == str(clips[12])


def test_artifact_names_the_filters(desk, clips):
    """The artifact names the filters that ran, with verdicts; a job that is checked before it is done checks anew."""
    artifact = desk.do(job(clips[12])).artifact
    package = desk.loop.supervisor.capabilities["version"]
    assert [(one["name"], one["how"], one["times"], one["verdict"]) for one in artifact["guardrail_filters"]] == [
        ("Blocklist", "ran", 2, "passed"),
        ("Qwen3Guard", "ran", 2, "passed"),
        ("VideoContentSafetyFilter", "ran", 1, "passed"),
        ("RetinaFaceFilter", "ran", 1, "applied"),
    ]
    for one in artifact["guardrail_filters"]:
        assert (one["when"], one["package"]) == ("engine", f"cosmos_transfer2 {package}")


def test_worker_without_a_job_checks_prompts(desk):
    """A worker without a job has the text filters that it has loaded check prompts."""
    assert [one["name"] for one in desk.loop.supervisor.capabilities["filters"]] == ["Blocklist", "Qwen3Guard"]
    answer = desk.loop.checked("a kitchen", "[blocked prompt]")
    assert (answer.number, answer.problem) == (1, "")
    passed, refused = answer.verdicts
    assert [(one["filter"], one["verdict"]) for one in passed] == [("Blocklist", "passed"), ("Qwen3Guard", "passed")]
    assert refused == [{"filter": "Blocklist", "verdict": "blocked", "message": 'its list has "blocked"'}]


def test_another_seed_gives_other_pictures(desk, clips):
    one, other = (desk.do(job(clips[12], seed=seed)).artifact for seed in (1, 2))
    assert pictures(one) != pictures(other)


def test_one_frame_is_a_video_too(desk, clips):
    artifact = desk.do(job(clips[1], 1)).artifact
    assert (artifact["frames"], artifact["width"], artifact["height"]) == (1, 64, 48)
    [picture] = upright_frames(artifact["path"])
    assert picture.mean() > 30


def test_control_videos_if_wanted(desk, clips):
    """Control videos are handed over if they are wanted; the wish makes no other job of it."""
    wanted = job(clips[12], edge={}, vis={})
    artifact = desk.do(wanted | {"keep_controls": True}).artifact
    assert list(artifact["controls"]) == ["edge", "vis"]
    for key, path in artifact["controls"].items():
        assert Path(path).name == f"generated_control_{key}.mp4"
        assert len(list(upright_frames(path))) == 12
    again = desk.do(wanted).artifact
    assert again["controls"] == {}
    assert again["chunks_resumed"] == again["chunks"], "a wish for the controls is no other job"


def test_upstream_may_change_its_folder(desk, clips):
    """The worker is back in its folder after upstream has changed it, and takes the next job."""
    here = Path(f"/proc/{desk.loop.supervisor.pid}/cwd").readlink()
    assert isinstance(desk.do(job(clips[12], prompt="[chdir]")), protocol.Generated)
    assert Path(f"/proc/{desk.loop.supervisor.pid}/cwd").readlink() == here
    assert isinstance(desk.do(job(clips[12])), protocol.Generated)


@pytest.mark.usefixtures("forked_media_children")
def test_kept_hands(desk, tmp_path):
    """Upstream gets the mask that was made of a hook's file as guided generation, or as the mask of a control."""
    here = Keeping(tmp_path)
    here.draw()
    here.queue(clip={"keep": HANDS}, night={"keep": HANDS, "keep_as": "vis"})
    for look in ("", "night"):
        attempt = here.prepare(look).attempt
        artifact = desk.do(attempt.request(1)).artifact
        got = json.loads((Path(artifact["path"]).parent / "generated.json").read_text())
        found = got["guided_generation_mask"] if not look else got["vis"]["mask_path"]
        assert (artifact["frames"], found) == (FRAMES, str(Path(attempt.folder, "kept.mp4")))
    here.close()


def test_masks_from_words_do_not_meet(desk, clips):
    """Masks that two jobs make from words do not meet in one folder."""
    masked = {"edge": {"mask_prompt": "hands"}}
    for _ in range(2):  # the double fails where a mask of another job lies already
        artifact = desk.do(job(clips[12], **masked)).artifact
        assert (Path(artifact["path"]).parent / "tmp/12_edge_mask.mp4").exists()


def test_guardrails_off(distilled, clips):
    """The engine runs without guardrails if the configuration says so, and tells it."""
    assert distilled.loop.supervisor.capabilities["guardrails"] is False
    assert distilled.do(job(clips[12], prompt="[blocked prompt]")).artifact["guardrails"] is False


# -- what it refuses ---------------------------------------------------------------------------------------------------


def test_unloaded_control_is_refused(fragile, clips):
    """A control that is not loaded is refused, and the setting is named."""
    end = fragile.do(job(clips[12], depth={}))
    assert refused(end, "depth is asked for", "takes edge only", "engine.controls")


def test_distilled_model_takes_one_chunk(distilled, clips):
    """The distilled model takes 93 frames at most."""
    assert distilled.loop.supervisor.capabilities["max_frames"] == 93
    assert refused(distilled.do(job(clips[200], 200)), "200 frames", "93 at most")


def test_what_upstream_trips_on_is_refused(desk, clips, tmp_path):
    """What upstream would pass over or fail at is refused, each with its reason."""
    short = clip(tmp_path / "short.mp4", 9)
    assert refused(desk.do(job(clips[12], edge={"control_path": str(short)})), "edge.control_path has 9 frames", "12")
    assert refused(desk.do(job(clips[12], 6001)), "6,001 frames", "5,000", "diffusers")
    assert refused(desk.do(job(clips[12], negative_prompt="")), "negative_prompt is empty")
    assert refused(desk.do(job(clips[12], num_video_frames_per_chunk=50)), "num_video_frames_per_chunk is 50")
    assert isinstance(desk.do(job(clips[12], context_frame_index=3)), protocol.Generated)  # said when it was read
    assert refused(desk.do(job(clips[12], resolution="721")), "resolution is '721'")
    assert refused(desk.do(job(clips[12], guidance=9)), "guidance: Input should be less than or equal to 7")
    assert refused(desk.do(job(clips[12], typo=1)), "typo: Extra inputs are not permitted")


def test_nothing_found_is_the_specs_fault(desk, clips):
    """A prompt for which SAM finds nothing is the spec's fault, and the way out is named."""
    end = desk.do(job(clips[12], seg={"control_prompt": "nothing"}))
    assert refused(end, "seg: nothing like 'nothing'", "first frame", "control_path")
    end = desk.do(job(clips[12], edge={"mask_prompt": "nothing here"}))
    assert refused(end, "edge.mask_prompt: nothing like 'nothing here'", "mask_path")


def test_unenlargeable_job_is_refused(clips, tmp_path):
    """A job that cannot be enlarged on this GPU is refused before it runs."""
    with Worker(env={"DOUBLE_GPU_BYTES": "4000000"}) as loop:
        desk = Desk(loop.ready(), tmp_path)
        assert refused(desk.do(job(clips[200], 200)), "at the end", '"keep_input_resolution": false')
        assert isinstance(desk.do(job(clips[200], 200, keep_input_resolution=False)), protocol.Generated)


@pytest.mark.parametrize(("prompt", "what"), [("[blocked prompt]", "the prompt"), ("[blocked video]", "the generated")])
def test_guardrail_refusal_is_an_answer(desk, clips, prompt, what):
    """A refusal of the guardrail blocks the job, and says what it refused."""
    end = desk.do(job(clips[12], prompt=prompt))
    assert isinstance(end.error, errors.Blocked)
    assert f"The guardrail refused {what}" in end.error.what
    assert "blocklist" in end.error.what or "unsafe frames" in end.error.what


# -- what goes wrong ---------------------------------------------------------------------------------------------------

FAILURES = {
    "[exits]": ("error", "sys.exit(1)"),
    "[sticky]": ("sticky", "illegal memory access"),
    "[disk full]": ("disk-full", "No space left"),
    "[all ranks fail]": ("error", "the model is unwell"),
}


@pytest.mark.parametrize("prompt", FAILURES)
def test_failure_has_its_kind(fragile, clips, prompt):
    """Each failure has its kind and its words, and the next job runs."""
    kind, *words = FAILURES[prompt]
    end = fragile.do(job(clips[12], prompt=prompt))
    assert isinstance(end, events.JobFailed)
    assert end.failure_kind == kind
    for word in words:
        assert word in str(end.error)
    fragile.loop.until_state(SupervisorState.READY)
    assert isinstance(fragile.do(job(clips[12])), protocol.Generated)


def test_depth_that_cannot_be_computed(clips, tmp_path):
    """Depth that cannot be computed fails the job with a message that says so."""
    with Worker({"controls": ["depth"]}, env={"DOUBLE_LOAD": "broken depth"}) as loop:
        end = Desk(loop.ready(), tmp_path).do(job(clips[12], depth={}))
    assert (end.failure_kind, "depth could not be computed" in str(end.error)) == ("error", True)


PREFETCH = "script/povwatch --config '/my disk/config.toml' prefetch"


@pytest.fixture
def called():
    """Povwatch is called in a way of its own here, which its workers cannot know by themselves."""
    before = list(command._words)
    command.use("script/povwatch", "--config", "/my disk/config.toml")
    yield
    command.use(*before)


LOADS = {
    "gated": ("error", "nvidia/Cosmos-Guardrail1 is gated", "Accept the licence", PREFETCH),
    "command": ("error", "nvidia/Cosmos-Transfer2.5-2B (general/edge/w.pt) is gated", PREFETCH),
    "offline": ("error", "nvidia/Cosmos-Predict2.5-2B is not on this machine", PREFETCH),
    "no uvx": ("error", "uvx, which is not on the service's PATH", "script/cosmos"),
    "exits": ("error", "sys.exit(1)"),
    "out of memory": ("out-of-memory", "while the model was loaded", "nvidia-smi"),
    "no extra": ("error", "CUDA extra not installed", "script/cosmos"),
    "other version": ("invalid", "no inference_pipeline._get_num_chunks", "script/cosmos"),
    "other shape": ("invalid", "of another model", "'net.x_embedder.weight', (3, 5), (64, 72)", "prefetch"),
    "other writer": ("invalid", "no inference.save_img_or_video", "script/cosmos"),
}


@pytest.mark.usefixtures("called")
@pytest.mark.parametrize("load", LOADS)
def test_failed_load_says_what_to_do(load, tmp_path):
    kind, *words = LOADS[load]
    path = str(tmp_path)
    if load == "command":
        fake = tmp_path / "uvx"
        fake.write_text(
            "#!/bin/sh\necho 'Error: Access denied. This repository requires approval (403).' >&2\nexit 1\n"
        )
        fake.chmod(0o755)
        path += ":/usr/bin:/bin"
    with Worker(env={"DOUBLE_LOAD": load, "PATH": path, "HF_HUB_OFFLINE": "0"}) as loop:
        loop.start()
        end = loop.until(events.EngineUnavailable)
    assert end.failure_kind == kind
    for word in words:
        assert word in f"{end.message} {end.todo}"


@pytest.mark.usefixtures("called")
def test_missing_file_offline_is_named():
    """Offline, a missing file is named with the command that fetches it, and no program is run."""
    with Worker(env={"DOUBLE_LOAD": "no uvx", "HF_HUB_OFFLINE": "1"}) as loop:
        loop.start()
        end = loop.until(events.EngineUnavailable)
    assert end.message == (
        "nvidia/Cosmos-Transfer2.5-2B (general/edge/w.pt) is not on this machine, and HF_HUB_OFFLINE is set."
    )
    assert f"Run {PREFETCH}, which" in end.todo


def test_cached_files_need_no_program(tmp_path):
    """Files that are in the cache need no program to fetch them."""
    held = tmp_path / "nvidia/Cosmos-Transfer2.5-2B/general/edge/w.pt"
    held.parent.mkdir(parents=True)
    held.touch()
    with Worker(env={"DOUBLE_LOAD": "no uvx", "HF_HUB_OFFLINE": "1", "DOUBLE_CACHE": str(tmp_path)}) as loop:
        loop.ready()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"controls": ["edge", "depth"]}, "exactly one control, or all four"),
        ({"controls": ["blur"]}, "names blur; known are edge, vis, depth, seg"),
        ({"controls": ["vis"], "model": "edge"}, "does not go with engine.controls"),
        ({"controls": ["edge"], "guardrails": "no"}, "engine.guardrails is 'no', not true or false"),
        ({"controls": ["edge"], "gpus_per_worker": 0}, "engine.gpus_per_worker is 0"),
    ],
)
def test_unusable_settings(config, words):
    """Settings that cannot be used make the engine invalid, in words."""
    with Worker(config) as loop:
        loop.start()
        end = loop.until(events.EngineUnavailable)
    assert end.failure_kind == "invalid"
    assert words in f"{end.message} {end.todo}"


# -- going on with a job -----------------------------------------------------------------------------------------------


def test_bad_chunks_are_made_again(desk, clips):
    """A damaged chunk is made again, with all that follow it."""
    wanted = job(clips[200], 200)
    first = desk.do(wanted).artifact
    assert (first["chunks"], first["chunks_resumed"]) == (3, 0)
    second = desk.chunks / "cosmos-0001.safetensors"
    second.write_bytes(second.read_bytes()[:-1])
    again = desk.do(wanted).artifact
    assert again["chunks_resumed"] == 1  # the third would not continue a second that is made anew
    assert pictures(again) == pictures(first)


# -- several GPUs ------------------------------------------------------------------------------------------------------

PAIR = {"controls": ["edge"], "gpus_per_worker": 2}


def ranks(loop):
    """The processes of the group, by what they were started with."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status[2]) == loop.supervisor.pid and status[0] != "Z" and b"worker.py" in command:
                found.append(int(entry.name))
    return sorted(found)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with Worker(PAIR) as loop:
        yield Desk(loop.ready(), tmp_path_factory.mktemp("pair"))


def test_two_ranks_do_one_job_together(pair, desk, clips):
    assert pair.loop.supervisor.capabilities["gpus"] == 2
    assert len(ranks(pair.loop)) == 2
    artifact = pair.do(job(clips[200], 200)).artifact
    assert (artifact["frames"], artifact["chunks_resumed"]) == (200, 0)
    assert pair.do(job(clips[200], 200)).artifact["chunks_resumed"] == 3  # both take them, or they would not meet


def test_job_that_ends_in_all_ranks(pair, clips):
    """What ends a job in all ranks leaves the group as it is."""
    before = ranks(pair.loop)
    assert isinstance(pair.do(job(clips[12], prompt="[blocked prompt]")).error, errors.Blocked)
    assert isinstance(pair.do(job(clips[12], prompt="[blocked video]")).error, errors.Blocked)
    assert pair.do(job(clips[12], prompt="[all ranks fail]")).failure_kind == "error"
    assert refused(pair.do(job(clips[12], depth={})), "depth is asked for")
    assert isinstance(pair.do(job(clips[12])), protocol.Generated)
    assert ranks(pair.loop) == before


def test_cancel_reaches_all_ranks(clips, tmp_path):
    """All ranks leave a cancelled job at the same call, and end with their worker."""
    with Worker(PAIR, env={"DOUBLE_STEP_SECONDS": "0.05"}) as loop:
        desk = Desk(loop.ready(), tmp_path)
        before = ranks(loop)
        run_id = desk.begin(job(clips[12], num_steps=400))
        loop.until(protocol.Progress)
        loop.supervisor.cancel(run_id, "deleted")
        assert loop.until(events.JobCancelled).why == "deleted"
        assert isinstance(desk.do(job(clips[12])), protocol.Generated)
        assert ranks(loop) == before
    end = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/exe").exists() for pid in before):
        assert time.monotonic() < end, before
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("[rank 1 dies]", "Rank 1 is gone (was killed by SIGKILL"), ("[rank 1 fails]", "Rank 1 failed")],
)
def test_lost_rank_ends_the_group(clips, tmp_path, prompt, words):
    """A lost rank ends the whole group, the reason is told, and another group comes."""
    with Worker(PAIR, engine="cosmos_in_a_hurry") as loop:
        desk = Desk(loop.ready(), tmp_path)
        before = ranks(loop)
        end = desk.do(job(clips[12], prompt=prompt))
        assert isinstance(end, events.WorkerLost)
        assert (end.job_id, words in str(end.error)) == (1, True), end
        loop.until_state(SupervisorState.READY)
        assert len(ranks(loop)) == 2
        assert not set(before) & set(ranks(loop))
        assert isinstance(desk.do(job(clips[12])), protocol.Generated)


def test_rank_fails_after_the_result(clips, tmp_path):
    """A rank that fails after the result was made costs no result."""
    with Worker(PAIR) as loop:
        desk = Desk(loop.ready(), tmp_path)
        assert desk.do(job(clips[12], prompt="[rank 1 fails late]")).artifact["frames"] == 12
        lost = loop.until(events.WorkerLost)
        assert (lost.job_id, "Rank 1 failed: RuntimeError: the end is unwell" in str(lost.error)) == (None, True)
        loop.until_state(SupervisorState.READY)


def test_rank_that_cannot_load_is_told(tmp_path):
    """A rank that cannot load has its reason told."""
    with Worker(PAIR, env={"DOUBLE_LOAD": "out of memory"}) as loop:
        loop.start()
        assert loop.until(events.EngineUnavailable).failure_kind == "out-of-memory"
