"""A step with several controls equals that of upstream's own network for several controls, on the same weights.

Upstream's network runs under the interpreter that script/upstream-proof sets up, ours in an environment with the
diffusers engine's libraries.
"""

import itertools
import re
import subprocess
from pathlib import Path

import pytest
from support import tiny_needs
from support.deferred import Deferred
from support.upstream_packages import Upstream

tiny_needs.skip_without()

torch = Deferred("torch")
tiny_model = Deferred("support.tiny_model")
tiny_steps = Deferred("support.tiny_steps")
own_step = Deferred("povwatch.engines.transfer.step")
pipeline_step = Deferred("povwatch.engines.transfer.pipeline_step")

pytestmark = pytest.mark.timeout(1200)

BRANCHES = 4

TOLERANCE = 1e-5
"""Relative error in float32."""

RATIOS = dict(zip(("t", "h", "w"), (1.0, 3.0, 3.0), strict=True))

NAMES = {
    r"^x_embedder\.proj\.1": "patch_embed.proj",
    r"^t_embedder\.1": "time_embed.t_embedder",
    r"^t_embedding_norm": "time_embed.norm",
    r"^final_layer\.adaln_modulation\.(\d)": r"norm_out.linear_\1",
    r"^final_layer\.linear": "proj_out",
    r"^(control_)?blocks\.": r"\1blocks.",
    r"self_attn": "attn1",
    r"cross_attn": "attn2",
    r"([qkv])_proj": r"to_\1",
    r"([qk])_norm": r"norm_\1",
    r"output_proj": "to_out.0",
    r"mlp\.layer1": "ff.net.0.proj",
    r"mlp\.layer2": "ff.net.2",
    r"adaln_modulation_attn1\.(\d)": r"norm1.linear_\1",
    r"adaln_modulation_attn2\.(\d)": r"norm2.linear_\1",
    r"adaln_modulation_mlp\.(\d)": r"norm3.linear_\1",
}
"""Upstream's names of weights to diffusers', in this order; those of a control net follow in `control_net`."""

CASES = [
    pytest.param(size, given, weights, black, id=name)
    for name, size, given, weights, black in (
        ("first chunk", (3, 6, 10), 0, (1.0, 0.5, 0.3, 0.2), ()),
        ("later chunk, odd size", (2, 14, 22), 1, (0.3, 1.0, 0.0, 0.7), ()),
        ("two are black", (2, 4, 6), 1, (0.3, 1.0, 0.4, 0.7), (0, 2)),
        ("masks", (2, 6, 10), 1, "maps", (3,)),
    )
]


def renamed(name):
    for pattern, words in NAMES.items():
        name = re.sub(pattern, words, name)
    return name


def control_net(weights, number):
    """The weights of one control net, with diffusers' names; it has its own copy of what upstream shares."""
    found = {
        f"control_blocks.{renamed(name.split('.', 1)[1])}": value
        for name, value in weights.items()
        if name.startswith(f"control_blocks_{number}.")
    }
    found["patch_embed.proj.weight"] = weights[f"control_embedder.{number}.proj.1.weight"]
    shared = {renamed(name): value for name, value in weights.items() if not re.match(r"(control_)?blocks|final", name)}
    found["patch_embed_base.proj.weight"] = shared["patch_embed.proj.weight"]
    return found | {name: value for name, value in shared.items() if name.startswith(("time_embed", "crossattn"))}


def base(weights):
    """The transformer's weights, with diffusers' names."""
    own = {name: value for name, value in weights.items() if not name.startswith("control_")}
    return {re.sub(r"^blocks", "transformer_blocks", renamed(name)): value for name, value in own.items()}


