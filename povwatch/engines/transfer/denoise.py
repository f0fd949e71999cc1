"""Computes one chunk as the pipeline does: from frames of controls to latents, and from latents to frames.

Source: `Cosmos2_5_TransferPipeline.__call__` and `prepare_latents`. The order of random draws, the types of all sums
and the expressions are the same, as far as the job's speed computes a step (skipping.py). What has no effect is left
out: the pipeline multiplies the latents of unconditioned frames by zero, so here they are neither encoded nor kept.
Their random draws are still made, because they decide the later ones.

Several controls, masks and guided generation, which the pipeline lacks, are computed as upstream does. Each control is
encoded as the pipeline encodes its one. Frames that a chunk lacks are the last one again, as in the pipeline, also in
masks and in what is kept; upstream mirrors them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from povwatch.engines.transfer import masks
from povwatch.engines.transfer.skipping import Compute, Velocities
from povwatch.engines.transfer.vae import decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from povwatch.engines.transfer.frames import Piece
    from povwatch.engines.transfer.model import Model
    from povwatch.engines.transfer.request import Request

CONDITIONAL_TIMESTEP = 0.1
"""Timestep of given frames: the pipeline's default `conditional_frame_timestep`."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a chunk is denoised from."""

    noise: torch.Tensor
    """float32, in the chunk's shape."""
    given: torch.Tensor
    """The given latents, float32, in the chunk's shape."""
    controls: list[torch.Tensor | None]
    """Each control's latents; None for one that is left out."""
    weights: list[float | torch.Tensor]
    """Of each control; see `masks.by_token`."""
    kept: masks.Kept | None
    """What is kept of the clip."""


