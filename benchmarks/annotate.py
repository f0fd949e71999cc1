"""Measures what computing depth and segments takes on a GPU: seconds a frame, and memory. Random weights, real sizes.

    python benchmarks/annotate.py OUT.json            # on a GPU
    python benchmarks/annotate.py OUT.json --cpu --frames 2
    python benchmarks/annotate.py OUT.json --dry      # tiny models on the CPU

It needs torch and transformers alone: the models' modules of povwatch/engines/annotate/ read and write no files.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

try:
    importlib.import_module("torchvision")
except RuntimeError:  # of another build than torch: see tests/support/tiny_model.py
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTImageProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    PreTrainedTokenizerFast,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from povwatch.engines.annotate import detect
from povwatch.engines.annotate.estimate import AT_ONCE, Estimator
from povwatch.engines.annotate.track import Tracker

SIZE = (720, 1280)
"""Height and width of a frame."""

THINGS = (1, 4, 16)
"""Numbers of things that are followed."""

NUMBERED = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}
"""BERT's special tokens."""


def main() -> None:
    """Measure, and write the figures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--dry", action="store_true")
    asked.add_argument("--cpu", action="store_true")
    asked.add_argument("--frames", type=int, default=40)
    given = asked.parse_args()
    device = "cpu" if given.dry or given.cpu else "cuda"
    frames = 6 if given.dry else given.frames
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        depth, detector, tracker = build(Path(folder), tiny=given.dry)
        dice = np.random.default_rng(0)
        size = (48, 64) if given.dry else SIZE
        pictures = [dice.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(frames)]
        found = {
            "device": device if device == "cpu" else torch.cuda.get_device_name(),
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
            "size": size,
            "depth": measured(device, frames, lambda: estimate(str(depth), device, pictures)),
            "detect": measured(device, 1, lambda: detect.boxes(str(detector), device, pictures[0], "hands cup table")),
        }
        for things in THINGS:
            boxes = np.array([[8 + n, 8 + n, size[1] // 2 + n, size[0] // 2 + n] for n in range(things)], np.float32)
            found[f"track {things}"] = measured(
                device, frames, lambda b=boxes: follow(str(tracker), device, pictures, b)
            )
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def measured(device: str, frames: int, work: Any) -> dict[str, float]:  # noqa: ANN401 - any function
    """Do something twice; the second time's seconds, a frame, with loading, and the GPU's memory in GB."""
    for _ in range(2):
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        begun = time.monotonic()
        loaded = work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - begun
    figures = {"seconds": round(seconds, 3), "loading": round(loaded, 3) if isinstance(loaded, float) else None}
    figures["seconds a frame"] = round((seconds - (figures["loading"] or 0)) / frames, 4)
    if device == "cuda":
        free, whole = torch.cuda.mem_get_info()
        figures |= {
            "tensors at most, GB": round(torch.cuda.max_memory_allocated() / 1e9, 2),
            "reserved at most, GB": round(torch.cuda.max_memory_reserved() / 1e9, 2),
            "in use on the GPU, GB": round((whole - free) / 1e9, 2),
        }
    return figures


def estimate(folder: str, device: str, pictures: list[Any]) -> float:
    """The depth of all pictures; the seconds of loading."""
    begun = time.monotonic()
    model = Estimator(folder, device)
    loaded = time.monotonic() - begun
    for at in range(0, len(pictures), AT_ONCE[device]):
        model(pictures[at : at + AT_ONCE[device]])
    return loaded


def follow(folder: str, device: str, pictures: list[Any], boxes: Any) -> float:  # noqa: ANN401 - an array
    """The masks of all pictures; the seconds of loading."""
    begun = time.monotonic()
    tracker = Tracker(folder, device)
    loaded = time.monotonic() - begun
    for _ in tracker.follow(pictures, len(pictures), boxes):
        pass
    return loaded


def build(folder: Path, *, tiny: bool) -> tuple[Path, Path, Path]:
    """Write the models: Depth Anything, Grounding DINO and SAM 2."""
    if tiny:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from support import tiny_annotators  # noqa: PLC0415 - it needs diffusers

        tiny_annotators.build(folder)
        return tuple(sorted((folder / "hub").glob("*/snapshots/*"), key=_order))  # type: ignore[return-value]
    depth, detector, tracker = (folder / name for name in ("depth", "detector", "tracker"))
    DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=DINOV2_SMALL, **DEPTH)).save_pretrained(depth)
    square = {"height": 518, "width": 518}
    DPTImageProcessor(size=square, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(depth)
    GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=SWIN_BASE)).save_pretrained(detector)
    GroundingDinoImageProcessor().save_pretrained(detector)
    words().save_pretrained(detector)
    Sam2VideoModel(Sam2VideoConfig(vision_config=HIERA_LARGE)).save_pretrained(tracker)
    images, video = Sam2ImageProcessor(), Sam2VideoVideoProcessor()
    images.save_pretrained(tracker)
    video.save_pretrained(tracker)
    Sam2VideoProcessor(images, video).save_pretrained(tracker)
    return depth, detector, tracker


def words() -> PreTrainedTokenizerFast:
    """A tokenizer of letters with BERT's special tokens."""
    names = {number: NUMBERED.get(number, f"[unused{number}]") for number in range(30522)}
    for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        names[200 + place], names[300 + place] = letter, f"##{letter}"
    made = Tokenizer(models.WordPiece({word: number for number, word in names.items()}, unk_token="[UNK]"))  # noqa: S106
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")  # noqa: S106


def _order(path: Path) -> int:
    return [name in str(path) for name in ("Depth-Anything", "grounding-dino", "sam2")].index(True)


DINOV2_SMALL = {
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "image_size": 518,
    "patch_size": 14,
    "out_indices": [3, 6, 9, 12],
    "apply_layernorm": True,
    "reshape_hidden_states": False,
}

DEPTH = {
    "reassemble_hidden_size": 384,
    "neck_hidden_sizes": [48, 96, 192, 384],
    "fusion_hidden_size": 64,
    "head_hidden_size": 32,
}

SWIN_BASE = {
    "model_type": "swin",
    "image_size": 384,
    "window_size": 12,
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "num_heads": [4, 8, 16, 32],
    "out_indices": [2, 3, 4],
}

HIERA_LARGE = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
        "window_positional_embedding_background_size": [7, 7],
    },
    "backbone_channel_list": [1152, 576, 288, 144],
}
"""As transformers' own conversion scripts have them for the three models."""


if __name__ == "__main__":
    main()
