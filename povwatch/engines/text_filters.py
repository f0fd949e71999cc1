"""The guardrail's text filters alone, on the CPU: a worker with them checks prompts while no other worker is idle.

It is loaded like any engine, in the engine's environment, and generates nothing. It sees no GPU, uses no network and
leaves the processor to everybody else. Python 3.10, standard library and the guardrail's own packages.
"""

from __future__ import annotations

import importlib
import os
import resource
from typing import TYPE_CHECKING, Any

from povwatch.engines.guardrail_filters import Filters
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import guardrail, weights
from povwatch.engines.upstream import cached, facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.port import Context

NICE = 19

MEMORY = {False: 8 * 2**30, True: 16 * 2**30}
"""Most bytes of data: some times what it needs (docs/proof.md), since torch's builds differ; more with the language
model."""

UPSTREAM = "cosmos_transfer2._src.imaginaire.auxiliary.guardrail"

ENGINES = {
    "cosmos": "povwatch.engines.text_filters:UpstreamTextFilters",
    "diffusers": "povwatch.engines.text_filters:TextFilters",
}
"""An engine's kind to the class with its text filters, in the form that a worker gets."""


class TextFilters:
    """The text filters of cosmos_guardrail."""

    def __init__(self) -> None:
        self._filters = Filters("diffusers", "")
        self._keep: object = None

    def load(self, config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Load the word lists, and with `language_model` the language model too.

        Raises:
            EngineFailure: a file or a package is missing.
        """
        whole = bool(config.get("language_model"))
        os.nice(NICE)
        _limit_memory(MEMORY[whole])
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the libraries are imported, which read it once
        report("text filters", None)
        try:
            self._load(language_model=whole)
        except ImportError as error:
            raise EngineFailure("invalid", f"The guardrail's packages cannot be imported: {error}.") from error
        except (OSError, ValueError) as error:  # the hub client's errors for missing files
            what = f"The guardrail's text filters cannot be loaded: {weights.first_line(error)}"
            raise EngineFailure("invalid", what) from error
        return {"name": "text filters", "real": False, "controls": [], "filters": self._filters.about()}

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:  # noqa: ARG002 - it takes no job
        """Refuse: this is no engine for jobs.

        Raises:
            EngineFailure: always.
        """
        raise EngineFailure("invalid", "The guardrail's text filters generate nothing.")

    def check_prompts(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        """See port.PromptChecker."""
        return self._filters.check(texts)

    def _load(self, *, language_model: bool) -> None:
        library = importlib.import_module("cosmos_guardrail")
        inner = importlib.import_module("cosmos_guardrail.cosmos_guardrail")
        self._filters = Filters("diffusers", guardrail.package())
        with guardrail.room_for_its_copy(library) as self._keep:
            self._filters.add(inner.Blocklist(), "text")
        if language_model:
            self._filters.add(inner.Qwen3Guard(), "text")


class UpstreamTextFilters(TextFilters):
    """The text filters of upstream's guardrail."""

    def _load(self, *, language_model: bool) -> None:
        importlib.import_module("cosmos_oss.init").init_environment()
        cached.prefer_cache()
        package = importlib.import_module("cosmos_transfer2")
        words = importlib.import_module(f"{UPSTREAM}.blocklist.blocklist")
        self._filters = Filters("cosmos", f"cosmos_transfer2 {facts.versions(package)['version']}".rstrip())
        self._filters.add(words.Blocklist(), "text")
        if language_model:
            model = importlib.import_module(f"{UPSTREAM}.qwen3guard.qwen3guard")
            self._filters.add(model.Qwen3Guard(offload_model_to_cpu=True), "text")


def _limit_memory(most: int) -> None:
    """Limit this process's data to so many bytes, or to fewer if somebody has done so already."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
