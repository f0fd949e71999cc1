"""Which files an engine needs. Where upstream's work tree is at hand, its own list is the judge."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support import upstream_tree

from povwatch.core.errors import ConfigError
from povwatch.engines import needs
from povwatch.engines.needs import Wishes

ALL = ("edge", "vis", "depth", "seg")

UPSTREAM = upstream_tree.root()
with_upstream = pytest.mark.skipif(not Path(UPSTREAM, "packages/cosmos-oss").is_dir(), reason=upstream_tree.MISSING)


def repositories(kind, **wishes):
    return [need.repository for need in needs.needs(kind, Wishes(**wishes))]


def test_cosmos_with_one_control():
    """Cosmos with one control needs that control's model and the shared ones."""
    found = needs.needs("cosmos", Wishes())
    assert [(need.repository, need.files) for need in found] == [
        ("nvidia/Cosmos-Transfer2.5-2B", ("general/edge/61f5694b-0ad5-4ecd-8ad7-c8545627d125_ema_bf16.pt",)),
        ("nvidia/Cosmos-Predict2.5-2B", ("tokenizer.pth",)),
        ("nvidia/Cosmos-Reason1-7B", ()),
        ("google/siglip2-so400m-patch16-naflex", ()),
        ("nvidia/Cosmos-Guardrail1", ()),
        ("Qwen/Qwen3Guard-Gen-0.6B", ()),
        ("google/siglip-so400m-patch14-384", ()),
    ]


@pytest.mark.parametrize(
    ("control", "extra"),
    [
        ("edge", set()),
        ("vis", set()),
        ("depth", {"depth-anything/Video-Depth-Anything-Small"}),
        ("seg", {"facebook/sam2-hiera-large", "IDEA-Research/grounding-dino-base"}),
    ],
)
def test_computed_control_needs_its_model(control, extra):
    """A control that is computed needs the model that computes it."""
    found = set(repositories("cosmos", controls=(control,)))
    assert found - set(repositories("cosmos")) == extra


def test_all_four_controls():
    """All four controls need all four models, and no image context."""
    found = needs.needs("cosmos", Wishes(controls=ALL))
    assert {need.why for need in found if need.repository == needs.TRANSFER} == {f"the model for {key}" for key in ALL}
    assert needs.IMAGE_CONTEXT not in found
    assert needs.DEPTH in found
    assert set(needs.SEGMENTS) <= set(found)


def test_mask_prompts_need_their_models():
    """Mask prompts need SAM 2 and Grounding DINO, once."""
    assert set(repositories("cosmos", mask_prompts=True)) - set(repositories("cosmos")) == {
        "facebook/sam2-hiera-large",
        "IDEA-Research/grounding-dino-base",
    }
    assert len(repositories("cosmos", controls=ALL, mask_prompts=True)) == len(repositories("cosmos", controls=ALL))


def test_without_guardrails():
    """Without guardrails their models are not needed."""
    lacking = set(repositories("cosmos")) - set(repositories("cosmos", guardrails=False))
    assert lacking == {"nvidia/Cosmos-Guardrail1", "Qwen/Qwen3Guard-Gen-0.6B", "google/siglip-so400m-patch14-384"}
    lacking = set(repositories("diffusers")) - set(repositories("diffusers", guardrails=False))
    assert lacking == {"nvidia/Cosmos-1.0-Guardrail", "Qwen/Qwen3Guard-Gen-0.6B"}


def test_distilled_model():
    """The distilled model needs its own weights."""
    found = needs.needs("cosmos", Wishes(model="edge/distilled"))
    files = {need.files for need in found if need.repository in {needs.TRANSFER, needs.PREDICT}}
    assert {name for names in files for name in names} == {
        "distilled/general/edge/41f07f13-f2e4-4e34-ba4c-86f595acbc20_ema_bf16.pt",
        "robot/action-cond/38c6c645-7d41-4560-8eeb-6f4ddc0e6574_ema_bf16.pt",
        "tokenizer.pth",
    }


def test_unloadable_controls_are_refused():
    """Controls that cannot be loaded together are refused."""
    with pytest.raises(ConfigError, match=r"edge, depth.*Name exactly one control"):
        needs.needs("cosmos", Wishes(controls=("edge", "depth")))


def test_diffusers_revision_for_each_control():
    """The diffusers engine needs a revision for each control, and no pickle."""
    found = needs.needs("diffusers", Wishes(controls=("edge", "vis")))
    assert [need.revision for need in found if need.repository == needs.TRANSFER] == [
        "diffusers/general",
        "diffusers/controlnet/general/edge",
        "diffusers/controlnet/general/blur",
    ]
    assert not any("pt" in pattern for need in found for pattern in need.patterns if need.repository == needs.TRANSFER)


