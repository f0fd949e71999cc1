"""The other ranks of a group: they work along with rank 0 and keep no results."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from povwatch.engines.port import Context, EngineCancelled
from povwatch.engines.ranks import Words, empty_result
from povwatch.engines.upstream.group import YES
from povwatch.engines.upstream.session import Session
from povwatch.engines.upstream.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


class PeerEngine:
    """The cosmos engine in a rank other than 0; see engines/ranks.py."""

    def load(self, config: dict[str, Any], report: Callable[[str, float | None], None]) -> dict[str, Any]:
        """Load the model at the same time as the other ranks."""
        self._gate = Following(Words(config["words"]))
        self._session = Session(Settings.parse(config), report)
        return {"rank": int(os.environ["RANK"])}

    def generate(self, job: dict[str, Any], context: Context) -> dict[str, Any]:
        """Do this rank's part."""
        sample = self._session.sample(job)
        quiet = Context(context.workdir, context.checkpoint_dir)
        try:
            about = self._session.run(job, sample, quiet, self._gate)
        except EngineCancelled:
            about = {}
        return {**about, **empty_result(context)}


class Following:
    """The gate of a rank that follows rank 0."""

    leads = False

    def __init__(self, words: Words) -> None:
        self._words = words

    def decide(self, _answer: bool) -> bool:  # noqa: FBT001
        """Rank 0's answer; this rank's is ignored."""
        return self._words.byte() == YES
