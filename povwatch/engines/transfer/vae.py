"""Makes the VAE faster on a GPU, and decodes latents part by part, so that frames are written while others are decoded.

`AutoencoderKLWan.decode` decodes one latent frame at a time too, and joins the parts at the end. These are the same
numbers to the bit, and need the memory of a part instead of a whole chunk's. Source: `AutoencoderKLWan._decode`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def compile_norms(vae: Any, compiler: Any) -> None:  # noqa: ANN401 - AutoencoderKLWan; compiling.Compiler
    """Compile the norms, which take two fifths of the time: one function for all of them, and for any size."""
    compiled = compiler(normed, any_size=True)
    for module in vae.modules():
        if isinstance(module, WanRMS_norm) and module.channel_first and not isinstance(module.bias, torch.nn.Parameter):
            module.forward = partial(compiled, module.gamma, module.scale)  # type: ignore[method-assign, unused-ignore]


def normed(gamma: torch.Tensor, scale: float, x: torch.Tensor) -> torch.Tensor:
    """`WanRMS_norm.forward` of a norm whose channels come first, without a bias."""
    half = x.dtype in {torch.bfloat16, torch.float16}
    return normalize(x.float() if half else x, dim=1).to(x.dtype) * scale * gamma


def trials(vae: Any) -> list[Callable[[], object]]:  # noqa: ANN401 - see above
    """Calls that need every norm for every kind of part, on small random input, so that they are compiled."""
    video = torch.rand(1, 3, 13, 176, 320, device=vae.device, dtype=vae.dtype)
    latents = torch.randn(1, vae.config.z_dim, 4, 22, 40, device=vae.device, dtype=vae.dtype)
    return [lambda: vae.encode(video), lambda: list(decoded(vae, latents))]


def channels_last(vae: Any) -> None:  # noqa: ANN401 - AutoencoderKLWan
    """Keep the weights of convolutions as cuDNN computes with them, and so all that is computed with them."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, unused-ignore]
        elif isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]


def decoded(vae: Any, latents: torch.Tensor) -> Iterator[torch.Tensor]:  # noqa: ANN401 - AutoencoderKLWan
    """The frames of latents in parts, from -1 to 1, shape (1, 3, frames, height, width).

    The first part has one frame, the others four. A VAE that works on patches gives all frames at once.
    """
    if vae.config.patch_size is not None:
        yield vae.decode(latents, return_dict=False)[0]
        return
    kept: list[Any] = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.decoder.modules())
    prepared = vae.post_quant_conv(latents)
    for number in range(prepared.size(2)):
        frame = prepared[:, :, number : number + 1]
        part: torch.Tensor = vae.decoder(frame, feat_cache=kept, feat_idx=[0], first_chunk=number == 0)
        yield part.clamp(-1.0, 1.0)
