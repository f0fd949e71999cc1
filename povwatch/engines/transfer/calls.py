"""Has the other ranks compute each step along with rank 0.

Rank 0 does a job as if it were alone: it reads and writes files, encodes, decodes, guides, counts and reports. Only the
calls of its step are made in the other ranks too, each with the same tensors: their name and numbers go through the
pipe of ranks.py, and the tensors from GPU to GPU. So between two steps the other ranks wait at the pipe, where they
cost nothing, and a job may end there in whatever way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from povwatch.engines.ranks import END
from povwatch.engines.transfer.split import share
from povwatch.engines.transfer.step import Context, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from povwatch.engines.ranks import Words
    from povwatch.engines.transfer.step import Conditions


@dataclass(frozen=True, slots=True)
class _Numbered(Context):
    """A prompt as the blocks of rank 0 take it; the other ranks have theirs under the same number."""

    number: int


class LeadingStep(Step):
    """Rank 0's step."""

    def __init__(self, tell: Callable[[bytes], None], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Step's
        """`tell` sends the other ranks something; the other arguments are those of `Step`."""
        super().__init__(*args, **kwargs)
        self._tell = tell
        self._made = 0

    def context(self, text: Tensor) -> Context:
        """See `Step`."""
        self._made += 1
        self._call("context", text, number=self._made)
        own = super().context(text)
        return _Numbered(own.controls, own.main, self._made)

    def conditions(
        self, controls: Sequence[Tensor | None], weights: Sequence[float | Tensor], mask: Tensor
    ) -> Conditions:
        """See `Step`."""
        given = [one for one in (*controls, *weights) if isinstance(one, Tensor)]
        numbers = [None if isinstance(weight, Tensor) else weight for weight in weights]
        there = [control is not None for control in controls]
        self._call("conditions", mask, *given, controls=there, weights=numbers)
        return super().conditions(controls, weights, mask)

    def velocities(
        self, latents: Tensor, moment: Tensor, conditions: Conditions, contexts: Sequence[Context]
    ) -> list[Tensor]:
        """See `Step`. The conditions have to be the last ones that were made."""
        numbers = [context.number for context in contexts if isinstance(context, _Numbered)]
        self._call("velocities", latents, moment, contexts=numbers)
        return super().velocities(latents, moment, conditions, contexts)

    def _call(self, name: str, *tensors: Tensor, **values: object) -> None:
        given = [[str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for tensor in tensors]
        self._tell(json.dumps({"name": name, "given": given, **values}).encode() + b"\n")
        for tensor in tensors:
            share(tensor.contiguous())


def follow(step: Step, words: Words, device: torch.device) -> None:
    """Make the calls of a job in a rank other than 0, until rank 0 says that there are no more.

    Args:
        step: this rank's.
        words: what rank 0 tells.
        device: this rank's.
    """
    contexts: dict[int, Context] = {}
    conditions: Any = None
    while (line := words.line()) != END:
        call = json.loads(line)
        given = [torch.empty(shape, dtype=getattr(torch, dtype), device=device) for dtype, shape in call["given"]]
        for tensor in given:
            share(tensor)
        match call["name"]:
            case "context":
                contexts[call["number"]] = step.context(*given)
            case "conditions":
                conditions = None  # so that its memory is free for the next one
                mask, *others = given
                tensors = iter(others)
                controls = [next(tensors) if there else None for there in call["controls"]]
                each = [next(tensors) if weight is None else weight for weight in call["weights"]]
                conditions = step.conditions(controls, each, mask)
            case "velocities":
                latents, moment = given
                asked = [contexts[number] for number in call["contexts"]]
                step.velocities(latents, moment, conditions, asked)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # else this rank would end a job whose exchange it still waits for
