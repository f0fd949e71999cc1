import pytest
from support.cosmos_jobs import job

from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.arguments import arguments, paths, wanted_frames
from povwatch.engines.upstream.settings import Settings


def settings(**config):
    return Settings.parse({"output_dir": "/tmp", **config})  # noqa: S108 - not written to


def wrong(wanted, **config):
    with pytest.raises(EngineFailure) as raised:
        arguments(wanted, settings(**config))
    return raised.value


def test_upstream_gets_the_spec():
    """Upstream gets the spec under our name, without our own fields."""
    wanted = job(
        "/clip.mp4", name="../../x", povwatch={"priority": 3}, **{"$schema": "x"}, prompt_path="p.txt", sigma_max="200"
    )
    found = arguments(wanted, settings())
    assert (found["name"], found["video_path"], found["prompt"]) == ("generated", "/clip.mp4", "a kitchen")
    assert not {"povwatch", "$schema", "prompt_path", "sigma_max"} & found.keys()
    assert found["edge"] == {"control_weight": 1.0}


def test_clip_is_the_working_copy():
    """The video is the working copy, whatever the spec says."""
    assert arguments(job("/copy.mp4", video_path="/etc/passwd"), settings())["video_path"] == "/copy.mp4"


@pytest.mark.parametrize("negative", ["", "  \n"])
def test_empty_negative_prompt_is_refused(negative):
    """An empty negative prompt is refused: upstream would use the last job's."""
    assert wrong(job("/c.mp4", negative_prompt=negative)).message.startswith("negative_prompt is empty")


def test_no_negative_prompt_is_upstreams():
    """Without a negative prompt upstream takes its own."""
    assert "negative_prompt" not in arguments(job("/c.mp4", negative_prompt=None), settings())


@pytest.mark.parametrize(("frames", "max_frames", "wanted"), [(10, None, 10), (10, 4, 4), (10, 40, 10)])
def test_wanted_frames(frames, max_frames, wanted):
    """max_frames shortens a clip, and never lengthens it."""
    assert wanted_frames(job("/c.mp4", frames, max_frames=max_frames)) == wanted


def test_5000_frames_are_the_most():
    arguments(job("/c.mp4", 5000), settings())
    arguments(job("/c.mp4", 5001, max_frames=5000), settings())
    error = wrong(job("/c.mp4", 5001))
    assert (error.kind, "5,001 frames" in error.message, "diffusers" in error.todo) == ("invalid", True, True)


@pytest.mark.parametrize(("size", "frames", "good"), [(93, 200, True), (1, 1, True), (1, 2, False), (92, 200, False)])
def test_chunk_is_93_frames_or_one(size, frames, good):
    """A chunk has 93 frames, or one if the clip has one."""
    wanted = job("/c.mp4", frames, num_video_frames_per_chunk=size)
    if good:
        arguments(wanted, settings())
    else:
        assert f"num_video_frames_per_chunk is {size} for {frames} frames" in wrong(wanted).message


def test_distilled_steps_and_frames():
    """The distilled model has its own number of steps and frames, and takes no mask."""
    distilled = {"controls": ["edge"], "model": "edge/distilled"}
    assert arguments(job("/c.mp4", num_steps=35), settings(**distilled))["num_steps"] == 4
    assert arguments(job("/c.mp4", num_steps=6), settings(**distilled))["num_steps"] == 6
    assert arguments(job("/c.mp4", num_steps=35), settings())["num_steps"] == 35
    assert (
        "guided_generation_mask has no effect"
        in wrong(job("/c.mp4", guided_generation_mask="/m.npz"), **distilled).message
    )
    assert "93 at most" in wrong(job("/c.mp4", 94), **distilled).message


def test_relative_path_is_our_fault():
    """A path that is not absolute is a fault of ours, not of the spec."""
    error = wrong(job("/c.mp4", edge={"control_path": "edges.mp4"}))
    assert (error.kind, error.message) == ("error", "edge.control_path is 'edges.mp4', not an absolute path.")


def test_every_named_file_is_found():
    """Every file that a spec names is found under its field."""
    spec = job(
        "/c.mp4",
        edge={"control_path": "/e.mp4", "mask_path": "/m.mp4"},
        seg={"control_prompt": "cup"},
        image_context_path="/i.png",
        guided_generation_mask="/g.npz",
    )["spec"]
    assert paths(spec) == {
        "video_path": "/c.mp4",
        "image_context_path": "/i.png",
        "guided_generation_mask": "/g.npz",
        "edge.control_path": "/e.mp4",
        "edge.mask_path": "/m.mp4",
    }
