"""Makes weights of a chunk's masks: of a control's, for each token, and of what is kept of the clip, for each latent.

Both are upstream's arithmetic, on the same arrays the same numbers. Sources, at 2ff49d0: `get_data_and_condition` and
`resize_control_weight` (models/vid2vid_model_control_vace_rectified_flow.py), `construct_latent_weight_map`
(inference/inference_pipeline.py) and the loop of `generate_samples_from_batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

GROUP = 4
"""Frames of a latent frame, after the first one, which has a latent of its own."""

SUM_MAX = 1.0
"""Where a control has a mask, the weights of a token are scaled down to this sum."""


def by_token(
    masks: Sequence[Tensor | None], weights: Sequence[float], size: tuple[int, int, int]
) -> list[float | Tensor]:
    """The weights of a chunk's controls: numbers, or one for each token as soon as some mask is not all white.

    Args:
        masks: of each control, shape (1, 1, frames, height, width), bool: where the control holds; None for everywhere.
        weights: of each control.
        size: frames, rows and columns of tokens.

    Returns:
        The weights, those of tokens in float32, shape (1, 1, *size).
    """
    partly = [mask is not None and not bool(mask.all()) for mask in masks]
    if not any(partly):
        return list(weights)
    frames, *area = size
    maps = []
    for mask, weight, some in zip(masks, weights, partly, strict=True):
        if not some or mask is None:
            maps.append(weight * torch.ones(1, 1, *size, device=_device(masks)))
            continue
        whole = mask * weight
        parts = [_resized(whole[:, :, :1], (1, *area))]
        if frames > 1:
            parts.append(_resized(whole[:, :, 1:], (frames - 1, *area)))
        maps.append(torch.cat(parts, dim=2))
    stacked = torch.stack(maps)
    capped = stacked * (SUM_MAX / stacked.sum(dim=0).clamp_min(SUM_MAX))
    return list(capped.unbind())


def by_latent(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of the clip is kept in each latent, 0 to 1.

    Args:
        mask: shape (1, 1, frames, height, width), from 0 to 1, float32.
        size: rows and columns of latents.

    Returns:
        Shape (1, 1, latent frames, *size).
    """
    starts = range(1, mask.size(2), GROUP)
    groups = [mask[:, :, :1], *(mask[:, :, start : start + GROUP] for start in starts)]
    return torch.cat([_resized(group, (1, *size)) for group in groups], dim=2)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a chunk keeps of the clip."""

    clean: Tensor
    """The clip's latents, float32, in the chunk's shape."""
    mask: Tensor
    """From `by_latent`."""
    threshold: int
    """The last step in which it is kept, counted from 0."""

    def blended(self, latents: Tensor, noise: Tensor, *, step: int, sigma: float) -> Tensor:
        """What the networks get as latents at a step; `sigma` is its noise level, `noise` that of the chunk."""
        if step > self.threshold:
            return latents
        noisy = self.clean * (1 - sigma) + noise * sigma
        return noisy * self.mask + latents * (1 - self.mask)


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return interpolate(x, size=size, mode="trilinear", align_corners=False)


def _device(masks: Sequence[Tensor | None]) -> torch.device:
    return next(mask.device for mask in masks if mask is not None)
