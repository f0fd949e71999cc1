"""Reads inputs/ and outputs/ for a plan. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.errors import OutputsAway
from povwatch.core.layout import shown
from povwatch.files.scan import scan
from povwatch.hooks.plan import AFTER
from povwatch.ops.rebuild import manifests, rooms
from povwatch.ops.rebuild.clips import Clips
from povwatch.ops.rebuild.plan import Clip, Plan, bases_of, leftovers, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.ops.rebuild.manifests import Outputs


@dataclass(frozen=True, slots=True)
class Survey:
    """The findings, and the plan."""

    plan: Plan
    clips: list[Clip]
    outputs: Outputs
    lost: int
    """The number of runs that were under way and are lost."""

    @property
    def odd(self) -> list[str]:
        """Anything unusual, a line each, for people."""
        unusable = [f"{shown(file)}: {why}" for file, why in sorted(self.outputs.unusable.items())]
        unreadable = [f"{shown(folder)}: cannot be listed ({why})" for folder, why in self.outputs.unreadable.items()]
        return [made.problem for _, made in self.plan.made if made.problem] + unusable + unreadable


def survey(config: Config, *, hold: bool, tell: Callable[[bytes, int], None]) -> Survey:
    """Read everything, and make the plan.

    Args:
        hold: hold the clips that have no result.
        tell: called with a clip and its size before the clip is read.

    Raises:
        InputsAway: inputs/ cannot be listed.
        OutputsAway: outputs/ cannot be listed.
    """
    paths = config.paths
    extensions = frozenset(extension.encode() for extension in config.arrival.extensions)
    listing = scan(paths.inputs, extensions=extensions, recursive=config.arrival.recursive, clock=time.monotonic)
    try:
        outputs = manifests.look(paths.outputs)
        after = any(hook.when == AFTER for hook in config.hooks)
        promises, lost = rooms.look(paths.outputs, outputs.made, hooks=after)
    except OSError as error:
        raise OutputsAway(f"{paths.outputs} cannot be listed: {error.strerror}.", "Is its disk mounted?") from error
    inputs = Clips(paths.inputs, listing, tell)
    bases = inputs.names(bases_of(outputs.made, promises))
    found = inputs.look(bases, [*outputs.made, *(room.made for room in promises)])
    strays = outputs.without_manifest() - {room.made.output.target for room in promises}
    here = {clip.path: clip.base for clip in found}
    made = leftovers(config.publish.layout, here, strays)
    return Survey(plan(outputs.made, promises, found, made, hold=hold), found, outputs, lost)
