"""Checks prompts and videos, as the model's licence requires.

Source: cosmos_guardrail 0.3 (CosmosSafetyChecker), as the pipeline calls it, but a chunk at a time. Its filters look at
single frames, so the outcome is the same.
"""

from __future__ import annotations

import importlib.metadata
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from povwatch.engines.guardrail_filters import Filters
from povwatch.engines.held_folder import HeldFolder
from povwatch.engines.libraries import LOCKED
from povwatch.engines.port import EngineBlocked, EngineFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "cosmos_guardrail"

TODO = (
    f"Install it with: {LOCKED} (which leaves out its own OpenCV), and accept the licence of "
    "nvidia/Cosmos-1.0-Guardrail; "
    "or set engine.guardrails = false, if your licence allows it."
)


class Guardrail:
    """The checker; without one if guardrails are off."""

    def __init__(self, checker: Any, keep: object = None) -> None:  # noqa: ANN401 - an untyped library's
        """`keep` is what the checker reads from, and stays alive with it."""
        self._checker = checker
        self._keep = keep
        self.filters = Filters("diffusers", package())
        """What is listened to: nothing if guardrails are off."""
        self.filters.listen(getattr(checker, "text_guardrail", None), "text")
        self.filters.listen(getattr(checker, "video_guardrail", None), "video")

    @property
    def on(self) -> bool:
        """Whether anything is checked."""
        return self._checker is not None

    def check_text(self, field: str, text: str) -> None:
        """Check a prompt.

        Raises:
            EngineBlocked: the prompt is refused.
        """
        if self.on and text and not self._checker.check_text_safety(text):
            raise EngineBlocked(f"The guardrail refused the {field}: {text[:200]!r}{self._reason()}")

    def ran(self) -> list[dict[str, Any]]:
        """The filters that ran for a job, for its manifest; see Filters.ran."""
        if self.on and not self.filters.known:
            return [{"name": "guardrail", "package": self.filters.package, "when": "engine", "how": "asked for"}]
        return self.filters.ran()

    def _reason(self) -> str:
        reason = self.filters.reason()
        return f" ({reason})" if reason else ""

    def check_frames(self, frames: NDArray[np.uint8], first: int) -> NDArray[np.uint8]:
        """Check a part of a generated video.

        Args:
            frames: shape (count, height, width, 3); may be written to.
            first: number of the first frame, for people.

        Returns:
            The frames, with unrecognizable faces.

        Raises:
            EngineBlocked: the part is refused: the result is None, or black where the frames were not.
        """
        if not self.on:
            return frames
        black = not frames.any()
        checked: NDArray[np.uint8] | None = self._checker.check_video_safety(frames)
        if checked is None or not (black or checked.any()):
            raise EngineBlocked(
                f"The guardrail refused the generated video, frames {first} to {first + len(frames) - 1}"
                f"{self._reason()}."
            )
        return checked


def load(device: Any, *, on: bool) -> Guardrail:  # noqa: ANN401 - torch.device
    """Load the checker onto a torch.device; without one if `on` is False.

    Raises:
        EngineFailure: the checker is not installed, or its files are missing.
    """
    if not on:
        return Guardrail(None)
    try:
        import cosmos_guardrail  # noqa: PLC0415 - an extra's dependency
    except ImportError as error:
        raise EngineFailure(
            "invalid", f"Guardrails are on, and cosmos_guardrail cannot be imported: {error}.", TODO
        ) from error
    try:
        with room_for_its_copy(cosmos_guardrail) as copy:
            checker = cosmos_guardrail.CosmosSafetyChecker()
    except (OSError, ValueError) as error:  # the hub client's errors for gated or missing files
        raise EngineFailure("invalid", f"The guardrail's own files cannot be read: {error}", TODO) from error
    checker.to(device)
    return Guardrail(checker, copy)


def package() -> str:
    """The checker's package and its version."""
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return PACKAGE


@contextmanager
def room_for_its_copy(library: Any) -> Iterator[HeldFolder | None]:  # noqa: ANN401 - a module
    """Let the checker copy its word lists below a folder of ours, if those below HF_HOME are somebody else's.

    It copies them because nltk follows no links (cosmos_guardrail.py, _materialize_nltk_data). But whoever ran
    prefetch, such as root, may have left a folder that this user may not write.
    """
    constants = getattr(getattr(library, "cosmos_guardrail", None), "hf_constants", None)
    if constants is None or os.access(constants.HF_HOME, os.W_OK):
        yield None
        return
    before, folder = constants.HF_HOME, HeldFolder()
    constants.HF_HOME = folder.name
    try:
        yield folder
    finally:
        constants.HF_HOME = before
