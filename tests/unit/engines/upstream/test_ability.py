import pytest

from povwatch.engines.upstream.ability import refusals, unheeded, unloadable

ALL = ["edge", "vis", "depth", "seg"]


def refused(spec, loaded=("edge",), frames=None, **options):
    return [(found.field, found.sentence, found.todo) for found in refusals(spec, loaded, frames=frames, **options)]


@pytest.mark.parametrize("controls", [["edge"], ["seg"], ALL, ALL[::-1]])
def test_one_control_or_all_four(controls):
    assert unloadable(controls) is None


@pytest.mark.parametrize("controls", [[], ["edge", "vis"], ALL[:3], ["edge", "edge"], [*ALL, "edge"]])
def test_any_other_number_cannot(controls):
    """Any other number of controls cannot be loaded."""
    assert "exactly one control, or all four" in unloadable(controls)


def test_unknown_control_is_named():
    assert "names blur; known are edge, vis, depth, seg" in unloadable(["blur"])


def test_loaded_controls_can_be_asked_for():
    assert refused({"edge": {}}) == []
    assert refused({"vis": {}, "seg": {}}, ALL) == []
    assert refused({"edge": {}, "vis": None}) == []


def test_unloaded_controls_are_named():
    """Each control that is not loaded is named, with what is loaded and what to do."""
    depth, seg = refused({"seg": {}, "edge": {}, "depth": {}})
    assert depth == (
        "depth",
        "depth is asked for, but the model that is loaded takes edge only.",
        'Use edge instead, or set engine.controls = ["edge", "vis", "depth", "seg"] and restart povwatch.',
    )
    assert seg[0] == "seg"


def test_too_long_clip_is_refused():
    """A clip that is too long is refused with the limit, the reason and the engine that can."""
    assert refused({"edge": {}}, frames=5000) == []
    assert refused({"edge": {}, "max_frames": 5000}, frames=6000) == []
    ((field, sentence, todo),) = refused({"edge": {}}, frames=6000)
    assert field == "max_frames"
    assert sentence.startswith("max_frames is not set, and the clip has 6,000 frames; the cosmos engine makes 5,000")
    assert "memory" in sentence
    assert todo.startswith('Write "max_frames": 5000,')
    assert 'engine.kind = "diffusers"' in todo
    ((_, sentence, _),) = refused({"edge": {}, "max_frames": 5500}, frames=6000)
    assert "asks for 5,500 frames" in sentence


def test_distilled_model_has_its_own_limit():
    """The distilled model takes 93 frames and no mask."""
    assert refused({"edge": {}}, frames=93, distilled=True) == []
    ((_, sentence, todo),) = refused({"edge": {}}, frames=94, distilled=True)
    assert "93 at most" in sentence
    assert "full model" in todo
    ((field, _, _),) = refused({"edge": {}, "guided_generation_mask": "m.npz"}, distilled=True)
    assert field == "guided_generation_mask"


@pytest.mark.parametrize(("size", "frames", "good"), [(93, 200, True), (1, 1, True), (1, 2, False), (92, 200, False)])
def test_chunk_is_93_frames_or_one(size, frames, good):
    """A chunk has 93 frames, or one if the clip has one."""
    assert bool(refused({"edge": {}, "num_video_frames_per_chunk": size}, frames=frames)) is not good


def test_missing_style_frame_is_refused():
    """Upstream would fail on it once the prompts are encoded."""
    spec = {"edge": {}, "context_frame_index": 12, "max_frames": 5}
    assert not list(refusals(spec, ["edge"], frames=13))
    [problem] = refusals(spec, ["edge"], frames=12)
    assert problem.sentence == "context_frame_index is 12, and of the clip's frames the last one is 11."
    [problem] = refusals(spec | {"max_frames": None}, ["edge"], frames=1)
    assert "there is but one" in problem.sentence


def test_ignored_fields_are_noted():
    """A field that the model ignores is noted, and no reason to refuse."""
    assert list(unheeded({"image_context_path": "/a.png"}, ["edge"])) == []
    assert list(unheeded({"image_context_path": None, "guidance": 5}, ALL)) == []
    (said,) = unheeded({"image_context_path": "/a.png"}, ALL)
    assert said == "image_context_path has no effect on the model of all four controls, which is loaded."
    (said,) = unheeded({"context_frame_index": 3, "guidance": 3}, ["edge"], distilled=True)
    assert said == "context_frame_index has no effect on the distilled model, which is loaded."
    (said,) = unheeded({"guidance": 5}, ["edge"], distilled=True)
    assert said.startswith("guidance has no effect")
    assert refused({"edge": {}, "image_context_path": "/a.png"}, ALL) == []
