"""Decodes latents part by part, so that the first frames are written while the later ones are decoded.

`AutoencoderKLWan.decode` decodes one latent frame at a time too, and joins the parts at the end. These are the same
numbers to the bit, and need the memory of a part instead of a whole chunk's. Source: `AutoencoderKLWan._decode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

if TYPE_CHECKING:
    from collections.abc import Iterator


def channels_last(vae: Any) -> None:  # noqa: ANN401 - AutoencoderKLWan
    """Keep the weights of convolutions as cuDNN computes with them, and so all that is computed with them."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)


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
