"""The engine's own step computes what diffusers' modules compute, in float32, but for rounding."""

import copy
import re

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

torch = Deferred("torch")
tiny_model = Deferred("support.tiny_model")
pipeline_step = Deferred("povwatch.engines.transfer.pipeline_step")
own_step = Deferred("povwatch.engines.transfer.step")

TOLERANCE = 1e-5
"""Relative error, |ours - theirs| / |theirs|, in float32."""

LAYERS, EVERY = 5, 2
"""Two of five blocks without a residual: as in the real model, not every block gets one."""

SIZES = [(1, 4, 6), (3, 6, 10), (2, 14, 22)]
"""Frames, height and width in latents; a half of height and width is a token: odd numbers among them."""


@pytest.fixture(scope="module")
def nets():
    return built()


def built(seed=0, **changes):
    """A transformer and a control net whose every weight matters."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    shared = {**tiny_model.SHARED, **{key: value for key, value in changes.items() if key in tiny_model.SHARED}}
    own = {"num_layers": LAYERS, "controlnet_block_every_n": EVERY, "concat_padding_mask": True}
    own |= {key: value for key, value in changes.items() if key in own}
    transformer = tiny_model.CosmosTransformer3DModel(
        in_channels=17, out_channels=16, img_context_num_tokens=4, **own, **shared
    )
    controlnet = tiny_model.CosmosControlNetModel(
        n_controlnet_blocks=3, in_channels=34, latent_channels=18, model_channels=tiny_model.WIDTH, **shared
    )
    for weight in (*transformer.parameters(), *controlnet.parameters()):
        torch.nn.init.normal_(weight, std=0.3)
    return tuple(net.eval().requires_grad_(requires_grad=False) for net in (transformer, controlnet))


def plain(q, k, v):
    """Attention by its definition."""
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * q.size(-1) ** -0.5
    return (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2)


def velocities(step, controlnet, *, size, given, prompts, weight=0.7):
    """The velocities that a step predicts for random inputs, the same each time."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    latents, control = draw(1, 16, *size), draw(1, 16, *size)
    mask = torch.zeros(1, 1, *size)
    mask[:, :, :given] = 1
    moment = torch.full((1, 1, size[0], 1, 1), 0.6)
    moment[:, :, :given] = 0.1
    texts = [draw(1, 7, tiny_model.LAYERS * tiny_model.HIDDEN) for _ in range(prompts)]
    with torch.no_grad():
        step.use(controlnet)
        contexts = [step.context(text) for text in texts]
        return step.velocities(latents, moment, step.conditions(control, mask), contexts, weight)


def both(nets, **asked):
    """The velocities of diffusers' modules, and ours."""
    return [
        velocities(step, nets[1], **asked)
        for step in (pipeline_step.PipelineStep(nets[0], 8), own_step.Step(nets[0], plain))
    ]


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("prompts", "given"), [(1, 0), (2, 0), (1, 2), (2, 1)])
def test_equals_diffusers_modules(nets, size, prompts, given) -> None:
    """One prompt without guidance, two with it; given frames in later chunks, none in the first."""
    theirs, ours = both(nets, size=size, given=min(given, size[0]), prompts=prompts)
    assert len(ours) == len(theirs) == prompts
    for own, reference in zip(ours, theirs, strict=True):
        assert own.shape == reference.shape
        assert own.isfinite().all()
        assert error(own, reference) < TOLERANCE


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_control_weight_is_heeded(nets, weight) -> None:
    """The residuals are scaled by the control's weight."""
    theirs, ours = both(nets, size=(3, 6, 10), given=1, prompts=1, weight=weight)
    assert error(ours[0], theirs[0]) < TOLERANCE


def test_everything_matters() -> None:
    """Else the comparisons above would not notice what is left out."""
    transformer, controlnet = built()
    asked = {"size": (3, 6, 10), "given": 1, "prompts": 2}

    def ours(**changes):
        return velocities(own_step.Step(transformer, plain), controlnet, **{**asked, **changes})

    before, negative = ours()
    assert error(before, negative) > 1e-2
    assert error(ours(given=0)[0], before) > 1e-2
    assert error(ours(weight=0.1)[0], before) > 1e-2
    for net, name in [(one, name) for one in (transformer, controlnet) for name, _ in one.named_parameters()]:
        if any(part in name for part in ("q_img", "k_img", "img_context_proj.0.weight")):
            continue  # of a style image whose tokens are equal the first two have no effect, of zeros the third
        if (number := re.search(r"_blocks\.(\d)", name)) and number[1] not in "01":
            continue  # later blocks are like these
        weight = net.get_parameter(name)
        kept = weight.clone()
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
        assert error(ours(prompts=1)[0], before) > 1e-4, name
        weight.copy_(kept)


def test_compiled_before_the_first_step(nets) -> None:
    """Nothing is left for the first job; another size is compiled once, and serves all sizes that follow."""
    torch._dynamo.reset()
    graphs = []

    def compiled(function):
        return torch.compile(function, backend=lambda graph, _: graphs.append(graph) or graph.forward, fullgraph=True)

    step = own_step.Step(nets[0], plain, compiled)
    with torch.no_grad():
        for trial in step.trials((1, 16, 3, 6, 10), torch.randn(1, 7, tiny_model.LAYERS * tiny_model.HIDDEN)):
            trial()
    assert len(graphs) == 3
    counted = []
    for size in [(3, 6, 10), (2, 4, 6), (4, 8, 14)]:
        asked = {"size": size, "given": 1, "prompts": 2}
        ours = velocities(step, nets[1], **asked)
        assert error(ours[0], velocities(own_step.Step(nets[0], plain), nets[1], **asked)[0]) < TOLERANCE
        counted.append(len(graphs))
    assert counted[0] == 3
    assert counted[2] == counted[1] > 3
    torch._dynamo.reset()


def test_step_may_be_made_again(nets) -> None:
    """Another step over the same networks predicts the same, and leaves their modules as they were."""
    theirs, _ = both(nets, size=(2, 4, 6), given=1, prompts=1)
    again, ours = both(nets, size=(2, 4, 6), given=1, prompts=1)
    assert torch.equal(theirs[0], again[0])
    assert error(ours[0], again[0]) < TOLERANCE


def test_no_weight_is_there_twice(nets) -> None:
    """The joined weights of q, k and v are those of diffusers' modules."""
    step = own_step.Step(nets[0], plain)
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
    assert says in own_step.unknown(*built(**changes))


def test_further_weight_is_named(nets) -> None:
    """A weight that the step would leave out is named."""
    assert own_step.unknown(*nets) == ""
    transformer, controlnet = copy.deepcopy(nets)
    transformer.transformer_blocks[1].attn1.to_out[0].bias = torch.nn.Parameter(torch.zeros(tiny_model.WIDTH))
    assert own_step.unknown(transformer, controlnet) == "attn1.to_out.0.bias in block 1 of the transformer"


def test_unequal_networks_are_named(nets) -> None:
    """Two networks of different positions share no step."""
    other = built(rope_scale=(2.0, 1.0, 1.0))
    assert "rope_scale" in own_step.unknown(nets[0], other[1])
