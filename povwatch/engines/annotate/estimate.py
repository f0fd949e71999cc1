"""Estimates the depth of pictures, each on its own, with Depth Anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import DepthAnythingForDepthEstimation, DPTImageProcessor

if TYPE_CHECKING:
    from povwatch.engines.annotate.video import Frame

AT_ONCE = {"cuda": 4, "cpu": 1}
"""Frames that the model gets at once, by the device."""


class Estimator:
    """Depth Anything on a device."""

    def __init__(self, folder: str, device: str) -> None:
        self._processor: Any = DPTImageProcessor.from_pretrained(folder, local_files_only=True)
        loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        self._model = loaded.to(device).eval()
        self.device = device

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def __call__(self, pictures: list[Frame]) -> Frame:
        """The maps of some frames: float16, not negative, shape (frames, height, width), in the model's size."""
        inputs = self._processor(images=pictures, return_tensors="pt", device=self.device)
        with torch.autocast(self.device, dtype=torch.float16, enabled=self.device == "cuda"):
            found = self._model(inputs["pixel_values"].to(self.device)).predicted_depth
        maps: Frame = found.to(torch.float16).cpu().numpy()
        return maps
