"""Runs a job from its first frame to its artifact. Only a few chunks are in memory, however long the clip.

A thread reads the next chunk meanwhile. Another one writes frames as soon as they are decoded, and goes on while the
next chunk is generated.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from povwatch.engines.transfer.approximated import approximated
from povwatch.engines.transfer.blanks import Blanks
from povwatch.engines.transfer.checkpoint import Finished, Key, Store
from povwatch.engines.transfer.denoise import Denoiser
from povwatch.engines.transfer.frames import Piece, check_files, pieces
from povwatch.engines.transfer.leaving import Leaving
from povwatch.engines.transfer.settings import CONTROL_NAMES
from povwatch.engines.transfer.threads import Writing, read_ahead
from povwatch.engines.video_writer import VideoWriter
from povwatch.media import h264

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.engines.control import Frame
    from povwatch.engines.port import Context
    from povwatch.engines.transfer.guardrail import Guardrail
    from povwatch.engines.transfer.model import Model
    from povwatch.engines.transfer.plan import Chunk
    from povwatch.engines.transfer.request import Control, Request
    from povwatch.engines.transfer.settings import Settings


class LoadedModel:
    """Does jobs in turn on one loaded model."""

    def __init__(
        self, model: Model, settings: Settings, guardrail: Guardrail, hashes: dict[str, dict[str, str | int]]
    ) -> None:
        self.model = model
        self.settings = settings
        self.guardrail = guardrail
        self._hashes = hashes

    def generate(self, request: Request, context: Context) -> dict[str, Any]:
        """Do a job; see port.Engine.generate.

        Raises:
            EngineFailure: a file does not fit.
            EngineBlocked: the guardrail refused the prompt or the video.
            EngineCancelled: the job is no longer wanted.
        """
        scaled = check_files(request)
        notes = self.model.notes
        clock = Clock(self.model.device)
        if self.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.model.device)
        with torch.no_grad():
            context.progress("prompt", chunks=len(request.chunks), steps=request.steps)
            self.guardrail.filters.begin()
            with clock("guardrail"):
                self.guardrail.check_text("prompt", request.prompt)
                self.guardrail.check_text("negative_prompt", request.negative_prompt)
            path = str(Path(context.workdir, "generated.mp4"))
            controls = {}
            leaving = Leaving(context.workdir) if request.leaves_files and request.computed else None
            with ExitStack() as stack:
                # The first chunk is read while the prompt is embedded.
                source = stack.enter_context(closing(pieces(request, leaving)))
                prepared = stack.enter_context(read_ahead(source))
                with clock("control swap"):
                    self.model.use([control.key for control in request.controls])
                context.raise_if_cancelled()
                with clock("prompt"):
                    denoiser = Denoiser(self.model, request)
                job = _Job(
                    request,
                    context,
                    denoiser=denoiser,
                    guardrail=self.guardrail,
                    clock=clock,
                    key=Key(self._decisive(request)),
                )
                panel = (request.width, request.height) if request.keep_size else request.size
                output = VideoWriter(path, request.rate, panel, h264.GENERATED, panels=request.panels)
                writers = [stack.enter_context(output)]
                for key in [control.key for control in request.controls] if request.keep_control else ():
                    controls[key] = str(Path(context.workdir, f"generated_control_{key}.mp4"))
                    kept = VideoWriter(controls[key], request.rate, panel, h264.GENERATED)
                    writers.append(stack.enter_context(kept))
                job.run(prepared, writers)
        width, height = output.size
        return {
            "path": path,
            "controls": controls,
            "control_files": [one.to_json() for one in leaving.files] if leaving else [],
            "control_files_used": {one.key: one.file.sha256 for one in request.controls if one.file},
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
            **self._only(request),
            "branches": [self._branch(control) for control in request.controls],
            "control_nets": self.model.kept,
            "guardrails": self.guardrail.on,
            "guardrail_filters": self.guardrail.ran(),
            "compiled": self.model.compiled,
            "speed": request.speed,
            **self._approximated(request),
            "notes": [
                *(note for note in self.model.notes if note not in notes),
                *scaled,
                *job.blanks.notes(),
                *self._beyond(request),
            ],
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

    @staticmethod
    def _only(request: Request) -> dict[str, Any]:
        """The only control of a job, if it has one alone."""
        if len(request.controls) > 1:
            return {}
        [control] = request.controls
        return {"control": control.key, "control_weight": control.weight, "preset": control.preset}

    def _branch(self, control: Control) -> dict[str, Any]:
        """A control, its weight and the files of its net, for the manifest."""
        own = self._own_files(control)
        files = {name: entry for name, entry in self._hashes.items() if name.startswith(own)}
        given = [name for name, path in (("control", control.path), ("mask", control.mask)) if path is not None]
        return {"key": control.key, "weight": control.weight, "preset": control.preset, "given": given, "files": files}

    def _beyond(self, request: Request) -> list[str]:
        """Say it where the numbers are not those of diffusers' pipeline because that cannot do the job."""
        lacks = ["several controls"] if len(request.controls) > 1 else []
        lacks += ["masks"] if any(control.mask for control in request.controls) else []
        lacks += ["guided generation"] if request.guided else []
        if not lacks or self.settings.exact != "pipeline":
            return []
        note = (
            f"diffusers' pipeline does not know {' and '.join(lacks)}: its modules are used, and what they compute is "
            "put together by upstream's rule."
        )
        return [note]

    @staticmethod
    def _own_files(control: Control) -> str:
        return f"controlnet/{CONTROL_NAMES[control.key]}/"

    def _decisive(self, request: Request) -> dict[str, Any]:
        """Everything that decides the result, except frames."""
        model = self.model
        own = tuple(self._own_files(control) for control in request.controls)
        return {
            "request": request.decisive(),
            "weights": {
                name: entry
                for name, entry in self._hashes.items()
                if name.startswith(own) or not name.startswith("controlnet/")
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
        self.blanks = Blanks()
        self.resumed = 0
        """Chunks taken from an earlier attempt."""

    def run(self, prepared: Iterator[Piece], writers: list[VideoWriter]) -> None:
        """Generate chunk by chunk.

        Args:
            prepared: the input of each chunk.
            writers: the artifact's, and those of the controls if they are wanted.
        """
        carried: torch.Tensor | None = None
        with Writing(writers, limit=self._request.chunk_frames) as writing:
            for chunk in self._request.chunks:
                self._progress("read", chunk, 0)
                with self._clock("read"):
                    piece = next(prepared)
                self.blanks.look(piece)
                latents = self._latents(chunk, piece, carried)
                with self._clock("decode"):
                    carried = self._decode(chunk, piece, latents, writing)
                del latents
                self._progress("decode", chunk, self._request.steps)
            with self._clock("write"):
                writing.finish()

    def _latents(self, chunk: Chunk, piece: Piece, carried: torch.Tensor | None) -> torch.Tensor:
        """A chunk's latents, from an earlier attempt if it has them."""
        with self._clock("checkpoint"):
            key = self._key.next(*piece.arrays)
            kept = self._store.load(chunk.index, key) if self._resuming else None
        if kept is not None:
            self.resumed += 1
            self._generator.set_state(kept.generator)
            return kept.latents
        self._resuming = False  # chunks after a gap continue another chunk than this attempt's
        self._progress("encode", chunk, 0)
        with self._clock("encode"):
            encoded = self._denoiser.encode(piece, carried, self._generator)
        with self._clock("denoise"):
            latents = self._denoiser.denoise(
                encoded,
                first=chunk.index == 0,
                stepped=lambda step: self._progress("denoise", chunk, step),
            )
        with self._clock("checkpoint"):
            self._store.keep(chunk.index, key, Finished(latents, self._generator.get_state()))
        return latents

    def _decode(self, chunk: Chunk, piece: Piece, latents: torch.Tensor, writing: Writing) -> torch.Tensor | None:
        """Decode a chunk and hand its frames to the writer, without those that the chunk before has.

        Returns:
            The frames that the next chunk continues.
        """
        ready: list[Frame] = []
        """The frames of the chunk, if the guardrail has to see them before anything is written."""
        done, new, end = 0, chunk.fresh - chunk.start, chunk.end - chunk.start

        def shown(part: torch.Tensor) -> None:
            nonlocal done
            first, last = max(new, done), min(end, done + part.size(2))
            if first < last:
                frames = pixels(part[0, :, first - done : last - done])
                if self._guardrail.on:
                    ready.append(frames)
                else:
                    self._write(piece, first, frames, writing)
            done += part.size(2)

        carried = self._denoiser.decode(latents, shown)
        if ready:
            with self._clock("guardrail"):
                checked = self._guardrail.check_frames(np.concatenate(ready), chunk.fresh)
            self._write(piece, new, checked, writing)
        return carried

    def _write(self, piece: Piece, first: int, generated: Frame, writing: Writing) -> None:
        """Hand generated frames to the writer, with the controls and the clip beside them where these are shown.

        `first` is the number of the first one in its chunk.
        """
        same = slice(first, first + len(generated))
        request = self._request
        wanted = request.show_control or request.keep_control
        controls = [piece.shown(control.key, same) for control in request.controls] if wanted else []
        shown = [*controls] if request.show_control else []
        shown += [piece.clip[same]] if request.show_input and piece.clip is not None else []
        with self._clock("write"):
            writing.add([*shown, generated], *([control] for control in controls if request.keep_control))

    def _progress(self, stage: str, chunk: Chunk, step: int) -> None:
        """Report the progress, and leave the job if it was cancelled."""
        self._context.raise_if_cancelled()
        request = self._request
        self._context.progress(stage, chunk=chunk.index, chunks=len(request.chunks), step=step, steps=request.steps)


class Clock:
    """Measures seconds by stage. A stage within another one does not count for that, so they add up."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._within = [0.0]
        """Seconds of the stages within each open one."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure the block; on a GPU, until its work there is done."""
        began = time.monotonic()
        self._within.append(0.0)
        try:
            yield
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
        finally:
            took = time.monotonic() - began
            self._seconds[stage] += took - self._within.pop()
            self._within[-1] += took

    def seconds(self) -> dict[str, float]:
        """Stage to seconds."""
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}


def pixels(video: torch.Tensor) -> Frame:
    """Convert frames from -1 to 1, shape (3, frames, height, width), to RGB, shape (frames, height, width, 3).

    The pipeline's rounding: halved in the frames' type, then truncated to whole steps in float32.
    """
    scaled = (video * 0.5 + 0.5).clamp(0, 1)
    frames: Frame = (scaled.to(torch.float32) * 255).to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()
    return frames
