"""Loads upstream's model once, and runs jobs on it in turn.

cosmos_oss.init                 init_environment()
cosmos_transfer2.config         SetupArguments, InferenceArguments, MODEL_CHECKPOINTS
cosmos_transfer2.inference      Control2WorldInference(setup, batch_hint_keys=[...]).generate([arguments], folder),
                                guardrail_presets.run_text_guardrail(prompt, runner)
..._src.imaginaire.utils.log    logger.add(sink, level=, format=)

Nothing else of upstream is called; hooks.py, cached.py and distributed.py list what is hooked into.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CONTROLS
from povwatch.engines.control_files import file_digest
from povwatch.engines.guardrail_filters import Filters
from povwatch.engines.port import EngineBlocked, EngineFailure
from povwatch.engines.trust import check_owners
from povwatch.engines.upstream import cached, causes, distributed, facts, hooks, memory, references, tensors
from povwatch.engines.upstream.arguments import NAME, arguments, paths
from povwatch.engines.upstream.chunks import Chunks
from povwatch.engines.upstream.guard import contained
from povwatch.engines.upstream.leaving import Leaving, taken
from povwatch.engines.upstream.progress import DISTILLED_CALLS, FULL_CALLS, Meter
from povwatch.engines.upstream.store import ChunkStore, key_of
from povwatch.gpu import host_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from povwatch.engines.port import Context
    from povwatch.engines.upstream.gate import Gate
    from povwatch.engines.upstream.settings import Settings

LOG = "cosmos_transfer2._src.imaginaire.utils.log"

REFUSED = "GUARDRAIL BLOCKED: "
"""Prefix of upstream's log line with the guardrail's reason (guardrail/common/presets.py)."""

MISFITS = "incorrect_shapes=["
"""Prefix, in upstream's log line about a loaded checkpoint, of the weights that it left out as they have another shape
(imaginaire/utils/checkpointer.py, 444-501). Upstream goes on with random ones in their place."""


class Session:
    """The loaded model. One process, one job at a time."""

    def __init__(self, settings: Settings, report: Callable[[str, float | None], None]) -> None:
        """Import upstream and load its model.

        Raises:
            EngineFailure: The model cannot be loaded, and why.
        """
        self._settings = settings
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as upstream's own command line does
        check_owners(file.path for file in facts.present(settings))
        if settings.distilled:
            os.environ["COSMOS_EXPERIMENTAL_CHECKPOINTS"] = "1"  # upstream reads it at import
        try:
            with contained(settings.folder):
                report("importing Cosmos-Transfer2.5", None)
                if settings.gpus > 1:
                    distributed.tolerate()
                importlib.import_module("cosmos_oss.init").init_environment()
                cached.prefer_cache()
                self._config = importlib.import_module("cosmos_transfer2.config")
                self._inference = importlib.import_module("cosmos_transfer2.inference")
                setup = self._config.SetupArguments.model_validate(self._setup())
                report(f"loading the model ({', '.join(settings.controls)})", None)
                with _heard(MISFITS) as told:
                    self._model = self._inference.Control2WorldInference(setup, batch_hint_keys=list(settings.controls))
                causes.check_shapes(told)
                self._filters = self._listen()
                tensors.choose_alike()
                hooks.check(self._inference, self._model.inference_pipeline)
        except Exception as error:
            known = causes.of_load(error)
            if known is None or known is error:
                raise
            raise known from error

    def capabilities(self) -> dict[str, Any]:
        """The loaded model, for the record."""
        settings = self._settings
        package = importlib.import_module("cosmos_transfer2")
        return {
            **facts.versions(package),
            "model": settings.model,
            "controls": list(settings.controls),
            "guardrails": settings.guardrails,
            "filters": self._filters.about("text"),
            "gpu": facts.gpu_name(),
            "gpus": settings.gpus,
            **facts.files(settings),
            "checkpoints": facts.weights(
                self._config.MODEL_CHECKPOINTS, settings.controls, distilled=settings.distilled
            ),
        }

    def check(self, job: dict[str, Any]) -> None:
        """Refuse a job that is known to fail, before it costs GPU time.

        Raises:
            EngineFailure: The job cannot be done; the message names the field.
        """
        arguments(job, self._settings)
        references.check(job)
        memory.check(job, host_memory.total(), facts.usable_gpu_memory())

    def sample(self, job: dict[str, Any]) -> Any:  # noqa: ANN401 - upstream's InferenceArguments
        """The job as upstream takes it.

        Raises:
            EngineFailure: Upstream does not take it.
        """
        try:
            return self._config.InferenceArguments.model_validate(arguments(job, self._settings))
        except ValueError as error:  # pydantic's is one
            what = f"Upstream refuses the JSON: {causes.validation(error)}."
            raise EngineFailure("invalid", what, "Correct the JSON.") from error

    def ask_guardrail(self, sample: Any) -> None:  # noqa: ANN401
        """Let the guardrail check the prompts before other processes wait for this one.

        Raises:
            EngineBlocked: The guardrail refuses them.
        """
        runner = self._model.text_guardrail_runner
        if runner is None:
            return
        texts = [sample.prompt] if self._settings.distilled else [sample.prompt, sample.negative_prompt]
        with _heard(REFUSED) as reasons:
            allowed = all(self._inference.guardrail_presets.run_text_guardrail(text, runner) for text in texts)
        if not allowed:
            raise EngineBlocked(_blocked("the prompt", reasons))

    def check_prompts(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        """Let the text filters check texts; see port.PromptChecker."""
        return self._filters.check(texts)

    def run(self, job: dict[str, Any], sample: Any, context: Context, gate: Gate) -> dict[str, Any]:  # noqa: ANN401
        """Do a job.

        Args:
            job: as `generate` gets it.
            sample: the job as upstream takes it.
            gate: shared by the job's processes.

        Raises:
            EngineBlocked: The guardrail refused the prompt or the result.
            EngineCancelled: The job is no longer wanted.
            EngineFailure: The job failed, and why; other exceptions are for `faults.classify`.
        """
        from povwatch.engines.upstream.pictures import Writer  # noqa: PLC0415 - needs PyAV, as no other part does

        gc.collect()  # objects left by a failed job hold its tensors
        facts.begin_peak()
        used = taken(job)
        store = ChunkStore(context.checkpoint_dir, self._key(sample, used))
        chunks = Chunks(store, gate)
        calls = DISTILLED_CALLS if self._settings.distilled else FULL_CALLS
        meter = Meter(context, gate, sample.num_steps, calls, clock=facts.settled)
        writer = Writer(Fraction(job["fps_num"], job["fps_den"]), context)
        self._filters.begin()
        tensors.seed_everything(sample.seed)
        leaving = Leaving(job, context.workdir) if gate.leads and job.get("leave_control_files") else None
        pipeline = self._model.inference_pipeline
        try:
            with (
                contained(context.workdir),
                _heard(REFUSED) as reasons,
                leaving or contextlib.nullcontext(),
                hooks.hooked(self._inference, pipeline, meter, chunks, writer.save, leaving=leaving),
            ):
                written = self._model.generate([sample], Path(context.workdir))
        except Exception as error:
            known = causes.of_job(error, job, meter)
            if known is None:
                raise
            raise known from error
        if not written:  # keep_going leaves out only a blocked job
            raise EngineBlocked(_blocked("the generated video" if meter.chunks else "the prompt", reasons))
        return {
            "seconds": meter.ended(),
            "peak_memory": facts.peak(),
            "seed": sample.seed,
            "num_steps": sample.num_steps,
            "guidance": None if self._settings.distilled else sample.guidance,
            "guardrails": self._settings.guardrails,
            **({"guardrail_filters": self._ran()} if gate.leads else {}),
            "chunks": chunks.made + chunks.kept,
            "chunks_resumed": chunks.kept,
            "control_files": [one.to_json() for one in leaving.files] if leaving else [],
            "control_files_used": {key: file.sha256 for key, file in used.items()},
            **(_result(context.workdir, job) if gate.leads else {}),
        }

    def _listen(self) -> Filters:
        """Listen to the filters that upstream has loaded (inference.py, 90-101): rank 0 has them, if they are on."""
        package = importlib.import_module("cosmos_transfer2")
        filters = Filters("cosmos", f"cosmos_transfer2 {facts.versions(package)['version']}".rstrip())
        filters.listen(getattr(self._model, "text_guardrail_runner", None), "text")
        filters.listen(getattr(self._model, "video_guardrail_runner", None), "video")
        return filters

    def _ran(self) -> list[dict[str, Any]]:
        """The filters that ran for a job, for its manifest; see Filters.ran."""
        if self._settings.guardrails and not self._filters.known:
            return [{"name": "guardrail", "package": self._filters.package, "when": "engine", "how": "asked for"}]
        return self._filters.ran()

    def _setup(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "output_dir": Path(settings.folder),
            "model": settings.model,
            "context_parallel_size": settings.gpus,  # else upstream takes WORLD_SIZE
            "disable_guardrails": not settings.guardrails,
            "offload_guardrail_models": settings.offload_guardrails,
            "keep_going": True,  # a blocked job is left out of the list, instead of a bare Exception
        }

    def _key(self, sample: Any, used: Collection[str]) -> str:  # noqa: ANN401
        """A digest of everything that decides a chunk's latents: the spec, its files' bytes, model, libraries.

        `used`: the hint keys of controls that another job has left, which are as if they were computed here.
        """
        spec = sample.model_dump(mode="json", exclude_none=True)
        for key in used:
            spec[key].pop("control_path")
        files = {where: file_digest(path) for where, path in paths(spec).items() if Path(path).is_file()}
        for where in files:
            field, _, key = where.rpartition(".")
            (spec[field] if field else spec).pop(key)
        about = self.capabilities()
        model = {name: about[name] for name in ("version", "torch", "cuda", "model", "controls", "gpu", "gpus")}
        return key_of(spec=spec, files=files, **model, checkpoints=about["checkpoints"])


@contextlib.contextmanager
def _heard(mark: str) -> Iterator[list[str]]:
    """What follows a mark in upstream's critical log lines: reasons that upstream itself does not return."""
    found: list[str] = []

    def note(message: object) -> None:
        _, there, rest = str(message).partition(mark)
        if there:
            found.append(rest.strip())

    logger = importlib.import_module(LOG).logger
    sink = logger.add(note, level="CRITICAL", format="{message}")
    try:
        yield found
    finally:
        logger.remove(sink)


def _blocked(what: str, reasons: list[str]) -> str:
    return f"The guardrail refused {what}{': ' + '; '.join(reasons) if reasons else '.'}"


def _result(workdir: str, job: dict[str, Any]) -> dict[str, Any]:
    """The artifact's file and its properties."""
    video = str(Path(workdir, NAME + ".mp4"))
    if not Path(video).is_file():
        raise EngineFailure("error", f"Upstream ended the job without a result: there is no {video}.")
    found = references.probe("The result", video)
    controls = {key: str(Path(workdir, f"{NAME}_control_{key}.mp4")) for key in CONTROLS}
    return {
        "path": video,
        "controls": {key: path for key, path in controls.items() if job.get("keep_controls") and Path(path).is_file()},
        "frames": found.frames,
        "width": found.width,
        "height": found.height,
    }
