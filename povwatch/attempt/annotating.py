"""The interface to what computes controls with a model, before the engine generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.engines.annotate.annotation import Annotation


class Annotates(Protocol):
    """See engines.annotate.annotator.Annotator."""

    def make(
        self,
        annotation: Annotation,
        prepared: dict[str, Any],
        *,
        folder: str,
        out_path: str,
        report: Callable[[float], None],
        cancelled: threading.Event,
    ) -> dict[str, Any]:
        """Compute a control, and write it as a video into a private folder; Annotated as JSON. In any thread."""
