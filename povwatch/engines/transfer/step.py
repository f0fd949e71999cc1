"""Computes one denoising step of Cosmos-Transfer2.5: the control nets and the transformer, for each prompt.

The mathematics is that of `CosmosControlNetModel` and `CosmosTransformer3DModel` (diffusers 0.42.1,
models/controlnets/controlnet_cosmos.py and models/transformers/transformer_cosmos.py); only rounding differs. It takes
less work in four places:

- The first self-attention of either network comes before the first cross-attention, so it depends on no prompt: both
  branches of guidance share it.
- AdaLN's shift, scale and gate depend on the frame's timestep alone: a row a frame, instead of one a token, and once
  for both branches.
- This engine takes no style image. Its tokens are all zero, hence equal, so that cross-attention to them is one vector:
  the value of one token.
- Keys and values of a prompt are computed once a job, and what depends on the control alone once a chunk.

q, k and v are one product, and no transposition surrounds the attention.

With several controls the transformer gets the weighted sum of their nets' residuals; its own computations are made
once. Source: upstream's network with `use_after_proj_for_multi_branch = False` (minimal_v4_lvg_dit_control_vace.py,
`forward`). The network that upstream loads for several controls has no input for a style image, so cross-attention to
the missing one is left out then: `multibranch_720p_t24_spaced_layer4_cr1pt1_rectified_flow_inference`, unlike the four
networks of one control, is made of the experiment without image context (experiment_list.py).

Letters in shapes: B batch (1), F latent frames, P tokens of a frame, S = F P, C width of the model, H heads, D width of
a head, T tokens of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from povwatch.engines.transfer.split import WHOLE, Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PATCH = (1, 2, 2)
"""Latents of a token: frames, rows, columns."""

FIXED = {
    "patch_size": PATCH,
    "extra_pos_embed_type": None,
    "use_crossattn_projection": True,
}
"""Values in either network's configuration that this step is written for."""

SAME = ("num_attention_heads", "attention_head_dim", "rope_scale", "img_context_dim_in", "img_context_dim_out")
"""Keys that have to be equal in both configurations."""

