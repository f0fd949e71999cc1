"""Tells what the chosen engine can do before it is loaded, so that a JSON can still be edited.

Each real engine has rules of its own, which it also checks itself. The preview accepts everything, and notes what it
cannot show. Nothing is known about a user's own engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from povwatch.engines.transfer import request as diffusers
from povwatch.engines.upstream import ability as cosmos
from povwatch.engines.upstream import formats
from povwatch.gpu import host_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.config.settings import Engine
    from povwatch.core.errors import Problem
    from povwatch.media.fit import Shape

REAL = ("cosmos", "diffusers")
"""Engines that have rules."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one engine can do."""

    kind: str
    controls: tuple[str, ...] = ()
    """The hint keys that are loaded or may be."""
    model: str = ""
    """The setting engine.model."""
    memory: int | None = None
    """Bytes of main memory that can be used here; None if unknown."""

    @classmethod
    def of(cls, kind: str, engine: Engine) -> Self:
        """The abilities of an engine as configured; `kind` is the one that runs here, never auto."""
        return cls(kind, tuple(engine.controls), engine.model, host_memory.total())

    def refusals(self, spec: Mapping[str, Any], clip: Shape | None) -> list[Problem]:
        """Everything in a spec that the engine cannot do.

        Args:
            spec: upstream's fields.
            clip: the clip, upright; None if unknown.
        """
        frames = clip.frames if clip else None
        match self.kind:
            case "cosmos":
                found = list(cosmos.refusals(spec, self.controls, frames=frames, distilled=self._distilled))
                if clip and self.memory and (problem := cosmos.undecodable(clip, self.memory)):
                    found.append(problem)
                return found
            case "diffusers":
                return list(diffusers.refusals(spec, self.controls, frames=frames))
            case _:
                return []

    def notes(self, spec: Mapping[str, Any]) -> list[str]:
        """Sentences about what in a spec has no effect on the engine."""
        match self.kind:
            case "cosmos":
                return list(cosmos.unheeded(spec, self.controls, distilled=self._distilled))
            case "diffusers":
                return list(diffusers.unheeded(spec))
            case _:
                return []

    def unreadable(self, field: str, name: str, head: bytes) -> Problem | None:
        """Why the engine could not read a file that a spec names; None if it can, judging by its first bytes.

        Args:
            field: the spec's field that names the file.
            head: the file's first bytes.
        """
        if self.kind != "cosmos" or name.endswith(".npz"):
            return None
        # The engine gets a private copy, whose suffix is in lower case.
        return formats.unreadable(field, name.lower(), head, formats.VIDEOS | formats.IMAGES)

    @property
    def _distilled(self) -> bool:
        return self.model.endswith(cosmos.DISTILLED)
