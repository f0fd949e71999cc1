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
    theirs, ours = both(nets, size=(3, 6, 10), given=1, prompts=1, weights=[weight])
    assert tiny_steps.error(ours[0], theirs[0]) < TOLERANCE


def composed(nets, inputs, weights):
    """The velocity of diffusers' modules: each net on its own control, their sum, and no style image."""
    transformer, *controlnets = copy.deepcopy(nets)
    for net in (transformer, *controlnets):
        for name, weight in net.named_parameters():
            if "v_img" in name:
                weight.zero_()
    latents, moment, mask, text, controls = inputs
    padding = torch.zeros(1, 1, *(8 * length for length in mask.shape[3:]))
    context = text, torch.zeros(1, 4, 12)
    shared = {"timestep": moment, "encoder_hidden_states": context, "condition_mask": mask, "padding_mask": padding}
    total = [0.0] * 3
    for net, control, weight in zip(controlnets, controls, weights, strict=True):
        if control is not None:
            residuals = net(controls_latents=control, latents=latents, return_dict=False, **shared)[0]
            rows = weight.flatten()[:, None] if isinstance(weight, torch.Tensor) else weight
            total = [a + b * rows for a, b in zip(total, residuals, strict=True)]
    residuals = None if all(control is None for control in controls) else total
    return transformer(hidden_states=latents, block_controlnet_hidden_states=residuals, return_dict=False, **shared)[0]


@pytest.mark.parametrize("own", [True, False], ids=["own", "pipeline"])
@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        ({"size": (3, 6, 10), "prompts": 2, "given": 0}, (1.0, 0.2)),
        ({"size": (2, 14, 22), "prompts": 1, "given": 1}, (0.3, 1.0, 0.5)),
        ({"size": (2, 4, 6), "prompts": 2, "given": 1}, (0.3, "map", 0.0)),
        ({"size": (1, 6, 10), "prompts": 1, "given": 0, "black": (0,)}, ("map", "map")),
        ({"size": (2, 4, 6), "prompts": 1, "given": 0, "black": (0, 1)}, (0.5, 0.5)),
    ],
    ids=["guided", "later chunk, three", "later chunk, by token", "black", "all black"],
)
def test_several_controls(asked, weights, own) -> None:
    """The transformer gets the weighted sum of what the control nets give, each of which sees its own control."""
    nets = [*tiny_steps.built()[:1], *(tiny_steps.built(seed)[1] for seed in range(len(weights)))]
    frames, rows, columns = asked["size"]
    tokens = (1, 1, frames, rows // 2, columns // 2)
    weights = [torch.rand(tokens, generator=torch.Generator().manual_seed(3)) if w == "map" else w for w in weights]
    step = own_step.Step(nets[0], tiny_steps.plain) if own else pipeline_step.PipelineStep(nets[0], 8)
    ours = tiny_steps.velocities(step, *nets[1:], weights=weights, **asked)
    latents, moment, mask, texts, controls = tiny_steps.inputs(**asked, controls=len(weights))
    with torch.no_grad():
        for velocity, text in zip(ours, texts, strict=True):
            theirs = composed(nets, (latents, moment, mask, text, controls), weights)
            assert tiny_steps.error(velocity, theirs) < TOLERANCE
            if any(control is not None for control in controls):
                first = [w if number == 0 else 0.0 for number, w in enumerate(weights)]
                alone = composed(nets, (latents, moment, mask, text, controls), first)
                assert tiny_steps.error(theirs, alone) > 1e-3


def test_net_that_stays_is_not_taken_apart(nets) -> None:
    """Changing one of several controls keeps what was made of the others."""
    step = own_step.Step(nets[0], tiny_steps.plain)
    others = [tiny_steps.built(seed)[1] for seed in (1, 2)]
    step.use([nets[1], others[0]])
    kept = step._branches[0]
    step.use([others[1], nets[1]])
    assert step._branches[1] is kept
    assert [branch.net for branch in step._branches] == [others[1], nets[1]]


def test_everything_matters() -> None:
    """Else the comparisons above would not notice what is left out."""
    transformer, controlnet = tiny_steps.built()
    asked = {"size": (3, 6, 10), "given": 1, "prompts": 2}

    def ours(**changes):
        return tiny_steps.velocities(own_step.Step(transformer, tiny_steps.plain), controlnet, **{**asked, **changes})

    before, negative = ours()
    assert tiny_steps.error(before, negative) > 1e-2
    assert tiny_steps.error(ours(given=0)[0], before) > 1e-2
    assert tiny_steps.error(ours(weights=[0.1])[0], before) > 1e-2
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
