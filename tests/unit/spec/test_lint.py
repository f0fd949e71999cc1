import pytest
from support.spec_texts import members

from povwatch.spec.lint import lint
from povwatch.spec.model import Spec

WARNED = {
    "add up to 2": {"vis": {}},
    "Every control_weight is 0": {"edge": {"control_weight": 0}},
    "preset_edge_threshold has no effect": {"edge": {"control_path": "e.mp4", "preset_edge_threshold": "low"}},
    "names a video that is taken for a clip too": {"edge": {"control_path": "sub/e.mp4"}},
    'resolution "480"': {"resolution": "480"},
    'resolution "480p"': {"resolution": "480p"},
    'resolution "256"': {"resolution": "256"},
    "num_steps 9": {"num_steps": 9},
    "distilled": {"num_steps": 4},
    "num_steps 350 takes 10 times": {"num_steps": 350},
    "guidance 0": {"guidance": 0},
    "sigma_max": {"sigma_max": "80"},
    "context_frame_index is set and wins": {"image_context_path": "i.png", "context_frame_index": 3},
    "image_context_path has no effect with several": {
        "edge": {"control_weight": 0.5},
        "depth": {"control_weight": 0.5},
        "image_context_path": "i.png",
    },
    "beyond max_frames": {"max_frames": 5, "context_frame_index": 5},
    "guided_generation_step_threshold has no effect": {"guided_generation_step_threshold": 3},
    "povwatch.dilate has no effect": {"povwatch": {"dilate": 3}},
    "povwatch.keep_as has no effect": {"povwatch": {"keep_as": "edge"}},
    "guided_generation_step_threshold has no effect without": {
        "guided_generation_step_threshold": 3,
        "povwatch": {"keep": "hands.mp4", "keep_as": "edge"},
    },
    "only on an .npz": {"guided_generation_mask": "m.mp4", "guided_generation_foreground_labels": [1]},
    "max_frames 10": {"max_frames": 10},
    "show_input": {"show_input": True},
    "show_control_condition": {"show_control_condition": True},
    "keep_input_resolution": {"keep_input_resolution": False},
    "single image": {"num_video_frames_per_chunk": 1},
    "povwatch.drawn says light: lamp, and no prompt says so": {"povwatch": {"drawn": {"light": "lamp"}}},
}


@pytest.mark.parametrize(("words", "changes"), WARNED.items(), ids=WARNED)
def test_warning(words, changes):
    """Each questionable spec gets its warning."""
    assert any(words in warning for warning in lint(Spec.model_validate(members(**changes))))


QUIET = [
    {},
    {
        "edge": {"control_weight": 0.7},
        "depth": {"control_weight": 0.2},
        "seg": {"control_weight": 0.1, "control_prompt": "a cup"},
    },
    {"edge": {}, "vis": {"control_weight": 0.2}},
    {
        "edge": {},
        "seg": {"mask_path": ".controls/m.mp4", "control_prompt": "a cup"},
        "vis": {"control_weight": 0.5},
    },  # upstream scales these
    {"prompt": "by lamplight", "povwatch": {"drawn": {"light": "lamp"}}},
    {"edge": {"mask_prompt": "cup"}, "povwatch": {"drawn": {"thing": "cup"}}},
    {"num_steps": 10, "guidance": 1},
    {"guided_generation_mask": "m.npz", "guided_generation_foreground_labels": [1]},
    {"edge": {"control_path": ".controls/e.mp4"}},
    {"edge": {"control_path": "e.control"}},
    {"guided_generation_step_threshold": 3, "povwatch": {"keep": "hands.mp4", "dilate": 3}},
    {"vis": {}, "povwatch": {"keep": "hands.mp4", "keep_as": "vis"}},  # upstream scales these
]


@pytest.mark.parametrize("changes", QUIET)
def test_no_warning(changes):
    """A spec that is fine gets no warning, read again from the journal, too."""
    spec = Spec.model_validate(members(**changes))
    assert lint(spec) == []
    assert lint(Spec.model_validate_json(spec.model_dump_json())) == []
