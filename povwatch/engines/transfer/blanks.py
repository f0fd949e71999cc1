"""Finds controls that are all black and masks that are all background, for the log and the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.engines.transfer.frames import GUIDED

if TYPE_CHECKING:
    from povwatch.engines.transfer.frames import Piece

NO_CONTROL = "{} is black in every frame: it controls nothing."

NO_MASK = "{}.mask_path is background in every frame: {} controls nothing."

NO_GUIDED = f"{GUIDED} is background in every frame: nothing of the clip is kept."


class Blanks:
    """What was blank in all chunks of a job so far."""

    def __init__(self) -> None:
        self._seen: dict[str, bool] = {}
        """Sentence to whether there was something else."""

    def look(self, piece: Piece) -> None:
        """Look at the next chunk."""
        for key, frames in piece.controls.items():
            self._add(NO_CONTROL.format(key), something=bool(frames.any()))
        for key, mask in piece.masks.items():
            self._add(NO_MASK.format(key, key), something=bool(mask.any()))
        if piece.kept is not None:
            self._add(NO_GUIDED, something=bool(piece.kept.any()))

    def notes(self) -> list[str]:
        """A sentence for each that was blank throughout."""
        return [sentence for sentence, something in self._seen.items() if not something]

    def _add(self, sentence: str, *, something: bool) -> None:
        self._seen[sentence] = something or self._seen.get(sentence, False)