def loaded(net, found):
    """Load weights; only those of the style image may lack, and counters may be left over."""
    lacking, odd = net.load_state_dict(found, strict=False)
    assert all("img" in name for name in lacking), lacking
    assert all(name.startswith(("accum", "pos_embedder")) for name in odd), odd
    return net


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Each case's inputs, upstream's velocities, and our networks with upstream's weights."""
    package, file = Upstream(), tmp_path_factory.mktemp("branches") / "case.pt"
    shape = {
        "num_blocks": 5,
        "vace_block_every_n": 2,
        "model_channels": tiny_model.WIDTH,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "adaln_lora_dim": tiny_model.SHARED["adaln_lora_dim"],
        "crossattn_emb_channels": tiny_model.SHARED["text_embed_dim"],
        "crossattn_proj_in_channels": tiny_model.LAYERS * tiny_model.HIDDEN,
        "num_max_modalities": 2,
        "num_control_branches": BRANCHES,
        **{f"rope_{axis}_extrapolation_ratio": ratio for axis, ratio in RATIOS.items()},
    }
    asked = [inputs(*case.values) for case in CASES]
    torch.save({"shape": shape, "cases": [upstreams(*one) for one in asked]}, file)
    program = Path(__file__).with_name("branches.py")
    command = [package.python, str(program), str(file)]
    ended = subprocess.run(
        command, env={**package.env, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = torch.load(file)
    nets = [tiny_steps.built(number)[1] for number in range(BRANCHES)]
    for number, net in enumerate(nets):
        loaded(net, control_net(found["weights"], number))
    return asked, found["velocities"], loaded(tiny_steps.built()[0], base(found["weights"])), nets


def inputs(size, given, weights, black):
    """The inputs of a case, as our step takes them."""
    drawn = tiny_steps.inputs(size=size, given=given, prompts=1, controls=BRANCHES, black=black)
    if weights == "maps":
        tokens = (1, 1, size[0], size[1] // 2, size[2] // 2)
        weights = list(torch.rand(BRANCHES, *tokens, generator=torch.Generator().manual_seed(5)))
    return drawn, list(weights)


def upstreams(drawn, weights):
    """The same, as upstream's network takes them: a control that is left out is all zero."""
    latents, moment, mask, [text], controls = drawn
    zero = torch.zeros_like(latents)
    maps = torch.stack([one.movedim(1, -1) for one in weights]) if torch.is_tensor(weights[0]) else weights
    return {
        "x_B_C_T_H_W": latents,
        "timesteps_B_T": moment[:, 0, :, 0, 0],
        "crossattn_emb": text,
        "latent_control_input": torch.cat([zero if one is None else one for one in controls], dim=1),
        "condition_video_input_mask_B_C_T_H_W": mask,
        "padding_mask": torch.zeros(1, 1, *(8 * length for length in mask.shape[3:])),
        "control_context_scale": maps,
    }


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.id for case in CASES])
@pytest.mark.parametrize("own", [True, False], ids=["own", "pipeline"])
def test_equals_upstreams_network(done, number, own) -> None:
    """Weights as numbers and for each token, controls that are black, first and later chunks."""
    asked, velocities, transformer, nets = done
    (latents, moment, mask, [text], controls), weights = asked[number]
    step = own_step.Step(transformer, tiny_steps.plain) if own else pipeline_step.PipelineStep(transformer, 8)
    with torch.no_grad():
        step.use(nets)
        context = step.context(text)
        [ours] = step.velocities(latents, moment, step.conditions(controls, weights, mask), [context])
    assert ours.std() > 0.1
    assert tiny_steps.error(ours, velocities[number]) < TOLERANCE


def test_cases_differ(done) -> None:
    """Else the comparison above would not notice a control or a weight that is left out."""
    asked, _, transformer, nets = done
    (latents, moment, mask, [text], controls), weights = asked[0]
    step = own_step.Step(transformer, tiny_steps.plain)
    made = []
    with torch.no_grad():
        step.use(nets)
        context = step.context(text)
        for left_out in (None, *range(BRANCHES)):
            each = [0.0 if number == left_out else weight for number, weight in enumerate(weights)]
            made += step.velocities(latents, moment, step.conditions(controls, each, mask), [context])
    assert all(tiny_steps.error(one, other) > 1e-3 for one, other in itertools.combinations(made, 2))
