"""What a loaded model can be asked for. Pure, standard library alone: the daemon asks while the JSON can be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

CONTROLS = ("edge", "vis", "depth", "seg")
"""Upstream's CONTROL_KEYS, in its order."""

FRAMES_MAX = 5000
"""Upstream's NUM_MAX_FRAMES (_src/transfer2/inference/utils.py): it stops reading there without a word."""

DISTILLED_FRAMES_MAX = 93
"""The distilled model was not trained to go on from one chunk to the next (cosmos_transfer2/inference.py)."""

ALL = 'set engine.controls = ["edge", "vis", "depth", "seg"] and restart povwatch'


def unloadable(controls: Collection[str]) -> str | None:
    """Why a set of controls cannot be loaded; None if it can.

    Upstream loads one control's weights for exactly one key and all four otherwise, and gives the ones that were not
    named a weight of zero. So `edge, depth` would cost the memory of four and take no `vis` in any job.
    """
    keys = list(controls)
    unknown = sorted(set(keys) - set(CONTROLS))
    if unknown:
        return f"engine.controls names {', '.join(unknown)}; known are {', '.join(CONTROLS)}."
    if len(keys) != len(set(keys)) or len(keys) not in (1, len(CONTROLS)):
        found = ", ".join(keys) or "nothing"
        return f"engine.controls names {found}. Name exactly one control, or all four: {', '.join(CONTROLS)}."
    return None


def unloaded(asked: Collection[str], loaded: Collection[str]) -> str | None:
    """Why the model that is loaded cannot take a spec's controls; None if it can.

    Args:
        asked: the hint keys that the spec sets.
        loaded: those of the engine's capabilities.
    """
    missing = [key for key in CONTROLS if key in asked and key not in loaded]
    if not missing:
        return None
    there = [key for key in CONTROLS if key in loaded]
    return (
        f"{_listed(missing)} asked for, but the model that is loaded takes {', '.join(there) or 'no control'} only. "
        f"Use {' or '.join(there) or 'another engine'} instead, or {ALL}."
    )


def unheeded(spec: Mapping[str, Any], loaded: Collection[str]) -> str | None:
    """Why something in a spec would have no effect with the controls that are loaded; None if all of it has.

    The model of all four controls has no input for an image's style and passes over it.
    """
    if len(loaded) == 1:
        return None
    for field in ("image_context_path", "context_frame_index"):
        if spec.get(field) is not None:
            return (
                f"{field} has no effect on the model of all four controls, which is loaded. "
                f"Take it out, or set engine.controls to one control and restart povwatch."
            )
    return None


def _listed(keys: list[str]) -> str:
    return f"{keys[0]} is" if len(keys) == 1 else f"{', '.join(keys[:-1])} and {keys[-1]} are"
