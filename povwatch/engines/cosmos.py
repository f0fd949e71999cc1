"""The cosmos engine: NVIDIA's Cosmos-Transfer2.5, resident, under the interpreter of its own environment.

Python 3.10, standard library, upstream and what upstream needs. The package `upstream` has the details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.engines.upstream.ability import DISTILLED_FRAMES_MAX, FRAMES_MAX
from povwatch.engines.upstream.group import Group
from povwatch.engines.upstream.session import Session
from povwatch.engines.upstream.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Context


class CosmosEngine:
    """Upstream's model behind our port. With several GPUs, this process leads the others."""

    def load(self, config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Load the model once.

        `config` has `controls` (one hint key or all four), `model` (a variant, or nothing), `guardrails`,
        `offload_guardrails`, `gpus_per_worker` and `output_dir` (private, for what upstream writes as it loads).

        Raises:
            EngineFailure: A setting cannot be used, or the model cannot be loaded.
        """
        settings = Settings.parse(config)
        self._group = Group(settings, config)
        self._session = Session(settings, report)
        self._group.wait_until_loaded()
        report("ready", 1.0)
        return {
            "name": "cosmos",
            "real": True,
            "max_frames": DISTILLED_FRAMES_MAX if settings.distilled else FRAMES_MAX,
            **self._session.capabilities(),
        }

    def check_prompts(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        """See port.PromptChecker."""
        return self._session.check_prompts(texts)

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Do one job; see `port.Engine` and `Session.run`."""
        self._session.check(job)
        sample = self._session.sample(job)
        if self._group.size > 1:
            self._session.ask_guardrail(sample)  # a refusal inside the job would make the other processes wait for ever
        context.raise_if_cancelled()
        with self._group.working(job, context) as gate:
            return self._session.run(job, sample, context, gate)
