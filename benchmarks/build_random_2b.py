"""Write Cosmos-Transfer2.5-2B in its real configuration with random weights: the speed and the memory of the real one.

    python benchmarks/build_random_2b.py FOLDER [--text-encoder full|slim] [--controls edge,blur] [--device cuda]

The configuration is that of diffusers' scripts/convert_cosmos_to_diffusers.py ("Cosmos-2.5-Transfer-General-2B"), the
text encoder's that of Qwen2.5-VL-7B (15 GiB). `slim` keeps only the width that the model takes its prompts in (28
layers of 3584), for machines with little room or time: its prompts cost less than real ones, all else is the same.
The tokenizer is a stand-in of one token a byte; a prompt is padded to 512 tokens in any case.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))
import support.tiny_model  # before diffusers: it makes torchvision importable beside a torch of another build
import torch
from diffusers import AutoencoderKLWan, CosmosControlNetModel, CosmosTransformer3DModel, UniPCMultistepScheduler
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED = {
    "num_attention_heads": 16,
    "attention_head_dim": 128,
    "mlp_ratio": 4.0,
    "text_embed_dim": 1024,
    "adaln_lora_dim": 256,
    "max_size": (128, 240, 240),
    "patch_size": (1, 2, 2),
    "rope_scale": (1.0, 3.0, 3.0),
    "extra_pos_embed_type": None,
    "use_crossattn_projection": True,
    "crossattn_proj_in_channels": 100352,
    "encoder_hidden_states_channels": 1024,
    "img_context_dim_in": 1152,
    "img_context_dim_out": 2048,
}
TRANSFORMER = {
    "in_channels": 17,
    "out_channels": 16,
    "num_layers": 28,
    "concat_padding_mask": True,
    "controlnet_block_every_n": 7,
    "img_context_num_tokens": 256,
}
CONTROLNET = {"n_controlnet_blocks": 4, "model_channels": 2048, "in_channels": 130, "latent_channels": 18}
TEXT = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
    "rope_theta": 1000000.0,
    "bos_token_id": 257,
    "eos_token_id": 258,
}
SLIM = {"intermediate_size": 64, "vocab_size": 300}
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
SLIM_VISION = {"depth": 1, "hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 3584}
SPREAD = 0.02
"""Standard deviation of the weights, small enough that nothing overflows."""


def main(folder: Path, *, text_encoder: str, controls: list[str], device: str) -> None:
    """Write every part."""
    torch.manual_seed(0)
    write(folder / "transformer", lambda: CosmosTransformer3DModel(**SHARED, **TRANSFORMER), device)
    for name in controls:
        write(folder / "controlnet" / name, lambda: CosmosControlNetModel(**SHARED, **CONTROLNET), device)
    write(folder / "text_encoder", lambda: Qwen2_5_VLForConditionalGeneration(text_config(text_encoder)), device)
    AutoencoderKLWan().to(torch.bfloat16).save_pretrained(folder / "vae")
    UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    ).save_pretrained(folder / "scheduler")
    support.tiny_model.tokenizer().save_pretrained(folder / "tokenizer")


def write(folder: Path, make: Callable[[], Any], device: str) -> None:
    """Make one part with random weights on the device, and save it in bfloat16."""
    began = time.monotonic()
    with torch.device("meta"):
        part = make()
    part = part.to(torch.bfloat16).to_empty(device=device)
    for name, weight in part.named_parameters():
        if weight.ndim == 1 and name.endswith("weight"):  # a norm's
            torch.nn.init.ones_(weight)
        else:
            torch.nn.init.normal_(weight, std=SPREAD)
    part.save_pretrained(folder)
    count = sum(weight.numel() for weight in part.parameters())
    print(f"{folder.name:14} {count / 1e9:6.3f} billion weights in {time.monotonic() - began:.0f} s", flush=True)


def text_config(kind: str) -> Qwen2_5_VLConfig:
    """The text encoder's configuration; special tokens are out of the way of the tokenizer's."""
    slim = kind == "slim"
    tokens = ("vision_start", "vision_end", "vision", "image", "video")
    return Qwen2_5_VLConfig(
        text_config={**TEXT, **(SLIM if slim else {})},
        vision_config=SLIM_VISION if slim else VISION,
        tie_word_embeddings=False,
        **{f"{token}_token_id": 260 + number for number, token in enumerate(tokens)},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text-encoder", choices=("full", "slim"), default="full")
    parser.add_argument("--controls", default="edge", help="edge, blur, depth, seg, with commas between them")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    main(asked.folder, text_encoder=asked.text_encoder, controls=asked.controls.split(","), device=asked.device)
