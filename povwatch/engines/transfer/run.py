"""Runs a job from its first frame to its artifact. Only a few chunks are in memory, however long the clip.

While one chunk is generated, a thread reads the next one, and another writes the last one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from povwatch.engines.transfer.approximated import approximated
from povwatch.engines.transfer.checkpoint import Finished, Key, Store
from povwatch.engines.transfer.denoise import Denoiser
from povwatch.engines.transfer.frames import Piece, check_control, pieces
from povwatch.engines.transfer.settings import CONTROL_NAMES
from povwatch.engines.video_writer import VideoWriter
from povwatch.media import h264

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from povwatch.engines.control import Frame
    from povwatch.engines.port import Context
    from povwatch.engines.transfer.guardrail import Guardrail
    from povwatch.engines.transfer.model import Model
    from povwatch.engines.transfer.plan import Chunk
    from povwatch.engines.transfer.request import Request
    from povwatch.engines.transfer.settings import Settings


T = TypeVar("T")


class LoadedModel:
    """Does jobs in turn on one loaded model."""

    def __init__(
        self, model: Model, settings: Settings, guardrail: Guardrail, hashes: dict[str, dict[str, str | int]]
    ) -> None:
        self.model = model
        self.settings = settings
        self._guardrail = guardrail
        self._hashes = hashes

    def generate(self, request: Request, context: Context) -> dict[str, Any]:
        """Do a job; see port.Engine.generate.

        Raises:
            EngineFailure: a file does not fit.
            EngineBlocked: the guardrail refused the prompt or the video.
            EngineCancelled: the job is no longer wanted.
        """
        check_control(request)
        notes = self.model.notes
        clock = Clock(self.model.device)
        if self.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.model.device)
        with torch.no_grad():
            context.progress("prompt", chunks=len(request.chunks), steps=request.steps)
            with clock("guardrail"):
                self._guardrail.check_text("prompt", request.prompt)
                self._guardrail.check_text("negative_prompt", request.negative_prompt)
            with clock("control swap"):
                self.model.use(request.control.key)
            context.raise_if_cancelled()
            with clock("prompt"):
                denoiser = Denoiser(self.model, request)
            job = _Job(
                request,
                context,
                denoiser=denoiser,
                guardrail=self._guardrail,
                clock=clock,
                key=Key(self._decisive(request)),
            )
            path = str(Path(context.workdir, "generated.mp4"))
            controls = {}
            with ExitStack() as stack:
                panel = (request.width, request.height) if request.keep_size else request.size
                output = VideoWriter(path, request.rate, panel, h264.GENERATED, panels=request.panels)
                writers = [stack.enter_context(output)]
                if request.keep_control:
                    key = request.control.key
                    controls[key] = str(Path(context.workdir, f"generated_control_{key}.mp4"))
                    kept = VideoWriter(controls[key], request.rate, panel, h264.GENERATED)
                    writers.append(stack.enter_context(kept))
                job.run(writers)
        width, height = output.size
        return {
            "path": path,
            "controls": controls,
            "frames": output.frames,
            "width": width,
            "height": height,
            "model_width": request.size[0],
            "model_height": request.size[1],
            "chunks": len(request.chunks),
            "chunks_resumed": job.resumed,
            "seed": request.seed,
            "guidance": request.guidance,
            "num_steps": request.steps,
            "num_conditional_frames": request.carried,
            "control": request.control.key,
            "control_weight": request.control.weight,
            "preset": request.control.preset,
            "guardrails": self._guardrail.on,
            "compiled": self.model.compiled,
            "speed": request.speed,
            **self._approximated(request),
            "notes": [note for note in self.model.notes if note not in notes],
            "seconds": clock.seconds(),
            "peak_memory_bytes": self._peak_memory(),
        }

    def _approximated(self, request: Request) -> dict[str, Any]:
        """What was approximated, for the manifest and the log."""
        if request.speed == "exact":
            return {}
        kernels = self.model.kernels(request.speed)
        in_fp8 = kernels.feed_forward is not None
        told = approximated(request.speed, request.plan, attention=kernels.attention, feed_forward=in_fp8)
        return {"approximated": told}

    def _decisive(self, request: Request) -> dict[str, Any]:
        """Everything that decides the result, except the control's frames."""
        model = self.model
        control = f"controlnet/{CONTROL_NAMES[request.control.key]}/"
        return {
            "request": request.decisive(),
            "weights": {
                name: entry
                for name, entry in self._hashes.items()
                if name.startswith(control) or not name.startswith("controlnet/")
            },
            "device": model.device_name(),
            **model.decisive(request.speed),
        }

    def _peak_memory(self) -> int | None:
        if self.model.device.type != "cuda":
            return None
        return int(torch.cuda.max_memory_allocated(self.model.device))


