"""Tiny models that compute controls: the real classes with random weights, where the hub's client would keep them."""

import sys
from pathlib import Path

import torch
from support import tiny_model
from transformers import (
    BertTokenizerFast,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTImageProcessor,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VideoVideoProcessor,
)

from povwatch.engines.annotate.annotation import DEPTH_ANYTHING, GROUNDING_DINO, SAM2
from povwatch.engines.transfer.settings import CONTROL_NAMES

SQUARE = {"height": 64, "width": 64}
"""What SAM 2 scales pictures to."""

MEMORY = 64
"""Channels of SAM 2's memory: transformers has this number in its code."""

SPREAD = 0.16
"""Of the random weights of Depth Anything: with the usual ones all depths are alike."""

WIDTH = 2 * MEMORY
"""Channels of SAM 2; it works with more than its memory has."""

QUERIES = 3
"""Things that Grounding DINO finds, whatever it is asked."""


def build(home: Path) -> Path:
    """Write all three below `home`, which is to be HF_HOME."""
    torch.manual_seed(0)
    for model, make in ((DEPTH_ANYTHING, _depth), (GROUNDING_DINO, _detector), (SAM2, _tracker)):
        make(home / "hub" / f"models--{model.repository.replace('/', '--')}" / "snapshots" / model.revision)
    return home


def _depth(folder: Path) -> None:
    backbone = {
        "model_type": "dinov2",
        "hidden_size": 8,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "apply_layernorm": True,
        "reshape_hidden_states": False,
        "initializer_range": SPREAD,
    }
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=8,
        neck_hidden_sizes=[2, 2, 4, 4],
        fusion_hidden_size=4,
        head_hidden_size=4,
        initializer_range=SPREAD,
    )
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():  # random depths are around 0, and what is below is cut off
        model.head.conv3.bias.fill_(1)
    model.save_pretrained(folder)
    DPTImageProcessor(
        size={"height": 42, "width": 42},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)


def _detector(folder: Path) -> None:
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "image_size": 32,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 1, 1],
            "window_size": 2,
            "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert",
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "intermediate_size": 8,
            "vocab_size": 1100,
        },
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        num_queries=QUERIES,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 128}).save_pretrained(folder)
    _words().save_pretrained(folder)


def _words() -> BertTokenizerFast:
    """A tokenizer of letters, whose special tokens have BERT's numbers, which Grounding DINO knows."""
    numbered = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}
    names = {number: numbered.get(number, f"[unused{number}]") for number in range(1100)}
    for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        names[200 + place], names[300 + place] = letter, f"##{letter}"
    return BertTokenizerFast(vocab={word: number for number, word in names.items()}, do_lower_case=True)


def _tracker(folder: Path) -> None:
    config = Sam2VideoConfig(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [64, 64],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 1, 1],
                "window_size_per_stage": [4, 4, 4, 4],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": WIDTH,
        },
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": 64, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": WIDTH,
            "num_attention_heads": 2,
            "mlp_dim": 16,
            "num_hidden_layers": 2,
            "iou_head_hidden_dim": 16,
            "dynamic_multimask_via_stability": True,
        },
        image_size=64,
        num_maskmem=3,
        max_object_pointers_in_encoder=4,
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=MEMORY,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=16,
    )
    Sam2VideoModel(config).save_pretrained(folder)
    pictures, video = (kind(size=SQUARE) for kind in (Sam2ImageProcessor, Sam2VideoVideoProcessor))
    pictures.save_pretrained(folder)
    video.save_pretrained(folder)
    Sam2VideoProcessor(pictures, video).save_pretrained(folder)


if __name__ == "__main__":
    tiny_model.build(Path(sys.argv[1], "model"), tuple(CONTROL_NAMES.values()))
    build(Path(sys.argv[1], "annotators"))
