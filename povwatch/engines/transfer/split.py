"""Splits a step among the GPUs of a job: tokens outside of self-attention, heads within it.

Each rank has all weights and its own tokens of every frame. Only self-attention looks at other tokens. Before it, the
ranks exchange q, k and v, so that each has all tokens of its own heads; after it, they exchange the results back
(DeepSpeed-Ulysses, arXiv 2309.14509). Cross-attention looks at the prompt alone, which every rank has. So the numbers
are those of one GPU but for the rounding of products of another shape.

Tokens are divided within each frame, because AdaLN's rows are one a frame. They need not divide evenly: the first ranks
have one more. The order of tokens does not matter to attention, so they are in the order of ranks there.

diffusers has the same exchange (ContextParallelConfig, models/attention_dispatch.py), but for modules whose attention
it dispatches and that have a plan; Cosmos has no plan in 0.42.1, and this engine's step calls no such module.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from povwatch.engines.port import EngineFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

PATIENCE = timedelta(days=1)
"""How long a rank waits for another: ranks.py notices a lost one at once, and a job that stands still is a stall."""

PROBED = 1000
"""Numbers that the ranks send each other when they meet, to see whether they arrive."""

TODO = "Set NCCL_P2P_DISABLE=1 in povwatch's environment, or engine.gpus_per_worker = 1."


class Whole:
    """The part of the only rank."""

    ranks = 1

    def meet(self, device: torch.device) -> None:
        """Wait for the other ranks, and try the exchange.

        Args:
            device: this rank's.

        Raises:
            EngineFailure: what was sent is not what arrives.
        """

    def own(self, tokens: Tensor) -> Tensor:
        """This rank's tokens, of shape (B, F, P, width), in one piece."""
        return tokens

    def joined(self, own: Tensor) -> Tensor:
        """All tokens of those that `own` was last asked for. In the other ranks the result is empty."""
        return own

    def attention(self, attend: Attend) -> Attend:
        """Attention of this rank's tokens to all; `attend` is that of one rank. Shapes (B, S, H, D)."""
        return attend


def share(x: Tensor) -> None:
    """Fill a tensor in every rank with that of rank 0."""
    dist.broadcast(x, src=0)


class Part(Whole):
    """The part of one of several ranks."""

    def __init__(self, rank: int, ranks: int, file: str) -> None:
        """Take a part; `meet` has to precede the first exchange.

        Args:
            rank: 0 or more; rank 0 gets what is `joined`.
            ranks: how many there are.
            file: path of a file, not there at first, through which the ranks find each other.
        """
        self._rank = rank
        self._file = file
        self.ranks = ranks
        self._frames = 0
        self._shares: list[int] = []
        """Each rank's number of a frame's tokens."""

    def meet(self, device: torch.device) -> None:
        """See `Whole`."""
        store = dist.FileStore(self._file, self.ranks)  # type: ignore[attr-defined, unused-ignore]
        store.set_timeout(PATIENCE)
        kind = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(kind, store=store, rank=self._rank, world_size=self.ranks, timeout=PATIENCE)
        lengths = [PROBED + rank for rank in range(self.ranks)]
        sent = torch.full((self.ranks * lengths[self._rank],), float(self._rank), device=device)
        arrived = _exchanged(sent, [lengths[self._rank]] * self.ranks, lengths).cpu()
        expected = torch.cat([torch.full((length,), float(rank)) for rank, length in enumerate(lengths)])
        if wrong := int((arrived != expected).sum()):
            raise EngineFailure(
                "invalid", f"The GPUs cannot work together: {wrong} of {len(expected)} numbers arrived wrong.", TODO
            )

    def own(self, tokens: Tensor) -> Tensor:
        """See `Whole`."""
        self._frames = tokens.size(1)
        least, more = divmod(tokens.size(2), self.ranks)
        self._shares = [least + (rank < more) for rank in range(self.ranks)]
        return tokens.narrow(2, sum(self._shares[: self._rank]), self._shares[self._rank]).contiguous()

    def joined(self, own: Tensor) -> Tensor:
        """See `Whole`."""
        rows = own.transpose(0, 2).contiguous()
        to_first = [len(rows), *[0] * (self.ranks - 1)]
        found = _exchanged(rows, to_first, self._shares if self._rank == 0 else [0] * self.ranks)
        return found.transpose(0, 2)

    def attention(self, attend: Attend) -> Attend:
        """See `Whole`."""
        return split_attention.of(self, attend)

    def attended(self, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Exchange, attend, exchange back. q, k, v and the result have shape (B, this rank's S, H, D)."""
        batch, length, heads, width = q.shape
        lengths = [self._frames * share for share in self._shares]
        mine = heads // self.ranks
        sent = q.new_empty(self.ranks, length, 3, batch, mine, width)  # what a rank gets is in one piece
        for place, part in enumerate((q, k, v)):
            by_rank = part.unflatten(2, (self.ranks, mine))
            sent[:, :, place].copy_(by_rank.permute(2, 1, 0, 3, 4))
        arrived = _exchanged(sent.flatten(0, 1), [length] * self.ranks, lengths)
        result = attend(*(part.transpose(0, 1) for part in arrived.unbind(1)))
        back = _exchanged(result.transpose(0, 1).contiguous(), lengths, [length] * self.ranks)
        joined: Tensor = back.unflatten(0, (self.ranks, length)).permute(2, 1, 0, 3, 4).reshape(q.shape)
        return joined


class _SplitAttention:
    """`Part.attended` as an operator that torch.compile takes as it is."""

    def __init__(self) -> None:
        self._ways: list[tuple[Part, Attend]] = []
        self._operator = torch.library.custom_op(
            "povwatch::split_attention",
            self._call,
            mutates_args=(),
            schema="(Tensor q, Tensor k, Tensor v, int way) -> Tensor",
        )
        self._operator.register_fake(lambda q, _k, _v, _way: q.new_empty(q.shape))

    def of(self, part: Part, attend: Attend) -> Attend:
        """The function of a part and a kernel."""
        way = len(self._ways)
        self._ways.append((part, attend))

        def split(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            found: Tensor = torch.ops.povwatch.split_attention(q, k, v, way)
            return found

        return split

    def _call(self, q: Tensor, k: Tensor, v: Tensor, way: int) -> Tensor:
        part, attend = self._ways[way]
        return part.attended(q, k, v, attend)


split_attention = _SplitAttention()


WHOLE = Whole()


def _exchanged(sent: Tensor, lengths: Sequence[int], arriving: Sequence[int]) -> Tensor:
    """Send `lengths` rows to each rank; the rows that arrive, so many from each."""
    found = sent.new_empty(sum(arriving), *sent.shape[1:])
    dist.all_to_all_single(found, sent, list(arriving), list(lengths))
    return found
