"""What the engine that runs here can be asked for: known before it is loaded, so that a JSON can still be edited.

Each real engine has rules of its own, which it also holds itself to. The preview takes everything, and notes what it
cannot show; of an engine of somebody's own nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from povwatch.engines.transfer import refusals as diffusers
from povwatch.engines.upstream import ability as cosmos
from povwatch.engines.upstream import formats
from povwatch.gpu import host_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.config.settings import Engine
    from povwatch.core.errors import Problem
    from povwatch.media.fit import Shape

REAL = ("cosmos", "diffusers")
"""The engines with rules."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of one engine."""

    kind: str
    controls: tuple[str, ...] = ()
    """The hint keys that are loaded, or may be."""
    model: str = ""
    """engine.model."""
    memory: int | None = None
    """Bytes of main memory that can be had here; None if it is not known."""

    @classmethod
    def of(cls, kind: str, engine: Engine) -> Self:
        """Of an engine as it is configured.

        Args:
            kind: the one that runs here; never auto.
            engine: the configuration.
        """
        return cls(kind, tuple(engine.controls), engine.model, host_memory.total())

    def refusals(self, spec: Mapping[str, Any], clip: Shape | None) -> list[Problem]:
        """Everything in a spec that it cannot do.

        Args:
            spec: upstream's fields.
            clip: upright; None if it is not known.
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
        """What in a spec has no effect on it, each a sentence."""
        match self.kind:
            case "cosmos":
                return list(cosmos.unheeded(spec, self.controls, distilled=self._distilled))
            case "diffusers":
                return list(diffusers.unheeded(spec))
            case _:
                return []

    def unreadable(self, field: str, name: str, head: bytes) -> Problem | None:
        """Why it could not read a file that a spec names; None if it can, as far as its beginning tells.

        Args:
            field: the spec's field that names it.
            name: of the file.
            head: its first bytes.
        """
        if self.kind != "cosmos" or name.endswith(".npz"):
            return None
        # The private copy that it gets has its suffix in lower case.
        return formats.unreadable(field, name.lower(), head, formats.VIDEOS | formats.IMAGES)

    @property
    def _distilled(self) -> bool:
        return self.model.endswith(cosmos.DISTILLED)