WEIGHTS = frozenset(
    {
        *(f"norm{n}.linear_{m}.weight" for n in (1, 2, 3) for m in (1, 2)),
        *(f"attn{n}.{part}.weight" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")),
        *(f"attn{n}.{part}.weight" for n in (1, 2) for part in ("norm_q", "norm_k")),
        *(f"attn2.{part}.weight" for part in ("q_img", "k_img", "v_img", "q_img_norm", "k_img_norm")),
        "ff.net.0.proj.weight",
        "ff.net.2.weight",
    }
)
"""Names of a block's weights, except those of its projections to and from the control net."""

PROJECTIONS = frozenset({"before_proj.weight", "before_proj.bias", "after_proj.weight", "after_proj.bias"})
"""Names of a block's projections: the control net's first block has both, its others the second."""


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt as the blocks take it, in order: those of each control net, and those of the transformer."""

    controls: list[list[Prepared]]
    main: list[Prepared]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt as one block takes it."""

    key: Tensor
    """Shape (B, H, T, D)."""
    value: Tensor
    """Shape (B, H, T, D)."""
    image: Tensor
    """Cross-attention to the missing style image, shape (B, 1, C); zeros with several controls."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all steps of a chunk share."""

    hints: list[Tensor | None]
    """Each control, projected, shape (B, F, P, C); None for one that is left out."""
    weights: list[float | Tensor]
    """Each control's weight; one for each token has shape (B, F, P, 1)."""
    mask: Tensor
    """1 for given frames, shape (B, 1, F, height, width)."""
    cos: Tensor
    """Rotary positions, float32, shape (S, D)."""
    sin: Tensor


class Step:
    """Predicts velocities with the transformer and the control nets in use."""

    def __init__(
        self,
        transformer: Any,  # noqa: ANN401 - CosmosTransformer3DModel; diffusers has no types
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        prepared: Callable[[Callable[..., Tensor]], Callable[..., Tensor]] = lambda function: function,
        feed_forward: Callable[[nn.Module], nn.Module] = lambda exact: exact,
        *,
        part: Whole = WHOLE,
    ) -> None:
        """Take the transformer apart; `use` has to give it control nets before the first step.

        Several steps may share a transformer and control nets; they have the weights once.

        Args:
            transformer: one that `unknown` finds nothing against.
            attend: computes attention from q, k and v, each of shape (B, S, H, D); its result has that shape, too.
            prepared: makes a faster function of one, such as torch.compile.
            feed_forward: makes a block's feed-forward of diffusers'.
            part: what this process computes of a step; all of it unless told.
        """
        self._transformer = transformer
        self._part = part
        self._attend = part.attention(attend)
        self._feed_forward = feed_forward
        self._main = [Block(block, self._attend, feed_forward(block.ff)) for block in transformer.transformer_blocks]
        self._branches: list[Branch] = []
        self.attention = prepared(Block.attention)
        self.rest = prepared(Block.rest)

    def use(self, nets: Sequence[Any]) -> None:
        """Take these control nets (CosmosControlNetModel), in this order; the others are let go of."""
        known = {id(branch.net): branch for branch in self._branches}
        self._branches = [known.get(id(net)) or self._branch(net) for net in nets]

    def context(self, text: Tensor) -> Context:
        """Prepare a prompt for a job; `text` is its embedding, shape (B, T, layers times width)."""
        return Context(
            [self._prepared(branch.net, branch.blocks, text) for branch in self._branches],
            self._prepared(self._transformer, self._main, text),
        )

    def conditions(
        self, controls: Sequence[Tensor | None], weights: Sequence[float | Tensor], mask: Tensor
    ) -> Conditions:
        """Prepare a chunk.

        Args:
            controls: the latents of each net's control, shape (B, channels, F, height, width); None leaves a net out.
            weights: of each control: a number, or one for each token, shape (B, 1, F, height / 2, width / 2).
            mask: 1 for given frames, shape (B, 1, F, height, width).
        """
        hints = [
            None if control is None else self._hint(branch, control, mask)
            for branch, control in zip(self._branches, controls, strict=True)
        ]
        own = [self._own_weights(weight) if isinstance(weight, Tensor) else weight for weight in weights]
        return Conditions(hints, own, mask, *self._positions(mask))

    def velocities(
        self, latents: Tensor, moment: Tensor, conditions: Conditions, contexts: Sequence[Context]
    ) -> list[Tensor]:
        """Predict the velocity for each prompt: from noise to video, in latents.

        Args:
            latents: shape (B, channels, F, height, width).
            moment: each frame's timestep, float32, shape (B, 1, F, 1, 1).
            conditions: of the chunk.
            contexts: of the prompts.
        """
        transformer, positions = self._transformer, (conditions.cos, conditions.sin)
        begun = [
            self._begun(number, hint, latents, moment, conditions)
            for number, hint in enumerate(conditions.hints)
            if hint is not None
        ]
        main_moments, last = _moments(transformer, self._main, moment, latents)
        main_hidden = self._tokens(transformer.patch_embed, latents, conditions.mask)
        # As far as the first cross-attention nothing depends on the prompt.
        main_first = self.attention(self._main[0], main_hidden, main_moments[0], *positions)
        found = []
        for context in contexts:
            residuals = self._residuals(begun, context, positions)
            x = main_hidden
            for i, block in enumerate(self._main):
                attended = main_first if i == 0 else self.attention(block, x, main_moments[i], *positions)
                number, off = divmod(i, transformer.config.controlnet_block_every_n)
                residual = None if off or not residuals else residuals[number]
                x = self.rest(block, x, attended, main_moments[i], context.main[i], residual)
            found.append(self._velocity(x, last, latents))
        return found

    def trials(self, shape: Sequence[int], text: Tensor) -> list[Callable[[], object]]:
        """Calls of every function that was `prepared`, on random input, so that they are compiled.

        Args:
            shape: of the latents.
            text: a prompt's embedding.
        """
        block, net = self._main[0], self._transformer
        frames = shape[2]
        latents = torch.randn(tuple(shape), device=text.device, dtype=text.dtype)
        cos, sin = self._positions(latents)
        [moments], _ = _moments(net, [block], torch.full((shape[0], 1, frames, 1, 1), 0.5, device=text.device), latents)
        # Three tensors, because torch.compile makes another function where two arguments are the same one.
        x, attended, residual = (
            torch.randn_like(self._tokens(net.patch_embed, latents, torch.ones_like(latents[:, :1]))) for _ in range(3)
        )
        prepared = self._prepared(net, [block], text)[0]
        return [
            lambda: self.attention(block, x, moments, cos, sin),
            lambda: self.rest(block, x, attended, moments, prepared),
            lambda: self.rest(block, x, attended, moments, prepared, residual),
        ]

    def _branch(self, net: Any) -> Branch:  # noqa: ANN401 - CosmosControlNetModel
        return Branch(net, [Block(block, self._attend, self._feed_forward(block.ff)) for block in net.control_blocks])

    def _hint(self, branch: Branch, control: Tensor, mask: Tensor) -> Tensor:
        net = branch.net
        lacking = net.config.in_channels - 2 - control.size(1)  # the last two are the mask and the padding mask
        filled = torch.cat((control, control.new_zeros(control.size(0), lacking, *control.shape[2:])), dim=1)
        hint: Tensor = branch.blocks[0].block.before_proj(self._tokens(net.patch_embed, filled, mask))
        return hint

    def _own_weights(self, weights: Tensor) -> Tensor:
        """Weights of this process's tokens, shape (B, F, P, 1)."""
        return self._part.own(weights.flatten(3).movedim(1, -1))

    def _begun(
        self, number: int, hint: Tensor, latents: Tensor, moment: Tensor, conditions: Conditions
    ) -> _BegunBranch:
        """What a control net computes for all prompts: as far as its first cross-attention."""
        branch = self._branches[number]
        moments, _ = _moments(branch.net, branch.blocks, moment, latents)
        hidden = hint + self._tokens(branch.net.patch_embed_base, latents, conditions.mask)
        first = self.attention(branch.blocks[0], hidden, moments[0], conditions.cos, conditions.sin)
        return _BegunBranch(branch.blocks, number, conditions.weights[number], moments, hidden, first)

    def _residuals(self, begun: list[_BegunBranch], context: Context, positions: tuple[Tensor, Tensor]) -> list[Tensor]:
        """What the transformer's blocks get: the weighted sum over the control nets; empty without any."""
        total: list[Tensor] = []
        for branch in begun:
            x = branch.hidden
            for i, block in enumerate(branch.blocks):
                attended = branch.first if i == 0 else self.attention(block, x, branch.moments[i], *positions)
                x = self.rest(block, x, attended, branch.moments[i], context.controls[branch.number][i])
                weighted = block.block.after_proj(x) * branch.weight
                if i < len(total):
                    total[i] = total[i] + weighted
                else:
                    total.append(weighted)
        return [residual.type_as(context.main[0].image) for residual in total]  # weights of tokens are float32

    def _tokens(self, embed: nn.Module, latents: Tensor, mask: Tensor) -> Tensor:
        """Latents with their mask as this process's tokens, shape (B, F, P, C).

        No frame is padded, so the padding mask is zero.
        """
        tokens: Tensor = embed(torch.cat((latents, mask, torch.zeros_like(mask)), dim=1))
        return self._part.own(tokens.flatten(2, 3))

    def _positions(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Cosine and sine of the rotary positions of this process's tokens, shape (S, D)."""
        frames = latents.size(2)
        return tuple(
            self._part.own(x.unflatten(0, (1, frames, -1))).flatten(0, 2) for x in self._transformer.rope(latents)
        )

    def _prepared(self, net: Any, blocks: list[Block], text: Tensor) -> list[Prepared]:  # noqa: ANN401 - see above
        projected = net.crossattn_proj(text)
        image = net.img_context_proj(text.new_zeros(text.size(0), 1, net.config.img_context_dim_in))
        if len(self._branches) > 1:
            image = torch.zeros_like(image)  # its projection has no bias
        return [block.prepare(projected, image) for block in blocks]

    def _velocity(self, x: Tensor, last: Tensor, latents: Tensor) -> Tensor:
        """The output layer: from tokens to latents. Only the first of several processes has them."""
        _, _, frames, height, width = latents.shape
        shift, scale = last.chunk(2, dim=-1)
        own = self._transformer.proj_out(self._transformer.norm_out.norm(x) * (1 + scale) + shift)
        x = self._part.joined(own)
        if not x.numel():
            return x
        x = x.unflatten(3, (*PATCH[1:], PATCH[0], -1)).unflatten(2, (height // PATCH[1], width // PATCH[2]))
        return x.permute(0, 7, 1, 6, 2, 4, 3, 5).reshape(x.size(0), -1, frames, height, width)


@dataclass(frozen=True, slots=True)
class Branch:
    """A control net, taken apart."""

    net: Any
    """CosmosControlNetModel."""
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class _BegunBranch:
    """What a control net has computed of a step that no prompt changes."""

    blocks: list[Block]
    number: int
    """Among the nets in use."""
    weight: float | Tensor
    moments: list[Tensor]
    hidden: Tensor
    """The input of its first block."""
    first: Tensor
    """The first self-attention."""


class Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """A block of either network, around diffusers' `CosmosTransformerBlock`."""

    def __init__(
        self,
        block: Any,  # noqa: ANN401 - diffusers has no types
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        feed_forward: nn.Module,
    ) -> None:
        super().__init__()
        self.block = block
        self.feed_forward = feed_forward
        self._attend = attend
        own = block.attn1
        self._heads = int(own.heads)
        self._qkv = nn.Linear(1, 1, bias=False, device="meta")
        self._qkv.weight = _joined(own.to_q, own.to_k, own.to_v)

    def prepare(self, text: Tensor, image: Tensor) -> Prepared:
        """Prepare a prompt; `text` has shape (B, T, width of the projected prompt), `image` (B, 1, its width)."""
        cross = self.block.attn2
        key = cross.norm_k(cross.to_k(text).unflatten(-1, (self._heads, -1))).transpose(1, 2)
        value = cross.to_v(text).unflatten(-1, (self._heads, -1)).transpose(1, 2)
        return Prepared(key.contiguous(), value.contiguous(), cross.v_img(image))

    def moments(self, embedded: Tensor, temb: Tensor) -> Tensor:
        """Shift, scale and gate of the three norms, shape (3, B, F, 1, 3 C).

        Args:
            embedded: the embedded timestep, shape (B, F, C).
            temb: what all norms add to theirs, shape (B, F, 3 C).
        """
        norms = (self.block.norm1, self.block.norm2, self.block.norm3)
        each = [norm.linear_2(norm.linear_1(norm.activation(embedded))) + temb for norm in norms]
        return torch.stack(each)[:, :, :, None]

    def attention(self, x: Tensor, moments: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Self-attention of x, shape (B, F, P, C), before its gate."""
        own = self.block.attn1
        shift, scale, _ = moments[0].chunk(3, dim=-1)
        y = (self.block.norm1.norm(x) * (1 + scale) + shift).flatten(1, 2)
        q, k, v = self._qkv(y).unflatten(-1, (3, self._heads, -1)).unbind(2)
        attended = self._attend(_rotated(own.norm_q(q), cos, sin), _rotated(own.norm_k(k), cos, sin), v)
        projected: Tensor = own.to_out[0](attended.flatten(2))
        return projected.view_as(x)

    def rest(
        self, x: Tensor, attended: Tensor, moments: Tensor, context: Prepared, residual: Tensor | None = None
    ) -> Tensor:
        """What follows self-attention: cross-attention to the prompt, feed-forward, and the control's residual."""
        cross = self.block.attn2
        x = x + moments[0].chunk(3, dim=-1)[2] * attended
        shift, scale, gate = moments[1].chunk(3, dim=-1)
        y = (self.block.norm2.norm(x) * (1 + scale) + shift).flatten(1, 2)
        q = cross.norm_q(cross.to_q(y).unflatten(-1, (self._heads, -1))).transpose(1, 2)
        y = scaled_dot_product_attention(q, context.key, context.value).transpose(1, 2).flatten(2) + context.image
        x = x + gate * cross.to_out[0](y).view_as(x)
        shift, scale, gate = moments[2].chunk(3, dim=-1)
        x = x + gate * self.feed_forward(self.block.norm3.norm(x) * (1 + scale) + shift)
        return x if residual is None else x + residual


def unknown(transformer: Any, controlnet: Any) -> str:  # noqa: ANN401 - diffusers' models
    """How the networks differ from those that this step is written for, for people; empty if they do not."""
    return next(_differences(transformer, controlnet), "")


def _differences(transformer: Any, controlnet: Any) -> Iterator[str]:  # noqa: ANN401 - see above
    main, control = transformer.config, controlnet.config
    for name, config in (("transformer", main), ("controlnet", control)):
        for key, value in FIXED.items():
            if _plain(config[key]) != value:
                yield f"{key} = {config[key]!r} in {name}/config.json"
    if not main.concat_padding_mask:
        yield "concat_padding_mask = false in transformer/config.json"
    if not main.img_context_dim_in:
        yield "img_context_dim_in is missing in transformer/config.json"
    for key in SAME:
        if _plain(main[key]) != _plain(control[key]):
            yield f"{key} = {main[key]!r} in transformer/config.json and {control[key]!r} in controlnet/config.json"
    every = main.controlnet_block_every_n
    if not every or -(-len(transformer.transformer_blocks) // every) != len(controlnet.control_blocks):
        yield f"controlnet_block_every_n = {every!r} in transformer/config.json"
    if controlnet.patch_embed_base.proj.in_features != transformer.patch_embed.proj.in_features:
        yield f"latent_channels = {control.latent_channels!r} in controlnet/config.json"
    yield from _odd_weights(transformer.transformer_blocks, "transformer", frozenset())
    yield from _odd_weights(controlnet.control_blocks, "controlnet", PROJECTIONS)


def _odd_weights(blocks: Iterable[Any], name: str, projections: frozenset[str]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        wanted = WEIGHTS | {key for key in projections if number == 0 or key.startswith("after_proj")}
        for odd in sorted(wanted ^ {key for key, _ in block.named_parameters()}):
            yield f"{odd} in block {number} of the {name}"


def _plain(value: object) -> object:
    """A list as a tuple, as in configurations that were read from JSON."""
    return tuple(value) if isinstance(value, list) else value


def _moments(net: Any, blocks: list[Block], moment: Tensor, like: Tensor) -> tuple[list[Tensor], Tensor]:  # noqa: ANN401
    """Each block's `moments`, and shift and scale of the output layer, shape (B, F, 1, 2 C), if the network has one.

    `like` has the type of the weights.
    """
    rows = (moment.size(0), moment.size(2), -1)
    temb, embedded = (part.view(rows) for part in net.time_embed(like, moment.flatten()))
    each = [block.moments(embedded, temb) for block in blocks]
    norm = getattr(net, "norm_out", None)
    if norm is None:
        return each, temb
    last = norm.linear_2(norm.linear_1(norm.activation(embedded)))
    return each, (last + temb[..., : last.size(-1)])[:, :, None]


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on x, shape (B, S, H, D), in float32."""
    real, imaginary = x.unflatten(-1, (2, -1)).unbind(-2)
    turned = torch.cat((-imaginary, real), dim=-1)
    return (x.float() * cos[:, None] + turned.float() * sin[:, None]).to(x.dtype)


def _joined(*linears: nn.Linear) -> nn.Parameter:
    """The weights of several linears in one, which they share from now on: no weight is there twice."""
    weights = [linear.weight.detach() for linear in linears]
    rows, columns = sum(weight.size(0) for weight in weights), weights[0].size(1)
    [place, *others] = {weight.untyped_storage().data_ptr() for weight in weights}
    if not others and weights[0].data_ptr() == place:  # another step joined them
        return nn.Parameter(weights[0].as_strided((rows, columns), (columns, 1)), requires_grad=False)
    whole = torch.cat(weights)
    start = 0
    for linear in linears:
        end = start + linear.weight.size(0)
        linear.weight = nn.Parameter(whole[start:end], requires_grad=False)
        start = end
    return nn.Parameter(whole, requires_grad=False)
