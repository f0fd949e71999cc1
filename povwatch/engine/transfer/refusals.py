"""What a spec may ask for that this engine cannot do, known before any GPU time. Pure.

The spec check asks the same, so that it is said while the JSON can still be edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.engine.port import EngineFailure
from povwatch.engine.transfer.settings import CONTROL_NAMES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

COMPUTED = ("edge", "vis")
"""The controls that are computed from the clip here."""

ANOTHER = 'engine.kind = "cosmos" can do it.'

NOT_HERE = {
    "image_context_path": "style image",
    "context_frame_index": "style frame",
    "guided_generation_mask": "mask of what is kept",
}
"""Fields of the spec that nothing in the pipeline takes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that is asked for in vain."""

    field: str
    """`edge.mask_path`."""
    message: str
    """A sentence, the field and what was found in it."""
    todo: str


def refusals(spec: dict[str, Any], controls: Collection[str]) -> Iterator[Refusal]:
    """Everything in a spec that this engine cannot do.

    Args:
        spec: upstream's fields.
        controls: the hint keys that are loaded.
    """
    asked = asked_controls(spec)
    if not asked:
        yield Refusal("", "The spec asks for no control.", f"Add one of {', '.join(controls)}.")
    if len(asked) > 1:
        message = f"The spec asks for {len(asked)} controls ({', '.join(asked)}); the diffusers engine takes one."
        yield Refusal(asked[1], message, f"Keep one of them; {ANOTHER}")
    for key in asked:
        yield from _of_control(key, spec[key], controls)
    for name, words in NOT_HERE.items():
        if (found := spec.get(name)) is not None:
            message = f"{name} is {found!r}; the diffusers engine takes no {words}."
            yield Refusal(name, message, f"Leave it out; {ANOTHER}")


def refuse(spec: dict[str, Any], controls: Collection[str]) -> None:
    """Raise the first of them.

    Raises:
        EngineFailure: there is one.
    """
    for refusal in refusals(spec, controls):
        raise EngineFailure("invalid", refusal.message, refusal.todo)


def asked_controls(spec: dict[str, Any]) -> list[str]:
    """The hint keys that a spec sets."""
    return [key for key in CONTROL_NAMES if spec.get(key) is not None]


def _of_control(key: str, asked: dict[str, Any], controls: Collection[str]) -> Iterator[Refusal]:
    if key not in controls:
        message = f"The spec asks for {key}; engine.controls has {', '.join(controls)}."
        yield Refusal(key, message, f"Ask for one of those, or add {key} to engine.controls and start povwatch again.")
    if asked.get("control_path") is None and key not in COMPUTED:
        message = f"{key}.control_path is missing; the diffusers engine does not compute {key}."
        yield Refusal(f"{key}.control_path", message, f"Give a control video of the clip's length and size; {ANOTHER}")
    for name in ("mask_path", "mask_prompt"):
        if (found := asked.get(name)) is not None:
            message = f"{key}.{name} is {found!r}; the diffusers engine takes no masks."
            yield Refusal(f"{key}.{name}", message, f"Leave it out; {ANOTHER}")
