"""Steps of tiny networks on random inputs."""

import torch
from support import tiny_model

LAYERS, EVERY = 5, 2
"""Two of five blocks without a residual: as in the real model, not every block gets one."""


def built(seed=0, **changes):
    """A transformer and a control net whose every weight matters."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    shared = {**tiny_model.SHARED, **{key: value for key, value in changes.items() if key in tiny_model.SHARED}}
    width = shared["num_attention_heads"] * shared["attention_head_dim"]
    shared["img_context_dim_out"] = width
    own = {"num_layers": LAYERS, "controlnet_block_every_n": EVERY, "concat_padding_mask": True}
    own |= {key: value for key, value in changes.items() if key in own}
    transformer = tiny_model.CosmosTransformer3DModel(
        in_channels=17, out_channels=16, img_context_num_tokens=4, **own, **shared
    )
    controlnet = tiny_model.CosmosControlNetModel(
        n_controlnet_blocks=3, in_channels=34, latent_channels=18, model_channels=width, **shared
    )
    for weight in (*transformer.parameters(), *controlnet.parameters()):
        torch.nn.init.normal_(weight, std=0.3)
    return tuple(net.eval().requires_grad_(requires_grad=False) for net in (transformer, controlnet))


def plain(q, k, v):
    """Attention by its definition."""
    scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * q.size(-1) ** -0.5
    return (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2)


def inputs(*, size, given, prompts, controls=1, black=()):
    """Random inputs of a step, the same each time: latents, moments, mask, texts and controls.

    Args:
        size: frames, rows and columns of latents.
        given: frames.
        prompts: their number.
        controls: their number.
        black: the numbers of controls that are left out.
    """
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    latents, *each = [draw(1, 16, *size) for _ in range(1 + controls)]
    each = [None if number in black else control for number, control in enumerate(each)]
    mask = torch.zeros(1, 1, *size)
    mask[:, :, :given] = 1
    moment = torch.full((1, 1, size[0], 1, 1), 0.6)
    moment[:, :, :given] = 0.1
    return latents, moment, mask, [draw(1, 7, tiny_model.LAYERS * tiny_model.HIDDEN) for _ in range(prompts)], each


def velocities(step, *nets, weights=(0.7,), **asked):
    """The velocities that a step predicts with these control nets for `inputs`."""
    latents, moment, mask, texts, controls = inputs(controls=len(nets), **asked)
    with torch.no_grad():
        step.use(nets)
        contexts = [step.context(text) for text in texts]
        return step.velocities(latents, moment, step.conditions(controls, weights, mask), contexts)


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()
