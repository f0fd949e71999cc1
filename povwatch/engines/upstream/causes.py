"""Interprets upstream's bare exceptions, and says what to do. Its libraries' classes are recognized by name alone.

Unknown exceptions pass through: `povwatch.engines.faults` knows the GPU's and the disk's errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.command import command
from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream import downloads
from povwatch.engines.upstream.progress import FINISH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.engines.upstream.progress import Meter

OURS_TO_INSTALL = frozenset({"cosmos_transfer2", "cosmos_oss", "cosmos_cuda", "torch"})

DAMAGED = ("PytorchStreamReader", "SafetensorError", "UnpicklingError")
"""What torch's and safetensors' errors about a file that was cut short contain."""

OTHER_SHAPE = "Error(s) in loading state_dict"
"""How torch begins when weights do not fit their module."""


def of_load(error: BaseException) -> EngineFailure | None:
    """Why the model could not be loaded; None if upstream's exception says it best."""
    if isinstance(error, ModuleNotFoundError):  # one deeper in the chain may have been handled
        return _of_import(error.name or "")
    return next(filter(None, map(_of_load, _chain(error))), None)


def check_shapes(told: list[str]) -> None:
    """Check that upstream put every weight of its checkpoints into the model.

    Args:
        told: for each checkpoint, upstream's list of what did not fit, from behind its opening bracket.

    Raises:
        EngineFailure: A checkpoint is of another model; the message names a weight and both shapes.
    """
    for found in told:
        if not found.startswith("]"):
            first = found[: found.find("))") + 1].lstrip("(")
            raise EngineFailure(
                "invalid",
                f"The weights are of another model (name, their shape, the model's): {first}.",
                f"Run {command('prefetch')}, which verifies every model file and fetches what is damaged anew.",
            )


def of_job(error: BaseException, job: dict[str, Any], meter: Meter) -> EngineFailure | None:
    """Why a job failed; None if `faults.classify` knows it, or upstream's exception says it best."""
    if any(_is_out_of_memory(one) for one in _chain(error)):
        return _out_of_memory(error, job["spec"], meter)
    missing = next(filter(None, map(downloads.cause, _chain(error))), None)  # the models for depth, segments and masks
    return missing or _of_control(error, job["spec"]) or _of_shape(error, job["spec"])


def validation(error: BaseException) -> str:
    """A pydantic error in one line: field and fault."""
    faults = error.errors() if hasattr(error, "errors") else []
    found = [f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}" for fault in faults]
    return "; ".join(found) or str(error)


def _of_load(error: BaseException) -> EngineFailure | None:
    if isinstance(error, EngineFailure):
        return error
    if _is_out_of_memory(error):
        what = f"The GPU ran out of memory while the model was loaded: {error}"
        todo = "Free memory on the GPU (nvidia-smi names who holds it), or set engine.offload_guardrails = true."
        return EngineFailure("out-of-memory", what, todo)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OURS_TO_INSTALL:
        return _of_import(str(error.name))
    if isinstance(error, RuntimeError) and "CUDA extra" in str(error):
        return EngineFailure("error", str(error), "Run script/cosmos, which takes the extra that fits the driver.")
    if type(error).__name__ == "ValidationError":
        return EngineFailure("invalid", f"Upstream refuses the engine's settings: {validation(error)}.")
    return downloads.cause(error) or _of_weights(error)


def _of_import(name: str) -> EngineFailure:
    package, _, module = name.partition(".")
    if module and package in OURS_TO_INSTALL:  # the package is there, and has no such module
        return other_version(name)
    return EngineFailure(
        "error", f"The engine's interpreter has no {name}.", "Run script/cosmos, and see engine.python."
    )


def other_version(lacks: str) -> EngineFailure:
    """The failure of an upstream that lacks something that povwatch uses."""
    return EngineFailure(
        "invalid",
        f"This version of Cosmos-Transfer2.5 has no {lacks}.",
        "povwatch works with the one that it pins: run script/cosmos.",
    )


def _of_weights(error: BaseException) -> EngineFailure | None:
    """The error of a file of weights that is damaged, or of another model."""
    text = f"{type(error).__name__}: {error}"
    todo = f"Run {command('prefetch')}, which verifies every model file and fetches what is damaged anew."
    if any(mark in text for mark in DAMAGED):
        return EngineFailure("error", f"A file of weights is damaged or was cut short: {text}", todo)
    if OTHER_SHAPE in text:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return EngineFailure("invalid", f"The weights are of another model: {' '.join(lines[:2])}", todo)
    return None


def _of_control(error: BaseException, spec: dict[str, Any]) -> EngineFailure | None:
    """The error of a control that upstream could not compute from the clip."""
    if isinstance(error, IndexError) and _on_the_fly(spec, "seg"):
        prompt = spec["seg"].get("control_prompt") or "the first 128 words of the prompt"
        return EngineFailure(
            "invalid",
            f"seg: nothing like {prompt!r} was found in the clip's first frame.",
            "Name things that are in the first frame in seg.control_prompt, or give a control_path.",
        )
    if isinstance(error, TypeError) and "NoneType" in str(error) and _on_the_fly(spec, "depth"):
        return EngineFailure(
            "error",
            "depth: the clip's depth could not be computed; upstream printed the reason in the log before this.",
            "Give depth a control_path, or use another control.",
        )
    return None


def _of_shape(error: BaseException, spec: dict[str, Any]) -> EngineFailure | None:
    """The error of a shape that our checks did not know, in upstream's words."""
    text = str(error)
    if isinstance(error, KeyError) and error.args[:1] == (spec.get("resolution", "720"),):
        what = f"resolution is {error.args[0]!r}, which upstream does not know."
        return EngineFailure("invalid", what, 'Set it to "720".')
    if isinstance(error, AssertionError) and "state_t" in text:
        what = f"num_video_frames_per_chunk is {spec.get('num_video_frames_per_chunk')}: {text}"
        return EngineFailure("invalid", what, "Set it to 93, or take the line out.")
    if isinstance(error, ValueError) and "No input frames" in text:
        what = f"A control or a mask is shorter than the clip: {text}"
        return EngineFailure("invalid", what, "Give one frame for each of the clip's.")
    return None


def _out_of_memory(error: BaseException, spec: dict[str, Any], meter: Meter) -> EngineFailure:
    at_the_end = meter.stage == FINISH and meter.chunk >= meter.chunks > 0
    if at_the_end and spec.get("keep_input_resolution", True):
        return EngineFailure(
            "out-of-memory",
            f"The GPU ran out of memory at the very end, enlarging the result to the clip's own size: {error}",
            'Set "keep_input_resolution": false, cut the clip into parts, or use fewer controls.',
        )
    where = f"in chunk {min(meter.chunk + 1, meter.chunks)} of {meter.chunks}" if meter.chunks else "before chunk 1"
    return EngineFailure(
        "out-of-memory",
        f"The GPU ran out of memory {where} ({meter.stage}): {error}",
        'Set "resolution": "480", use fewer controls, or free memory on the GPU (nvidia-smi names who holds it).',
    )


def _is_out_of_memory(error: BaseException) -> bool:
    return type(error).__name__ == "OutOfMemoryError"


def _on_the_fly(spec: dict[str, Any], key: str) -> bool:
    """Whether upstream computes a control from the clip."""
    return isinstance(spec.get(key), dict) and not spec[key].get("control_path")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
