"""Tells what the chosen engine can do before it is loaded, so that a JSON can still be edited.

Each real engine has rules of its own, which it also checks itself. The preview accepts everything, and notes what it
cannot show. Nothing is known about a user's own engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from povwatch.core.errors import Problem
from povwatch.engines.annotate import presence
from povwatch.engines.devices import FP8_CAPABILITY, asked
from povwatch.engines.transfer import request as diffusers
from povwatch.engines.upstream import ability as cosmos
from povwatch.engines.upstream import formats
from povwatch.gpu import host_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from povwatch.config.settings import Engine
    from povwatch.core.speed import Speed
    from povwatch.gpu.nvml import Gpus
    from povwatch.media.fit import Shape
    from povwatch.spec.model import Spec

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
    exact: str = "rounding"
    """The setting engine.exact."""
    without_fp8: str = ""
    """A GPU that may get a job and does not compute in FP8, for people; empty if there is none."""

    @classmethod
    def of(cls, kind: str, engine: Engine, gpus: Gpus) -> Self:
        """The abilities of an engine as configured.

        Args:
            kind: the engine that runs here, never auto.
            engine: its settings.
            gpus: as NVML sees them.
        """
        lacking = [
            f"{gpu.name} ({_dotted(gpu.capability)})"
            for gpu in asked(gpus, engine.devices)
            if gpu.capability is not None and gpu.capability < FP8_CAPABILITY
        ]
        return cls(
            kind,
            tuple(engine.controls),
            engine.model,
            host_memory.total(),
            exact=engine.exact,
            without_fp8=next(iter(lacking), ""),
        )

    def refusals(self, spec: Mapping[str, Any], clip: Shape | None, speed: Speed | None) -> list[Problem]:
        """Everything in a spec that the engine cannot do.

        Args:
            spec: upstream's fields.
            clip: the clip, upright; None if unknown.
            speed: the JSON's own; None if it says none.
        """
        return [*self._refusals(spec, clip), *self._too_fast(speed)]

    def lacking(self, controls: Iterable[str]) -> list[str]:
        """Those of these controls that the engine does not have."""
        return [key for key in controls if self.kind in REAL and key not in self.controls]

    def _too_fast(self, speed: Speed | None) -> Iterator[Problem]:
        """Why the engine does not do a job at a speed that its JSON asks for."""
        if speed is None or speed == "exact":
            return
        if self.kind == "cosmos":
            message = f'is "{speed}", and the cosmos engine approximates nothing'
            yield Problem(message, 'Take it out; engine.kind = "diffusers" can do it.', diffusers.SPEED)
        elif self.kind == "diffusers" and self.exact == "pipeline":
            yield diffusers.too_exact(speed)
        elif self.kind == "diffusers" and self.without_fp8:
            needs = f"compute capability {_dotted(FP8_CAPABILITY)} or more"
            yield Problem(
                f'is "{speed}", which computes in FP8. That needs {needs}; here is {self.without_fp8}',
                f'Take it out. With engine.speed = "{speed}" in the configuration steps are left out without FP8.',
                diffusers.SPEED,
            )

    def _refusals(self, spec: Mapping[str, Any], clip: Shape | None) -> list[Problem]:
        frames = clip.frames if clip else None
        match self.kind:
            case "cosmos":
                found = list(cosmos.refusals(spec, self.controls, frames=frames, distilled=self._distilled))
                if clip and self.memory and (problem := cosmos.undecodable(clip, self.memory)):
                    found.append(problem)
                return found
            case "diffusers":
                return list(diffusers.refusals(spec, self.controls, frames=frames, lacking=presence.lacking))
            case _:
                return []

    def notes(self, spec: Mapping[str, Any], speed: Speed | None) -> list[str]:
        """Sentences about what in a spec has no effect on the engine; `speed` is the JSON's own."""
        match self.kind:
            case "cosmos":
                return list(cosmos.unheeded(spec, self.controls, distilled=self._distilled))
            case "diffusers":
                return list(diffusers.unheeded(spec, speed))
            case _:
                return []

    def checked_texts(self, spec: Spec, *, in_file: bool) -> dict[str, str]:
        """The texts of a spec that the engine's guardrail checks before it generates, by their fields.

        `in_file` says that its prompt was read from the file that `prompt_path` names.
        """
        found = {"prompt_path" if in_file else "prompt": spec.prompt or ""}
        if self.kind == "cosmos" and self._distilled:  # it has no guidance, and so no negative prompt
            return found
        return found | {"negative_prompt": spec.negative_prompt}

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
    def scales_masks(self) -> bool:
        """Whether a mask may have another size than the clip."""
        return self.kind == "diffusers"

    @property
    def _distilled(self) -> bool:
        return self.model.endswith(cosmos.DISTILLED)


def _dotted(capability: tuple[int, int]) -> str:
    """A compute capability as NVIDIA writes it: 8.9."""
    return ".".join(map(str, capability))
