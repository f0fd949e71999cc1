"""The diffusers engine: Cosmos-Transfer2.5 on the parts of diffusers' pipeline, chunk by chunk. See transfer/."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.engines import faults
from povwatch.engines.libraries import INSTALL
from povwatch.engines.port import EngineFailure
from povwatch.engines.ranks import END, Ranks
from povwatch.engines.transfer import guardrail, request, weights
from povwatch.engines.transfer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Context
    from povwatch.engines.transfer.run import LoadedModel

FILES = b"files\n"
"""Told to the other ranks when every file is there."""


class DiffusersEngine:
    """See the module."""

    peer = "povwatch.engines.transfer.peer:PeerEngine"
    """The engine in the other ranks, if several GPUs do a job together."""

    def __init__(self) -> None:
        self._loaded: LoadedModel | None = None
        self._ranks = Ranks(self.peer, [])

    def load(self, config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Load the model; transfer.settings.Settings reads `config`.

        Raises:
            EngineFailure: a key is wrong, a file or a library is missing, or there is no such device.
        """
        settings = Settings.from_config(config)
        if settings.offline:
            os.environ["HF_HUB_OFFLINE"] = "1"  # before the libraries are imported, which read it once
        self._start_ranks(settings, config)
        report("libraries", None)
        with ThreadPoolExecutor(1, "files") as aside:
            # A folder's files are hashed, and so read from the disk, while the libraries are imported which load them.
            # The hub's are found by a library, and their names are their hashes.
            found = aside.submit(weights.locate, settings) if weights.is_folder(settings) else None
            early = aside.submit(lambda: weights.digests(found.result())) if found else None
            run, model = _libraries(settings)
            report("files", None)
            files = found.result() if found else weights.locate(settings)
            weights.check_owners(files)
            self._ranks.tell(FILES)
            digests = early or aside.submit(weights.digests, files)
            report("guardrail", None)
            guard = guardrail.load(settings.device, on=settings.guardrails)
            loaded = model.Model(settings, files, report, **self._split(settings))
            report("hashing", None)
            hashes = digests.result()
        if settings.prompt_cache is not None:
            loaded.keep_embeddings(settings.prompt_cache, hashes)
        self._ranks.wait_until_loaded()
        report("ready", 1.0)
        self._loaded = run.LoadedModel(loaded, settings, guard, hashes)
        versions = loaded.versions()
        return {
            "name": "diffusers",
            "version": versions["diffusers"],
            "real": True,
            "controls": list(settings.controls),
            "max_frames": None,
            "libraries": versions,
            "model": settings.model,
            "revisions": files.revisions,
            "files": hashes,
            "guardrails": guard.on,
            "filters": guard.filters.about("text"),
            "device": loaded.device_name(),
            "dtype": settings.dtype,
            "exact": settings.exact,
            "speed": settings.speed,
            "step": "povwatch" if loaded.own_step else "diffusers",
            "attention": loaded.attention.name,
            "compiled": loaded.compiled,
            "memory": loaded.memory,
            "gpus": self._ranks.size,
            "notes": list(dict.fromkeys((*loaded.notes, *self._ranks.notes()))),
        }

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Generate one clip; see transfer.run.

        Raises:
            EngineFailure: the spec asks for what this engine cannot do, or a file does not fit.
            EngineBlocked: the guardrail refused the prompt or the video.
            EngineCancelled: the job is no longer wanted.
        """
        if self._loaded is None:
            raise EngineFailure("error", "The engine is asked to generate before it was loaded.")
        asked = request.read(job, self._loaded.settings, self._loaded.model.limit)
        with self._ranks.working(job, context):
            try:
                return self._loaded.generate(asked, context)
            finally:
                self._ranks.tell(END)

    def check_prompts(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        """See port.PromptChecker.

        Raises:
            EngineFailure: the engine was not loaded.
        """
        if self._loaded is None:
            raise EngineFailure("error", "The engine is asked to check prompts before it was loaded.")
        return self._loaded.guardrail.filters.check(texts)

    def _start_ranks(self, settings: Settings, config: dict[str, Any]) -> None:
        """Start the other ranks, which import their libraries, and wait until they are told of the files."""
        size = settings.gpus_per_worker
        if size == 1:
            return
        for library in ("NCCL", "GLOO"):  # all ranks are here: nothing has to listen on the network
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
        meeting = Path(settings.meeting)
        meeting.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        meeting.unlink(missing_ok=True)  # a group before this one left it
        shared = {**config, "guardrails": False, "offline": True}  # rank 0 finds or fetches every file
        on_gpu = settings.device == "cuda"
        self._ranks = Ranks(
            self.peer, [{**shared, "device": f"cuda:{rank}" if on_gpu else settings.device} for rank in range(1, size)]
        )

    def _split(self, settings: Settings) -> dict[str, Any]:
        """Rank 0's part of a step, as `Model` takes it."""
        if self._ranks.size == 1:
            return {}
        from povwatch.engines.transfer.calls import LeadingStep  # noqa: PLC0415 - it needs torch
        from povwatch.engines.transfer.split import Part  # noqa: PLC0415

        part = Part(0, self._ranks.size, settings.meeting)
        return {"part": part, "make_step": partial(LeadingStep, self._ranks.tell)}


def _libraries(settings: Settings) -> tuple[Any, Any]:
    """The modules that need torch, and torch's device.

    Raises:
        EngineFailure: a library is missing or broken, or torch does not see the device.
    """
    try:
        import torch  # noqa: PLC0415 - so that a machine without it hears what to do

        from povwatch.engines.transfer import model, run  # noqa: PLC0415
    except (ImportError, RuntimeError, OSError) as error:  # torchvision of another build: RuntimeError
        raise EngineFailure(
            "invalid", f"The engine's libraries cannot be imported: {faults.root(error)}.", INSTALL
        ) from error
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        if torch.version.cuda is None:
            raise EngineFailure(
                "invalid",
                f"The engine computes on {settings.device}, and torch {torch.__version__} is a build without CUDA.",
                "Install a CUDA build of torch and torchvision.",
            )
        raise EngineFailure("gpu-lost", f"The engine computes on {settings.device}, and torch sees no GPU.")
    return run, model
