import pytest

from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer.request import read, refusals, unheeded
from povwatch.engines.transfer.settings import Settings

ALL = ("edge", "vis", "depth", "seg")


def named(spec, controls=ALL):
    return [refusal.field for refusal in refusals(spec, controls)]


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"depth": {}}, "depth.control_path", "control video"),
        ({"seg": {"control_prompt": "hands"}}, "seg.control_path", "cosmos"),
        ({"edge": {"mask_prompt": "cup"}}, "edge.mask_prompt", "cosmos"),
        ({"edge": {}, "image_context_path": "a.png"}, "image_context_path", "cosmos"),
        ({"edge": {}, "context_frame_index": 3}, "context_frame_index", "cosmos"),
    ],
)
def test_pipelines_gaps_are_refused(spec, field, says) -> None:
    """What the pipeline lacks is refused with the field and a way out."""
    (refusal,) = refusals(spec, ALL)
    assert refusal.field == field
    assert refusal.sentence.startswith(f"{field} is ")
    assert "diffusers" in refusal.message
    assert says in refusal.todo


def test_unloaded_control_is_refused() -> None:
    """A control that is not loaded is refused, and the setting is named."""
    (refusal,) = refusals({"vis": {}}, ("edge",))
    assert "engine.controls" in refusal.todo
    assert named({"vis": {}}, ("edge", "vis")) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"edge": {}},
        {"vis": {}},
        {"depth": {"control_path": "/d.mp4"}},
        {"edge": {}, "vis": {}, "seg": {"control_path": "/s.mp4", "mask_path": "/m.mp4"}},
        {"edge": {}, "guided_generation_mask": "/m.npz"},
    ],
)
def test_what_it_can_do_passes(spec) -> None:
    assert named(spec) == []


def job(**spec):
    return {
        "video": "/w.mp4",
        "frames": 200,
        "width": 1920,
        "height": 1080,
        "fps_num": 30,
        "fps_den": 1,
        "spec": {"prompt": "p", **spec},
    }


def test_spec_without_a_control_is_refused() -> None:
    with pytest.raises(EngineFailure, match="no control"):
        read(job(), Settings())


def test_one_frame_chunks_before_the_job() -> None:
    """Chunks of one frame for a longer clip are refused before there is a job."""
    (refusal,) = refusals({"edge": {}, "num_video_frames_per_chunk": 1}, ALL, frames=200)
    assert refusal.sentence == "num_video_frames_per_chunk is 1, and 200 frames are to be generated."
    assert not list(refusals({"edge": {}, "num_video_frames_per_chunk": 1}, ALL))
    assert not list(refusals({"edge": {}, "num_video_frames_per_chunk": 1, "max_frames": 1}, ALL, frames=200))
    assert not list(refusals({"edge": {}}, ALL, frames=200))


def test_one_frame_chunks_are_for_one_frame() -> None:
    with pytest.raises(EngineFailure, match="200 frames"):
        read(job(edge={}, num_video_frames_per_chunk=1), Settings())
    request = read(job(edge={}, num_video_frames_per_chunk=1, max_frames=1), Settings())
    assert (request.frames, request.chunk_frames, len(request.chunks)) == (1, 1, 1)


def test_upstreams_defaults_are_filled_in() -> None:
    request = read(job(vis={}), Settings(controls=("vis",)))
    assert (request.seed, request.guidance, request.steps, request.carried) == (2025, 3.0, 35, 1)
    assert (request.size, request.chunk_frames, request.keep_size) == ((1280, 704), 93, True)
    assert [(one.weight, one.preset) for one in request.controls] == [(1.0, "medium")]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"modle": "x"}, "engine.modle"),
        ({"controls": ["blur"]}, "engine.controls"),
        ({"controls": []}, "engine.controls"),
        ({"dtype": "int8"}, "engine.dtype"),
        ({"guardrails": "no"}, "engine.guardrails"),
        ({"chunk_frames": 92}, "engine.chunk_frames"),
        ({"exact": "fast"}, "engine.exact"),
        ({"compile": "yes"}, "engine.compile"),
        ({"memory": "less"}, "engine.memory"),
        ({"compile": True, "exact": "pipeline"}, "engine.compile"),
        ({"pixels": True}, "engine.pixels"),
        ({"model": ""}, "engine.model"),
    ],
)
def test_wrong_setting_is_named(config, names) -> None:
    with pytest.raises(EngineFailure, match=names) as caught:
        Settings.from_config(config)
    assert caught.value.kind == "invalid"


def test_guardrails_are_on_by_default() -> None:
    assert Settings.from_config({}).guardrails
    assert not Settings.from_config({"guardrails": False}).guardrails


@pytest.mark.parametrize(("guidance", "said"), [(0, 0), (1, 1), (3, 0), (None, 0)])
def test_ignored_guidance_is_noted(guidance, said):
    """A guidance that the pipeline does not use is noted."""
    assert len(list(unheeded({"guidance": guidance}, None))) == said
