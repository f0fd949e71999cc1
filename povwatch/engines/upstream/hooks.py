"""Hooks into upstream to see and steer a job's work. The hooks are removed after the job.

inference_pipeline._get_num_chunks(...)             -> (frames, chunks, frames a chunk), once a job
inference_pipeline.model.net                        called twice a step, once by the distilled model
inference_pipeline.model.generate_samples_from_batch(data_batch, seed=, ...)   a chunk's latents
inference_pipeline.model.decode(latents)            a chunk's pictures
_src.transfer2.inference.inference_pipeline.read_and_process_control_input(...)  whole controls, and masks
_src.transfer2.inference.utils.generate_control_weight_mask_from_prompt(...)   a mask's file, or None
inference.save_img_or_video(video, stem, fps=)      a result's or a control's file

Line numbers in upstream are those of the pinned commit.
"""

from __future__ import annotations

import functools
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.causes import other_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from povwatch.engines.upstream.chunks import Chunks
    from povwatch.engines.upstream.leaving import Leaving
    from povwatch.engines.upstream.progress import Meter

UTILS = "cosmos_transfer2._src.transfer2.inference.utils"
MASKER = "generate_control_weight_mask_from_prompt"

PIPELINE = "cosmos_transfer2._src.transfer2.inference.inference_pipeline"
CONTROLS_READER = "read_and_process_control_input"

SAVER = "save_img_or_video"
"""Upstream's writer, by its name in cosmos_transfer2.inference."""

NEEDED = (
    "_get_num_chunks",
    "model.net.register_forward_pre_hook",
    "model.generate_samples_from_batch",
    "model.decode",
)
"""Parts of upstream's pipeline that are hooked into or called."""


def check(inference: Any, pipeline: Any) -> None:  # noqa: ANN401 - upstream's
    """Check that this is the upstream that povwatch knows.

    Args:
        inference: the module cosmos_transfer2.inference.
        pipeline: its ControlVideo2WorldInference.

    Raises:
        EngineFailure: It lacks something that is hooked into.
    """
    for owner, path in [(inference, SAVER), *((pipeline, path) for path in NEEDED)]:
        found = owner
        for name in path.split("."):
            found = getattr(found, name, None)
        if not callable(found):
            where = "inference_pipeline." if owner is pipeline else "inference."
            raise other_version(f"{where}{path}")


@contextmanager
def hooked(
    inference: Any,  # noqa: ANN401 - upstream's
    pipeline: Any,  # noqa: ANN401
    meter: Meter,
    chunks: Chunks,
    save: Callable[..., None],
    *,
    leaving: Leaving | None = None,
) -> Iterator[None]:
    """Hook a job's meter, chunks and writer into upstream while the job runs; see `check` for upstream's parts.

    Args:
        leaving: gets the controls that upstream computes, if they are to be left for further jobs on the clip.
    """
    model = pipeline.model

    def counted(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        plan = original(*args, **kwargs)
        meter.planned(plan[1])
        return plan

    def sampled(original: Callable[..., Any], data_batch: dict[str, Any], **how: Any) -> Any:  # noqa: ANN401
        meter.chunk_begins()
        if leaving is not None:
            leaving.chunk(data_batch)
        result = chunks.samples(model, original, data_batch, **how)
        meter.chunk_ends()
        return result

    def decoded(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        result = original(*args, **kwargs)
        meter.decoded()
        return result

    def read(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        found = original(*args, **kwargs)
        if leaving is not None:
            leaving.whole(found[0])
        return found

    with ExitStack() as undo:
        undo.callback(model.net.register_forward_pre_hook(lambda *_: meter.net_called()).remove)
        _wrap(undo, pipeline, "_get_num_chunks", counted)
        _wrap(undo, model, "generate_samples_from_batch", sampled)
        _wrap(undo, model, "decode", decoded)
        _wrap(undo, inference, SAVER, lambda _, *args, **kwargs: save(*args, **kwargs))
        module = sys.modules.get(PIPELINE)
        if hasattr(module, CONTROLS_READER):
            _wrap(undo, module, CONTROLS_READER, read)
        utils = sys.modules.get(UTILS)
        if hasattr(utils, MASKER):
            _wrap(undo, utils, MASKER, _masked)
        yield


def _wrap(undo: ExitStack, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:  # noqa: ANN401
    """Replace an object's callable by `wrapper(original, ...)`, until the stack unwinds."""
    own = vars(owner).get(name)
    setattr(owner, name, functools.partial(wrapper, getattr(owner, name)))
    if own is None:  # the class defined it
        undo.callback(delattr, owner, name)
    else:
        undo.callback(setattr, owner, name, own)


def _masked(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Fail if a mask was asked for and not found; upstream would go on without it."""
    path = original(*args, **kwargs)
    if path is None:
        where, prompt = f"{kwargs.get('modality', 'control')}.mask_prompt", kwargs.get("prompt", "")
        raise EngineFailure(
            "invalid",
            f"{where}: nothing like {prompt!r} was found in the clip's first frame, so there is no mask.",
            "Name things that are in the first frame, or give a mask_path.",
        )
    return path
