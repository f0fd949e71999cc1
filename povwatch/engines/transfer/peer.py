"""The diffusers engine in a rank other than 0: it computes steps along with rank 0, and has nothing else loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKLWan

from povwatch.engines.port import EngineFailure
from povwatch.engines.ranks import Words, empty_result
from povwatch.engines.transfer import request, weights
from povwatch.engines.transfer.calls import follow
from povwatch.engines.transfer.networks import Loading, Networks
from povwatch.engines.transfer.settings import Settings
from povwatch.engines.transfer.split import Part
from povwatch.engines.transfer.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Context


class PeerEngine:
    """See the module, and engines/ranks.py."""

    def load(self, config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Load the networks at the same time as rank 0 loads the model, and wait for it."""
        config = dict(config)
        self._words = Words(config.pop("words"))
        settings = Settings.from_config(config)
        self._words.line()  # rank 0 has found or fetched every file
        rank = int(os.environ["RANK"])
        files = weights.locate(settings)
        loading = Loading(settings, [files.base / "transformer", files.controls[settings.controls[0]]], report)
        if loading.device.type == "cuda":
            torch.cuda.set_device(loading.device)  # NCCL and the compiled code take the current one
        with torch.device("meta"):
            vae = AutoencoderKLWan.from_config(AutoencoderKLWan.load_config(files.base / "vae", local_files_only=True))
        part = Part(rank, settings.gpus_per_worker, settings.meeting)
        self._networks = Networks(settings, files, loading, vae, part=part)
        self._networks.ready(report)
        return {"rank": rank, "notes": self._networks.notes}

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Do this rank's part."""
        networks = self._networks
        asked = request.read(job, networks.settings, networks.limit)
        networks.use([control.key for control in asked.controls])
        step = networks.step_for(asked.speed)
        if not isinstance(step, Step):
            raise EngineFailure("error", "The step is diffusers' own, which is not divided among GPUs.")
        with torch.no_grad(), networks.attention.scope():
            follow(step, self._words, networks.device)
        return empty_result(context)
