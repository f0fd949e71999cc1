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


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()
