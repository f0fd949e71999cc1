"""Finds what a prompt names in a picture, as upstream does: `get_boxes_from_text`, auxiliary/sam2/sam2_model.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

from povwatch.engines.annotate.annotation import OBJECTS_MAX, THRESHOLDS

if TYPE_CHECKING:
    from povwatch.engines.annotate.video import Frame


@torch.inference_mode()  # type: ignore[untyped-decorator]
def boxes(folder: str, device: str, picture: Frame, prompt: str) -> tuple[Frame, bool]:
    """The boxes of the things that a prompt names, the surest first, OBJECTS_MAX at most; none if nothing is found.

    Of a prompt that is longer than the model reads, only the beginning counts. Upstream fails with one.

    Args:
        folder: Grounding DINO's.
        device: torch's name of it. On a GPU it computes in bfloat16 where torch's autocast does, as upstream.
        picture: RGB, uint8, shape (height, width, 3).

    Returns:
        Shape (boxes, 4), in pixels: left, top, right, bottom; and whether the prompt was too long.
    """
    processor: Any = GroundingDinoProcessor.from_pretrained(folder, local_files_only=True)
    loaded: Any = GroundingDinoForObjectDetection.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    model = loaded.to(device).eval()
    most = model.config.max_text_len
    cut = len(processor.tokenizer(prompt)["input_ids"]) > most
    text = {"text": prompt, "truncation": True, "max_length": most}
    inputs = processor(images=picture, **text, return_tensors="pt").to(device)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        outputs = model(**inputs)
    for threshold, words in THRESHOLDS:
        (found,) = processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=threshold,
            text_threshold=words,
            target_sizes=[picture.shape[:2]],
        )
        if len(found["boxes"]):
            break
    order = np.argsort(found["scores"].float().cpu().numpy())[::-1][:OBJECTS_MAX]
    surest: Frame = found["boxes"].float().cpu().numpy()[order]
    return surest, cut