class Denoiser:
    """Makes the chunks of one job, in order."""

    def __init__(self, model: Model, request: Request) -> None:
        self._model = model
        self._request = request
        pipeline, vae = model.pipeline, model.vae
        width, height = request.size
        time, space = pipeline.vae_scale_factor_temporal, pipeline.vae_scale_factor_spatial
        self._shape = (
            1,
            model.transformer.config.in_channels - 1,  # the last channel says which frames are given
            (request.chunk_frames - 1) // time + 1,
            height // space,
            width // space,
        )
        self._given = max(0, (request.carried - 1) // time + 1)
        """Latent frames that a later chunk is given."""
        self._given_frames = (self._given - 1) * time + 1 if self._given else 0
        self._mean = pipeline.latents_mean.to(dtype=vae.dtype, device=model.device)
        self._std = pipeline.latents_std.to(dtype=vae.dtype, device=model.device)
        prompts = [request.prompt, request.negative_prompt] if request.has_guidance else [request.prompt]
        self._step: Any = model.step_for(request.speed)  # of two kinds that have the same methods
        self._contexts = [self._step.context(model.embed(prompt)) for prompt in prompts]
        self._plan = request.plan

    def encode(self, piece: Piece, carried: torch.Tensor | None, generator: torch.Generator) -> Encoded:
        """Draw the noise and encode the conditions.

        Args:
            piece: frames at the model's size, `chunk_frames` or fewer; the last one is repeated if some lack.
            carried: the frames that the chunk continues, from `decode`; None for the first chunk.
            generator: of the job's random numbers.
        """
        model = self._model
        model.trim()
        noise = randn_tensor(self._shape, generator=generator, device=model.device, dtype=torch.float32)
        sample = randn_tensor(self._shape, generator=generator, device=model.device, dtype=model.vae.dtype)
        given = torch.zeros_like(noise)
        if carried is not None and self._given:
            posterior = model.vae.encode(carried.to(device=model.device, dtype=model.vae.dtype)).latent_dist
            first = (posterior.mean + posterior.std * sample[:, :, : self._given]).to(torch.float32)
            mean, std = (x.to(device=model.device) for x in (model.pipeline.latents_mean, model.pipeline.latents_std))
            given[:, :, : self._given] = (first - mean) / std
        controls = [self._control(piece.controls[one.key], generator) for one in self._request.controls]
        return Encoded(noise, given, controls, self._weights(piece), self._kept(piece))

    def denoise(self, encoded: Encoded, *, first: bool, stepped: Callable[[int], None]) -> torch.Tensor:
        """Denoise what `encode` returned, step by step.

        Args:
            encoded: of the chunk.
            first: whether this is the first chunk, which is given no frames.
            stepped: gets the number of finished steps, 0 at first; its exceptions end the chunk.

        Returns:
            The chunk's latents, float32.
        """
        request = self._request
        model, steps, guidance = self._model, request.steps, request.guidance
        noise, given, kept = encoded.noise, encoded.given, encoded.kept
        dtype = model.transformer.dtype
        model.trim()
        indicator = noise.new_zeros(1, 1, noise.size(2), 1, 1)
        indicator[:, :, : 0 if first else self._given] = 1.0
        mask = (indicator * noise.new_ones((1, 1, *self._shape[2:]))).to(dtype)
        given_timestep = torch.ones_like(indicator) * CONDITIONAL_TIMESTEP
        fixed = (noise - given) * mask
        latents = noise
        model.scheduler.set_timesteps(steps, device=model.device)
        known, difference = Velocities(), None
        with model.attention.scope():
            conditions = self._step.conditions(encoded.controls, encoded.weights, mask)
            for step, timestep in enumerate(model.scheduler.timesteps):
                stepped(step)
                level = model.scheduler.sigmas[step].item()
                wanted = self._plan[step]
                if wanted is Compute.NOTHING:
                    velocity = known.at(level)
                else:
                    sigma = torch.tensor(level).unsqueeze(0).to(model.device, dtype)
                    seen = latents if kept is None else kept.blended(latents, noise, step=step, sigma=level)
                    inputs = (mask * given + (1 - mask) * seen).to(dtype)
                    moment = indicator * given_timestep + (1 - indicator) * sigma
                    contexts = self._contexts if wanted is Compute.ALL else self._contexts[:1]
                    predicted = self._step.velocities(inputs, moment, conditions, contexts)
                    velocities = [fixed + one * (1 - mask) for one in predicted]
                    velocity = velocities[0]
                    if len(velocities) > 1:
                        difference = velocity - velocities[1]
                    if difference is not None:
                        velocity = velocity + guidance * difference
                    known.add(level, velocity)
                latents = model.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
                self._wait()
        stepped(steps)
        return latents

    def decode(self, latents: torch.Tensor, shown: Callable[[torch.Tensor], None]) -> torch.Tensor | None:
        """Decode a chunk.

        Args:
            latents: from `denoise`.
            shown: gets the frames in parts, in order, from -1 to 1, shape (1, 3, frames, height, width).

        Returns:
            The frames that the next chunk continues, from which its given latents are made; None if it continues none.
        """
        vae, last = self._model.vae, self._request.carried
        self._model.trim()
        scaled = latents.to(self._model.device) * self._std + self._mean
        tail: list[torch.Tensor] = []
        for part in decoded(vae, scaled.to(vae.dtype)):
            shown(part)
            tail.append(part)
            while tail and sum(one.size(2) for one in tail[1:]) >= last:
                del tail[0]
        if not self._given_frames:
            return None
        frames = torch.cat(tail, dim=2)
        start = frames.size(2) - last
        return frames[:, :, start : start + self._given_frames].clone()

    def _control(self, frames: NDArray[np.uint8], generator: torch.Generator) -> torch.Tensor | None:
        """A control's latents; None for one of several that is all black in this chunk: upstream leaves it out."""
        if len(self._request.controls) > 1 and not frames.any():
            return None
        posterior = self._model.vae.encode(self._padded(frames)).latent_dist
        latents = posterior.sample(generator).to(self._model.transformer.dtype)
        found: torch.Tensor = (latents - self._mean) / self._std
        return found

    def _weights(self, piece: Piece) -> list[float | torch.Tensor]:
        """Each control's weight in this chunk."""
        _, _, frames, height, width = self._shape
        _, rows, columns = self._model.transformer.config.patch_size
        given = [piece.masks.get(control.key) for control in self._request.controls]
        whole = [None if mask is None else self._filled(mask) for mask in given]
        weights = [control.weight for control in self._request.controls]
        return masks.by_token(whole, weights, (frames, height // rows, width // columns))

    def _kept(self, piece: Piece) -> masks.Kept | None:
        """What is kept of the clip. Upstream encodes without drawing: the clip's latents are the mean."""
        guided, vae = self._request.guided, self._model.vae
        if guided is None or piece.clip is None or piece.kept is None:
            return None
        mask = self._filled(piece.kept).to(torch.float32) / 255.0
        clean = (vae.encode(self._padded(piece.clip)).latent_dist.mean - self._mean) / self._std
        return masks.Kept(clean.to(torch.float32), masks.by_latent(mask, self._shape[3:]), guided.threshold)

    def _padded(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """Frames as the VAE takes them: -1 to 1, shape (1, 3, chunk_frames, height, width).

        The pipeline's arithmetic, in float32: u / 255, then 2 x - 1.
        """
        video = torch.from_numpy(frames).to(self._model.device).permute(3, 0, 1, 2)[None]
        return self._lengthened((2.0 * (video.to(torch.float32) / 255.0) - 1.0).to(self._model.vae.dtype))

    def _filled(self, mask: NDArray[Any]) -> torch.Tensor:
        """A mask of all frames of a chunk, shape (1, 1, chunk_frames, height, width)."""
        return self._lengthened(torch.from_numpy(mask).to(self._model.device)[None, None])

    def _lengthened(self, video: torch.Tensor) -> torch.Tensor:
        """Video of shape (1, channels, frames, height, width) with its last frame repeated, up to `chunk_frames`."""
        lack = self._request.chunk_frames - video.size(2)
        return torch.cat((video, video[:, :, -1:].repeat(1, 1, lack, 1, 1)), dim=2) if lack else video

    def _wait(self) -> None:
        """Wait for the device. Else queued steps would count as done, and times would be wrong."""
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
