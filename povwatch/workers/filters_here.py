"""The guardrail's text filters in a worker of its own, for a command that waits for them. The daemon never does."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import MachineError
from povwatch.core.sentences import joined
from povwatch.process import protocol
from povwatch.process.start import describe_end
from povwatch.workers.process import Exited, HungUp, Received, WorkerProcess
from povwatch.workers.prompt_checks import CHECK_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.workers.launch import Launch

LOAD_SECONDS = 120.0
"""Seconds for the filters to be loaded."""


class FiltersHere:
    """The filters, loaded."""

    def __init__(self, launch: Launch) -> None:
        """Start the worker and load the filters.

        Raises:
            MachineError: they cannot be loaded.
        """
        self._woken = threading.Event()
        self._patience = CHECK_TIMEOUT[bool(launch.config["language_model"])]
        try:
            self._process = WorkerProcess(launch, clock=time.monotonic, wake=self._woken.set)
        except OSError as error:
            raise MachineError(f"{launch.python} cannot be started: {error.strerror}.") from error
        self._process.send(protocol.Load(launch.config))
        with self._killed_in_case():
            loaded = self._answer((protocol.Loaded, protocol.LoadFailed), LOAD_SECONDS)
            if isinstance(loaded, protocol.LoadFailed):
                raise MachineError(loaded.message, loaded.todo)
            self._about = {one["name"]: one for one in loaded.capabilities["filters"]}

    def said(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        """What each filter says of each text, as PromptChecks.said.

        Raises:
            MachineError: they fail.
        """
        self._process.send(protocol.CheckPrompts(1, texts))
        with self._killed_in_case():
            answer = self._answer((protocol.PromptsChecked,), self._patience)
            if answer.problem:
                raise MachineError(answer.problem)
        return [
            [{**self._about.get(one["filter"], {"name": one["filter"]}), **one} for one in said]
            for said in answer.verdicts
        ]

    def close(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.join(2.0)

    def _answer(self, kinds: tuple[type[Any], ...], seconds: float) -> Any:  # noqa: ANN401 - one of the kinds
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._woken.clear()
            for item in self._process.take():
                if isinstance(item, Received) and isinstance(item.message, kinds):
                    return item.message
                if isinstance(item, Exited):
                    raise MachineError(f"Their worker {describe_end(item.returncode)}.")
                if isinstance(item, HungUp):
                    raise MachineError(joined("Their worker hung up.", item.why))
            self._woken.wait(max(0.0, deadline - time.monotonic()))
        raise MachineError(f"They did not answer for {seconds:g} s.")

    @contextlib.contextmanager
    def _killed_in_case(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise
