import pytest

from povwatch.engine.upstream.ability import unheeded, unloadable, unloaded

ALL = ["edge", "vis", "depth", "seg"]


@pytest.mark.parametrize("controls", [["edge"], ["seg"], ALL, ALL[::-1]])
def test_one_control_or_all_four_can_be_loaded(controls):
    assert unloadable(controls) is None


@pytest.mark.parametrize("controls", [[], ["edge", "vis"], ALL[:3], ["edge", "edge"], [*ALL, "edge"]])
def test_any_other_number_cannot(controls):
    assert "exactly one control, or all four" in unloadable(controls)


def test_an_unknown_control_is_named():
    assert "names blur; known are edge, vis, depth, seg" in unloadable(["blur"])


def test_what_is_loaded_can_be_asked_for():
    assert unloaded(["edge"], ["edge"]) is None
    assert unloaded(["vis", "seg"], ALL) is None


def test_what_is_not_loaded_is_named_with_what_is_and_what_to_do():
    assert unloaded(["seg", "edge", "depth"], ["edge"]) == (
        "depth and seg are asked for, but the model that is loaded takes edge only. Use edge instead, or set "
        'engine.controls = ["edge", "vis", "depth", "seg"] and restart povwatch.'
    )
    assert unloaded(["vis"], ["edge"]).startswith("vis is asked for")


def test_an_images_style_is_lost_on_the_model_of_all_controls():
    assert unheeded({"image_context_path": "/a.png"}, ["edge"]) is None
    assert unheeded({"image_context_path": None}, ALL) is None
    assert unheeded({"image_context_path": "/a.png"}, ALL).startswith("image_context_path has no effect")
    assert unheeded({"context_frame_index": 3}, ALL).startswith("context_frame_index has no effect")