class _Job:
    def __init__(
        self,
        request: Request,
        context: Context,
        *,
        denoiser: Denoiser,
        guardrail: Guardrail,
        clock: Clock,
        key: Key,
    ) -> None:
        self._request = request
        self._context = context
        self._denoiser = denoiser
        self._guardrail = guardrail
        self._clock = clock
        self._key = key
        self._store = Store(context.checkpoint_dir)
        # On the CPU, because its numbers are the same for every GPU, and its state is small and portable.
        self._generator = torch.Generator("cpu").manual_seed(request.seed)
        self._resuming = True
        self.resumed = 0
        """Chunks taken from an earlier attempt."""

    def run(self, writers: list[VideoWriter]) -> None:
        """Generate chunk by chunk. `writers` are the artifact's, and the control's if it is wanted."""
        carried: torch.Tensor | None = None
        written: Future[None] | None = None
        with (
            closing(pieces(self._request)) as source,
            closing(read_ahead(source)) as prepared,
            ThreadPoolExecutor(1, "write") as writing,
        ):
            for chunk in self._request.chunks:
                self._progress("read", chunk, 0)
                with self._clock("read"):
                    piece = next(prepared)
                latents = self._latents(chunk, piece, carried)
                with self._clock("decode"):
                    video = self._denoiser.decode(latents)
                carried = self._denoiser.carry(video)
                panels = [self._panels(chunk, piece, video)]
                if len(writers) > 1:
                    panels.append([piece.control[chunk.fresh - chunk.start :]])
                del video, latents
                with self._clock("write"):
                    if written is not None:
                        written.result()
                    written = writing.submit(_write, writers, panels)
                del panels
                self._progress("decode", chunk, self._request.steps)
            with self._clock("write"):
                if written is not None:
                    written.result()

    def _latents(self, chunk: Chunk, piece: Piece, carried: torch.Tensor | None) -> torch.Tensor:
        """A chunk's latents, from an earlier attempt if it has them."""
        with self._clock("checkpoint"):
            key = self._key.next(piece.control)
            kept = self._store.load(chunk.index, key) if self._resuming else None
        if kept is not None:
            self.resumed += 1
            self._generator.set_state(kept.generator)
            return kept.latents
        self._resuming = False  # chunks after a gap continue another chunk than this attempt's
        self._progress("encode", chunk, 0)
        with self._clock("encode"):
            noise, given, control = self._denoiser.encode(piece.control, carried, self._generator)
        with self._clock("denoise"):
            latents = self._denoiser.denoise(
                noise,
                given,
                control,
                first=chunk.index == 0,
                stepped=lambda step: self._progress("denoise", chunk, step),
            )
        with self._clock("checkpoint"):
            self._store.keep(chunk.index, key, Finished(latents, self._generator.get_state()))
        return latents

    def _panels(self, chunk: Chunk, piece: Piece, video: torch.Tensor) -> list[Frame]:
        """A chunk's pictures (control, clip, generated) without the frames that the chunk before has."""
        new = slice(chunk.fresh - chunk.start, chunk.end - chunk.start)
        with self._clock("guardrail"):
            generated = self._guardrail.check_frames(pixels(video[0, :, new]), chunk.fresh)
        shown = [piece.control[new]] if self._request.show_control else []
        shown += [piece.clip[new]] if piece.clip is not None else []
        return [*shown, generated]

    def _progress(self, stage: str, chunk: Chunk, step: int) -> None:
        """Report the progress, and leave the job if it was cancelled."""
        self._context.raise_if_cancelled()
        request = self._request
        self._context.progress(stage, chunk=chunk.index, chunks=len(request.chunks), step=step, steps=request.steps)


class Clock:
    """Measures seconds by stage. Stages do not overlap, so they add up."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure the block; on a GPU, until its work there is done."""
        began = time.monotonic()
        try:
            yield
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
        finally:
            self._seconds[stage] += time.monotonic() - began

    def seconds(self) -> dict[str, float]:
        """Stage to seconds."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}


def pixels(video: torch.Tensor) -> Frame:
    """Convert frames from -1 to 1, shape (3, frames, height, width), to RGB, shape (frames, height, width, 3).

    The pipeline's rounding: halved in the frames' type, then truncated to whole steps in float32.
    """
    scaled = (video * 0.5 + 0.5).clamp(0, 1)
    frames = (scaled.to(torch.float32) * 255).to(torch.uint8).permute(1, 2, 3, 0)
    return np.ascontiguousarray(frames.cpu().numpy())


def _write(writers: list[VideoWriter], panels: list[list[Frame]]) -> None:
    for writer, frames in zip(writers, panels, strict=True):
        for pictures in zip(*frames, strict=True):
            writer.add(*pictures)


def read_ahead(items: Iterator[T]) -> Generator[T]:
    """The same items; a thread makes the next one while the caller uses the current one.

    An exception from making an item is raised in its place.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming: Future[Any] = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
