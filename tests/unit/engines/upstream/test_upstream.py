"""What povwatch relies on, held against upstream's own sources; see upstream_tree.py for where they are.

They are read, not imported: they import CUDA libraries. Each test names what it would take to mend what has moved.
"""

import ast
import importlib
import sys
from pathlib import Path

import pytest
from support.cosmos_jobs import DOUBLES
from support.upstream_source import (
    CONFIG,
    DISTILLED,
    MODEL,
    PIPELINE,
    ROOT,
    UTILS,
    classes,
    constant,
    functions,
    needed,
    tree,
)

from povwatch.core.cosmos import CONTROLS
from povwatch.engines.upstream import ability, references
from povwatch.spec import model as spec

pytestmark = needed

OURS = {"schema_", "povwatch"}


def fields(name, root=ROOT):
    """A pydantic class's fields to what their defaults say, its bases' included; no default: None."""
    known = classes(CONFIG, root)
    found = {}
    for base in known[name].bases:
        if isinstance(base, ast.Name) and base.id in known:
            found |= fields(base.id, root)
    for node in known[name].body:
        if isinstance(node, ast.AnnAssign):
            found[node.target.id] = ast.unparse(node.value) if node.value is not None else None
    return found


def literals(name):
    """The values of a Literal that a name, or a class's field, stands for in upstream's config.py."""
    where, _, field = name.rpartition(".")
    nodes = classes(CONFIG)[where].body if where else tree(CONFIG).body
    for node in nodes:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == field:
            value = node.annotation if where else node.value
            return set(ast.literal_eval(value.slice))
    raise AssertionError(name)


def test_spec_has_upstreams_fields():
    assert set(spec.Spec.model_fields) - OURS == set(fields("InferenceArguments"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("EdgeControl", "EdgeConfig"),
        ("VisControl", "BlurConfig"),
        ("DepthControl", "DepthConfig"),
        ("SegControl", "SegConfig"),
    ],
)
def test_control_has_upstreams_fields(ours, theirs):
    assert set(getattr(spec, ours).model_fields) == set(fields(theirs))


def test_spec_has_upstreams_defaults():
    theirs = fields("InferenceArguments")
    for name, field in spec.Spec.model_fields.items():
        if name in OURS or field.is_required() or name in ("prompt", "prompt_path", "negative_prompt", "num_steps"):
            continue
        assert repr(field.default) == repr(ast.literal_eval(theirs[name])), name
    assert theirs["num_steps"] == f"1 if SMOKE else {spec.Spec.model_fields['num_steps'].default}"
    assert constant(CONFIG, "DEFAULT_NEGATIVE_PROMPT") == spec.DEFAULT_NEGATIVE_PROMPT


def test_allowed_values_are_upstreams():
    assert set(spec.Preset.__args__) == literals("Threshold")
    assert literals("InferenceArguments.num_conditional_frames") == {0, 1, 2}
    sizes = constant("cosmos_transfer2/_src/predict2/datasets/utils.py", "VIDEO_RES_SIZE_INFO")
    assert set(spec.Resolution.__args__) == set(sizes)


def test_constants_are_upstreams():
    assert tuple(constant(CONFIG, "CONTROL_KEYS")) == CONTROLS
    assert constant(UTILS, "NUM_MAX_FRAMES") == ability.FRAMES_MAX
    assert {*references.VIDEOS} <= set(constant(UTILS, "_VIDEO_EXTENSIONS"))
    assert {*references.IMAGES} == set(constant(UTILS, "_IMAGE_EXTENSIONS"))
    assert fields("InferenceArguments")["num_video_frames_per_chunk"] == str(ability.CHUNK)


def test_setup_fields_exist():
    """The fields with which the model is set up exist upstream, and in the double."""
    setup = fields("SetupArguments")
    wanted = {"output_dir", "model", "context_parallel_size", "disable_guardrails", "offload_guardrail_models"}
    assert wanted <= set(setup)
    assert setup["keep_going"] == "True"
    assert fields("SetupArguments", DOUBLES).keys() == setup.keys()


def test_double_takes_upstreams_fields():
    """The double takes the fields and defaults that upstream takes."""
    for name in ("InferenceArguments", "EdgeConfig", "BlurConfig", "DepthConfig", "SegConfig"):
        theirs, doubles = fields(name), fields(name, DOUBLES)
        assert doubles.keys() == theirs.keys(), name
        for field, default in theirs.items():
            if default is not None and field not in ("prompt_path", "num_steps"):
                assert doubles[field] == default, field