def test_diffusers_computes_controls():
    """Depth and seg need what computes them, at a commit, also beside a model of one's own; edge and vis nothing."""
    found = needs.needs("diffusers", Wishes(controls=ALL, model="/srv/models/mine", guardrails=False))
    assert [(need.repository, need.computes) for need in found] == [
        ("depth-anything/Depth-Anything-V2-Small-hf", "depth"),
        ("IDEA-Research/grounding-dino-base", "seg"),
        ("facebook/sam2-hiera-large", "seg"),
    ]
    assert all(len(need.revision) == 40 and "Apache-2.0" in need.why for need in found)
    assert needs.size_of_computing("diffusers", Wishes(controls=ALL)) == 1_935_000_000
    assert needs.size_of_computing("cosmos", Wishes(controls=ALL)) == 0


def test_diffusers_with_another_model():
    """The diffusers engine needs the model that is configured, and nothing for a folder."""
    found = repositories("diffusers", model="me/mine", guardrails=False)
    assert set(found) == {"me/mine"}
    assert repositories("diffusers", model="/srv/models/mine", guardrails=False) == []


@pytest.mark.parametrize("kind", ["preview", "tests/engines/copies.py:Engine"])
def test_other_engines_need_nothing(kind):
    assert repositories(kind) == []


def test_gated_need_has_its_page():
    assert needs.CHECKPOINTS["edge"].licence == "https://huggingface.co/nvidia/Cosmos-Transfer2.5-2B"
    assert needs.DEPTH.licence == ""


def test_depth_model_folder():
    """The depth model is where upstream looks for it: COSMOS_CACHE_DIR, then HF_HOME, then home."""
    assert needs.depth_cache({}, "/home/me").startswith("/home/me/.cache/cosmos_transfer2/depth_models/")
    assert needs.depth_cache({"HF_HOME": "/hf"}, "/x") == "/hf/cosmos_depth_models/video_depth_anything_vits"
    both = {"HF_HOME": "/hf", "COSMOS_CACHE_DIR": "/cosmos"}
    assert needs.depth_cache(both, "/x") == "/cosmos/depth_models/video_depth_anything_vits"


# -- upstream's own list


def calls(path, name):
    """The keyword arguments of every call of `name` in a file, those that are constants."""
    for node in ast.walk(ast.parse(Path(UPSTREAM, path).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
            yield {
                word.arg: ast.literal_eval(word.value) for word in node.keywords if isinstance(word.value, ast.Constant)
            } | {"_": node}


def registered():
    """Every checkpoint that upstream registers: id to repository, revision and file."""
    found = {}
    for file in ("checkpoints", "checkpoints_predict2", "checkpoints_transfer2"):
        for call in calls(f"packages/cosmos-oss/cosmos_oss/{file}.py", "CheckpointConfig"):
            (where,) = [word.value for word in call["_"].keywords if word.arg == "hf"]
            if isinstance(where, ast.Call):
                about = {word.arg: ast.literal_eval(word.value) for word in where.keywords}
                found[call["uuid"]] = (about["repository"], about["revision"], about.get("filename", ""))
    return found


@with_upstream
def test_checkpoints_are_upstreams():
    """Our repositories, revisions and files are those that upstream registers."""
    known = registered()
    ours = [
        *needs.CHECKPOINTS.values(),
        *needs.DISTILLED_CHECKPOINTS,
        needs.VAE,
        needs.TEXT_ENCODER,
    ]
    for need in ours:
        assert (need.repository, need.revision, "".join(need.files)) in known.values(), need


@with_upstream
def test_upstream_loads_them_by_control():
    """Upstream loads these checkpoints for these controls."""
    text = Path(UPSTREAM, "cosmos_transfer2/config.py").read_text()
    known = registered()
    for key, need in needs.CHECKPOINTS.items():
        _, _, after = text.partition(f"ModelKey(variant=ModelVariant.{key.upper()}): CheckpointConfig.from_uri(")
        uuid = after.partition('"')[2].partition('"')[0]
        assert known[uuid] == (need.repository, need.revision, need.files[0])


@with_upstream
@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("imaginaire/auxiliary/guardrail/common/core.py", ["nvidia/Cosmos-Guardrail1", "d6d4bfa899a7"]),
        ("imaginaire/auxiliary/guardrail/qwen3guard/qwen3guard.py", ["Qwen/Qwen3Guard-Gen-0.6B"]),
        (
            "imaginaire/auxiliary/guardrail/video_content_safety_filter/vision_encoder.py",
            ["google/siglip-so400m-patch14-384"],
        ),
        ("transfer2/auxiliary/sam2/sam2_model.py", ["facebook/sam2-hiera-large", "IDEA-Research/grounding-dino-base"]),
        (
            "transfer2/auxiliary/depth_anything/video_depth_model.py",
            ['encoder: str = "vits"', "depth-anything/Video-Depth-Anything-Small", "video_depth_anything_vits.pth"],
        ),
        ("transfer2/auxiliary/depth_anything/model_utils.py", ["COSMOS_CACHE_DIR", "cosmos_depth_models"]),
        ("transfer2/networks/siglip2_image_context.py", ["google/siglip2-so400m-patch16-naflex"]),
    ],
)
def test_what_upstream_loads_by_name(file, names):
    """Upstream's sources load the other models by the names that we fetch."""
    text = Path(UPSTREAM, "cosmos_transfer2/_src", file).read_text()
    assert [name for name in names if name not in text] == []
