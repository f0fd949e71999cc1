"""Which controls a model computes, and what decides them."""

from __future__ import annotations

import ast
import dataclasses
from types import SimpleNamespace

import pytest
from support import upstream_source

from povwatch.engines.annotate import annotation
from povwatch.engines.annotate.annotation import Annotation, control_key, to_compute

PROMPT = " ".join(f"word{number}" for number in range(200))


def test_controls_without_video_are_computed():
    """Depth and seg that are not given are computed, in upstream's order; edge and vis are the engine's."""
    spec = {"seg": {"control_prompt": "hands"}, "vis": {}, "edge": {}, "depth": {}, "prompt": PROMPT}
    assert to_compute(spec) == (Annotation("depth"), Annotation("seg", "hands"))
    assert [one.field for one in to_compute(spec)] == ["depth.control_path", "seg.control_path"]
    assert to_compute({"depth": {"control_path": "d.mp4"}, "seg": None, "edge": {}}) == ()


@upstream_source.needed
@pytest.mark.parametrize("seg", [{}, {"control_prompt": "hands"}])
def test_segments_of_upstreams_prompt(seg):
    """What is segmented without a control_prompt is upstream's choice: the first 128 words of the prompt."""
    function = upstream_source.functions(upstream_source.CONFIG)["seg_control_prompt"]
    function.decorator_list.clear()
    names = {"log": SimpleNamespace(warning=lambda _: None)}
    exec(compile(ast.Module([function], []), "config.py", "exec"), names)  # noqa: S102 - upstream's own function
    control = SimpleNamespace(**{"control_path": None, "control_prompt": None, **seg})
    theirs = names["seg_control_prompt"](SimpleNamespace(hint_keys=["seg"], seg=control, prompt=PROMPT))
    (ours,) = to_compute({"seg": seg, "prompt": PROMPT})
    assert ours.prompt == theirs


def test_key_has_what_decides(monkeypatch):
    """Another kind, prompt, model, threshold or method makes another key; the same ones make the same."""
    seen = {control_key(Annotation("depth")), control_key(Annotation("seg", "hands")), control_key(Annotation("seg"))}
    assert control_key(Annotation("seg", "hands")) in seen
    newer = dataclasses.replace(annotation.SAM2, revision="0" * 40)
    monkeypatch.setitem(annotation.MODELS, "seg", (annotation.GROUNDING_DINO, newer))
    seen.add(control_key(Annotation("seg", "hands")))
    monkeypatch.setitem(annotation.SETTINGS, "seg", {"thresholds": ((0.2, 0.2),)})
    seen.add(control_key(Annotation("seg", "hands")))
    monkeypatch.setattr(annotation, "METHOD", annotation.METHOD + 1)
    seen |= {control_key(Annotation("seg", "hands")), control_key(Annotation("depth"))}
    assert len(seen) == 7


def test_models_are_pinned():
    """Every model is a commit of its repository, under a licence that allows any use."""
    models = [model for models in annotation.MODELS.values() for model in models]
    assert all(len(model.revision) == 40 and set(model.revision) <= set("0123456789abcdef") for model in models)
    assert {model.licence for model in models} == {"Apache-2.0"}


@upstream_source.needed
def test_segments_are_found_as_upstream_does():
    """The repositories, the thresholds and the most segments are those of upstream's sources."""
    file = "cosmos_transfer2/_src/transfer2/auxiliary/sam2/sam2_model.py"
    assert upstream_source.constant(file, "SAM2_MODEL_CHECKPOINT") == annotation.SAM2.repository
    assert upstream_source.constant(file, "GROUNDING_DINO_MODEL_CHECKPOINT") == annotation.GROUNDING_DINO.repository
    calls = [node for node in ast.walk(upstream_source.tree(file)) if isinstance(node, ast.Call)]
    given = [{word.arg: getattr(word.value, "value", None) for word in call.keywords} for call in calls]
    found = tuple((one["threshold"], one["text_threshold"]) for one in given if "text_threshold" in one)
    assert found == annotation.THRESHOLDS
    making = upstream_source.functions(file.replace("sam2_model", "sam2_utils"))["convert_masks_to_frames"]
    assert [ast.literal_eval(most) for most in making.args.defaults] == [annotation.OBJECTS_MAX]