def test_double_says_what_upstream_says(monkeypatch):
    """The double has upstream's constants."""
    monkeypatch.syspath_prepend(str(DOUBLES))
    for name in [name for name in sys.modules if name.partition(".")[0] == "cosmos_transfer2"]:
        monkeypatch.delitem(sys.modules, name)
    config = importlib.import_module("cosmos_transfer2.config")
    assert constant(CONFIG, "DEFAULT_NEGATIVE_PROMPT") == config.DEFAULT_NEGATIVE_PROMPT
    assert constant(CONFIG, "CONTROL_KEYS") == config.CONTROL_KEYS
    for name in [name for name in sys.modules if name.partition(".")[0] == "cosmos_transfer2"]:
        del sys.modules[name]


def test_hooked_functions_are_there():
    """The functions that are hooked are there, and are called as we expect."""
    pipeline = functions(PIPELINE)
    [plan] = [node for node in ast.walk(pipeline["_get_num_chunks"]) if isinstance(node, ast.Return)]
    assert [name.id for name in plan.value.elts] == ["num_total_frames", "num_chunks", "num_frames_per_chunk"]
    calls = [ast.unparse(n) for n in ast.walk(pipeline["generate_img2world"]) if isinstance(n, ast.Call)]
    [sampled] = [call for call in calls if call.startswith("self.model.generate_samples_from_batch(data_batch, ")]
    assert "seed=seed" in sampled
    assert "self.model.decode(sample)" in calls
    [count] = [call for call in calls if call.startswith("self._get_num_chunks(")]
    assert count


def test_two_network_calls_a_step():
    """The network is called twice a step, with the prompt and without."""
    [velocity] = [n for n in ast.walk(tree(MODEL)) if isinstance(n, ast.FunctionDef) and n.name == "velocity_fn"]
    last = velocity.body[-3]
    assert ast.unparse(last.orelse).count("self.denoise(") == 2


def test_sigma_max_and_distilled_mask():
    """sigma_max has no effect, and the distilled model takes no mask."""
    for file in (MODEL, DISTILLED):
        assert "sigma_max" not in ast.unparse(functions(file)["generate_samples_from_batch"])
    assert "x0_spatial_condition" not in Path(ROOT, DISTILLED).read_text()
    assert "get_x_from_clean" not in Path(ROOT, DISTILLED).read_text()


def test_random_numbers_are_seeded():
    """Random numbers are drawn where povwatch seeds them."""
    batch = ast.unparse(functions(PIPELINE)["_get_data_batch_input"])
    assert "torch.randint(16, 32, (self.batch_size,)).cuda()" in batch


def test_mask_is_made_by_the_hooked_function():
    made = functions(UTILS)["generate_control_weight_mask_from_prompt"]
    assert [argument.arg for argument in made.args.args] == ["video_path", "prompt", "output_folder", "modality"]
    [call] = [
        ast.unparse(node)
        for node in ast.walk(functions(UTILS)["read_and_process_control_input"])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "generate_control_weight_mask_from_prompt"
    ]
    assert "output_folder=tempfile.gettempdir()" in call
    assert "prompt=mask_prompt" in call
    assert "modality=modality" in call


def test_blocked_job_is_left_out_and_logged():
    """A blocked job is left out of the list of results, and its reason is logged."""
    generate = ast.unparse(functions("cosmos_transfer2/inference.py")["generate"])
    assert "if output_path is not None:\n            output_paths.append(output_path)" in generate
    presets = Path(ROOT, "cosmos_transfer2/_src/imaginaire/auxiliary/guardrail/common/presets.py").read_text()
    assert presets.count('log.critical(f"GUARDRAIL BLOCKED: {message}")') == 2


def test_upstream_swallows_no_cancellation():
    """A bare except would take EngineCancelled for an error of the kind that it expects."""
    for file in ("cosmos_transfer2/inference.py", PIPELINE, UTILS, MODEL, DISTILLED):
        handlers = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ExceptHandler)]
        caught = [ast.unparse(handler.type) if handler.type else "everything" for handler in handlers]
        assert not {"everything", "BaseException"} & set(caught), file
