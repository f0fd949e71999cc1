"""Computes a denoising step with diffusers' own modules, as the pipeline does: the same numbers to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    Context: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
    """A prompt's embedding, and a style image's if the model takes one."""
    Conditions: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """The control's latents, the mask of given frames, and the padding mask."""


class PipelineStep:
    """Has the methods of `step.Step`; see there for the arguments."""

    def __init__(self, transformer: Any, pixels: int) -> None:  # noqa: ANN401 - CosmosTransformer3DModel
        """`pixels` are those of a latent, in rows and in columns."""
        self._transformer = transformer
        self._pixels = pixels
        self._controlnet: Any = None

    def use(self, controlnet: Any) -> None:  # noqa: ANN401 - CosmosControlNetModel
        """Take another control net, or none."""
        self._controlnet = controlnet

    def context(self, text: torch.Tensor) -> Context:
        """A prompt. Zeros stand for the missing style image."""
        config = self._transformer.config
        if not config.img_context_dim_in:
            return text
        shape = (text.size(0), config.img_context_num_tokens, config.img_context_dim_in)
        return text, text.new_zeros(shape, dtype=self._transformer.dtype)

    def conditions(self, control: torch.Tensor, mask: torch.Tensor) -> Conditions:
        """What the steps of a chunk share. No frame is padded."""
        height, width = (self._pixels * length for length in control.shape[3:])
        return control, mask, torch.zeros(1, 1, height, width, device=control.device, dtype=self._transformer.dtype)

    def velocities(
        self,
        latents: torch.Tensor,
        moment: torch.Tensor,
        conditions: Conditions,
        contexts: Sequence[Context],
        weight: float,
    ) -> list[torch.Tensor]:
        """Predict the velocity for each prompt."""
        control, mask, padding = conditions
        found = []
        for context in contexts:
            residuals = self._controlnet(
                controls_latents=control,
                latents=latents,
                timestep=moment,
                encoder_hidden_states=context,
                condition_mask=mask,
                conditioning_scale=weight,
                padding_mask=padding,
                return_dict=False,
            )[0]
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
