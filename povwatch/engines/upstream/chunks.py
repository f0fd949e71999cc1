"""Takes chunks that an earlier attempt finished from the store, and makes the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.engines.upstream import tensors
from povwatch.engines.upstream.leaving import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.engines.upstream.gate import Gate
    from povwatch.engines.upstream.store import ChunkStore, Latents


class Chunks:
    """Wraps upstream's `generate_samples_from_batch`, which makes one chunk's latents a call."""

    def __init__(self, store: ChunkStore, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self._whole = True
        """Whether the store had every chunk so far. After a gap, none is taken: it would not continue what is made now.
        """
        self.made = 0
        self.kept = 0

    def samples(self, model: Any, make: Callable[..., Any], data_batch: dict[str, Any], **how: Any) -> Any:  # noqa: ANN401 - upstream's
        """The next chunk's latents.

        Args:
            model: upstream's.
            make: its `generate_samples_from_batch`.
            data_batch: the chunk's input; changed as upstream changes it.
            how: the function's other arguments.
        """
        chunk, seed = self.made + self.kept, int(how["seed"])
        found = self._store.get(chunk, seed) if self._whole else None
        if self._gate.decide(found is not None):
            result = self._take(model, found, data_batch)
            self.kept += 1
        else:
            self._whole = False
            result = make(data_batch, **how)
            if self._gate.leads:
                self._store.put(chunk, seed, tensors.pack(result))
            self.made += 1
        tensors.seed_everything(seed)
        return result

    def _take(self, model: Any, found: Latents | None, data_batch: dict[str, Any]) -> Any:  # noqa: ANN401
        if found is None:
            raise OSError("The leading process found this chunk, and this one does not.")
        # Upstream scales the controls in place where it makes the latents, and shows and saves them afterwards
        # (vid2vid_model_control_vace_rectified_flow.py, 481-487; of the distilled model condition_postprocessors.py,
        # 127-141; inference_pipeline.py, 664-674).
        for key, value in data_batch.items():
            if key.startswith(CONTROL) and str(value.dtype).endswith("uint8"):
                data_batch[key] = value.to(**model.tensor_kwargs) / 127.5 - 1.0
        return tensors.unpack(found)
