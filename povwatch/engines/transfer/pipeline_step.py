"""Computes a denoising step with diffusers' own modules, as the pipeline does: the same numbers to the bit.

The pipeline takes one control without a mask. For more the modules are the same; their residuals are added, and the
style image is left out, as in step.py.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Context: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
    """A prompt's embedding, and a style image's if the model takes one."""
    Conditions: TypeAlias = tuple[
        Sequence[torch.Tensor | None], Sequence[float | torch.Tensor], torch.Tensor, torch.Tensor
    ]
    """The controls' latents and weights, the mask of given frames, and the padding mask."""


class PipelineStep:
    """Has the methods of `step.Step`; see there for the arguments."""

    def __init__(self, transformer: Any, pixels: int) -> None:  # noqa: ANN401 - CosmosTransformer3DModel
        """`pixels` are those of a latent, in rows and in columns."""
        self._transformer = transformer
        self._pixels = pixels
        self._controlnets: Sequence[Any] = ()

    def use(self, nets: Sequence[Any]) -> None:
        """Take these control nets (CosmosControlNetModel)."""
        self._controlnets = nets

    def context(self, text: torch.Tensor) -> Context:
        """A prompt. Zeros stand for the missing style image."""
        config = self._transformer.config
        if not config.img_context_dim_in:
            return text
        shape = (text.size(0), config.img_context_num_tokens, config.img_context_dim_in)
        return text, text.new_zeros(shape, dtype=self._transformer.dtype)

    def conditions(
        self,
        controls: Sequence[torch.Tensor | None],
        weights: Sequence[float | torch.Tensor],
        mask: torch.Tensor,
    ) -> Conditions:
        """What the steps of a chunk share. No frame is padded."""
        height, width = (self._pixels * length for length in mask.shape[3:])
        padding = torch.zeros(1, 1, height, width, device=mask.device, dtype=self._transformer.dtype)
        return controls, weights, mask, padding

    def velocities(
        self,
        latents: torch.Tensor,
        moment: torch.Tensor,
        conditions: Conditions,
        contexts: Sequence[Context],
    ) -> list[torch.Tensor]:
        """Predict the velocity for each prompt."""
        _, _, mask, padding = conditions
        found = []
        with self._without_image():
            for context in contexts:
                residuals = self._residuals(latents, moment, conditions, context)
                found.append(
                    self._transformer(
                        hidden_states=latents,
                        timestep=moment,
                        encoder_hidden_states=context,
                        block_controlnet_hidden_states=residuals,
                        condition_mask=mask,
                        padding_mask=padding,
                        return_dict=False,
                    )[0]
                )
        return found

    @contextmanager
    def _without_image(self) -> Iterator[None]:
        """Leave cross-attention to the style image out, if there are several controls."""
        with ExitStack() as stack:
            for net in (self._transformer, *self._controlnets) if len(self._controlnets) > 1 else ():
                for name, module in net.named_modules():
                    if name.endswith(".v_img"):
                        stack.callback(module.register_forward_hook(_zeros).remove)
            yield

    def _residuals(
        self, latents: torch.Tensor, moment: torch.Tensor, conditions: Conditions, context: Context
    ) -> list[torch.Tensor] | None:
        """What the transformer's blocks get: the weighted sum over the control nets; None without any."""
        controls, weights, mask, padding = conditions
        total: list[torch.Tensor] | None = None
        for net, control, weight in zip(self._controlnets, controls, weights, strict=True):
            if control is None:
                continue
            residuals = net(
                controls_latents=control,
                latents=latents,
                timestep=moment,
                encoder_hidden_states=context,
                condition_mask=mask,
                conditioning_scale=1.0 if isinstance(weight, torch.Tensor) else weight,
                padding_mask=padding,
                return_dict=False,
            )[0]
            if isinstance(weight, torch.Tensor):
                residuals = [one * weight.flatten(2).transpose(1, 2) for one in residuals]
            total = residuals if total is None else [a + b for a, b in zip(total, residuals, strict=True)]
        return None if total is None else [one.to(latents.dtype) for one in total]


def _zeros(_module: Any, _given: Any, found: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - a hook's arguments
    return torch.zeros_like(found)
