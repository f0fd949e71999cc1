"""The engine's own step computes what diffusers' modules compute, in float32, but for rounding."""

import copy
import re

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

torch = Deferred("torch")
tiny_model = Deferred("support.tiny_model")
tiny_steps = Deferred("support.tiny_steps")
pipeline_step = Deferred("povwatch.engines.transfer.pipeline_step")
own_step = Deferred("povwatch.engines.transfer.step")

TOLERANCE = 1e-5
"""Relative error, |ours - theirs| / |theirs|, in float32."""

SIZES = [(1, 4, 6), (3, 6, 10), (2, 14, 22)]
"""Frames, height and width in latents; a half of height and width is a token: odd numbers among them."""


@pytest.fixture(scope="module")
def nets():
    return tiny_steps.built()


def both(nets, **asked):
    """The velocities of diffusers' modules, and ours."""
    return [
        tiny_steps.velocities(step, nets[1], **asked)
        for step in (pipeline_step.PipelineStep(nets[0], 8), own_step.Step(nets[0], tiny_steps.plain))
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("prompts", "given"), [(1, 0), (2, 0), (1, 2), (2, 1)])
def test_equals_diffusers_modules(nets, size, prompts, given) -> None:
    """One prompt without guidance, two with it; given frames in later chunks, none in the first."""
    theirs, ours = both(nets, size=size, given=min(given, size[0]), prompts=prompts)
    assert len(ours) == len(theirs) == prompts
    for own, reference in zip(ours, theirs, strict=True):
        assert own.shape == reference.shape
        assert own.isfinite().all()
        assert tiny_steps.error(own, reference) < TOLERANCE


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_control_weight_is_heeded(nets, weight) -> None:
    """The residuals are scaled by the control's weight."""
    theirs, ours = both(nets, size=(3, 6, 10), given=1, prompts=1, weight=weight)
    assert tiny_steps.error(ours[0], theirs[0]) < TOLERANCE


def test_everything_matters() -> None:
    """Else the comparisons above would not notice what is left out."""
    transformer, controlnet = tiny_steps.built()
    asked = {"size": (3, 6, 10), "given": 1, "prompts": 2}

    def ours(**changes):
        return tiny_steps.velocities(own_step.Step(transformer, tiny_steps.plain), controlnet, **{**asked, **changes})

    before, negative = ours()
    assert tiny_steps.error(before, negative) > 1e-2
    assert tiny_steps.error(ours(given=0)[0], before) > 1e-2
    assert tiny_steps.error(ours(weight=0.1)[0], before) > 1e-2
    for net, name in [(one, name) for one in (transformer, controlnet) for name, _ in one.named_parameters()]:
        if any(part in name for part in ("q_img", "k_img", "img_context_proj.0.weight")):
            continue  # of a style image whose tokens are equal the first two have no effect, of zeros the third
        if (number := re.search(r"_blocks\.(\d)", name)) and number[1] not in "01":
            continue  # later blocks are like these
        weight = net.get_parameter(name)
        kept = weight.clone()
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
        assert tiny_steps.error(ours(prompts=1)[0], before) > 1e-4, name
        weight.copy_(kept)


def test_compiled_before_the_first_step(nets) -> None:
    """Nothing is left for the first job; another size is compiled once, and serves all sizes that follow."""
    torch._dynamo.reset()
    graphs = []

    def compiled(function):
        return torch.compile(function, backend=lambda graph, _: graphs.append(graph) or graph.forward, fullgraph=True)

    step = own_step.Step(nets[0], tiny_steps.plain, compiled)
    with torch.no_grad():
        for trial in step.trials((1, 16, 3, 6, 10), torch.randn(1, 7, tiny_model.LAYERS * tiny_model.HIDDEN)):
            trial()
    assert len(graphs) == 3
    counted = []
    for size in [(3, 6, 10), (2, 4, 6), (4, 8, 14)]:
        asked = {"size": size, "given": 1, "prompts": 2}
        ours = tiny_steps.velocities(step, nets[1], **asked)
        alone = tiny_steps.velocities(own_step.Step(nets[0], tiny_steps.plain), nets[1], **asked)
        assert tiny_steps.error(ours[0], alone[0]) < TOLERANCE
        counted.append(len(graphs))
    assert counted[0] == 3
    assert counted[2] == counted[1] > 3
    torch._dynamo.reset()


def test_step_may_be_made_again(nets) -> None:
    """Another step over the same networks predicts the same, and leaves their modules as they were."""
    theirs, _ = both(nets, size=(2, 4, 6), given=1, prompts=1)
    again, ours = both(nets, size=(2, 4, 6), given=1, prompts=1)
    assert torch.equal(theirs[0], again[0])
    assert tiny_steps.error(ours[0], again[0]) < TOLERANCE


def test_no_weight_is_there_twice(nets) -> None:
    """The joined weights of q, k and v are those of diffusers' modules."""
    step = own_step.Step(nets[0], tiny_steps.plain)
    own = step._main[0].block.attn1
    whole = step._main[0]._qkv.weight
    assert {part.weight.untyped_storage().data_ptr() for part in (own.to_q, own.to_k, own.to_v)} == {
        whole.untyped_storage().data_ptr()
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"extra_pos_embed_type": "learnable"}, "extra_pos_embed_type = 'learnable'"),
        ({"patch_size": (2, 2, 2)}, "patch_size = (2, 2, 2)"),
        ({"img_context_dim_in": None}, "img_context_dim_in"),
        ({"use_crossattn_projection": False}, "use_crossattn_projection = False"),
        ({"concat_padding_mask": False}, "concat_padding_mask"),
        ({"controlnet_block_every_n": 1}, "controlnet_block_every_n = 1"),
    ],
)
def test_another_configuration_is_named(changes, says) -> None:
    """A configuration that the step is not written for is named by its key."""
    assert says in own_step.unknown(*tiny_steps.built(**changes))


def test_further_weight_is_named(nets) -> None:
    """A weight that the step would leave out is named."""
    assert own_step.unknown(*nets) == ""
    transformer, controlnet = copy.deepcopy(nets)
    transformer.transformer_blocks[1].attn1.to_out[0].bias = torch.nn.Parameter(torch.zeros(tiny_model.WIDTH))
    assert own_step.unknown(transformer, controlnet) == "attn1.to_out.0.bias in block 1 of the transformer"


def test_unequal_networks_are_named(nets) -> None:
    """Two networks of different positions share no step."""
    other = tiny_steps.built(rope_scale=(2.0, 1.0, 1.0))
    assert "rope_scale" in own_step.unknown(nets[0], other[1])
