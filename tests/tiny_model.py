"""Cosmos-Transfer2.5 in small: the real classes with random weights, 1 MB on the disk, seconds on a CPU.

Its configuration is the real one's (see benchmarks/build_random_2b.py) but for widths and depths.
"""

import importlib
import os
import signal
from pathlib import Path

import torch

try:
    importlib.import_module("torchvision")
except RuntimeError:
    # It is of another build than torch, and its C++ part cannot be loaded. diffusers needs it for one resize, which is
    # plain torch: so it is enough to declare what torchvision's Python expects. torch forgets it with `operators`.
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from diffusers import (
    AutoencoderKLWan,
    CosmosControlNetModel,
    CosmosTransformer3DModel,
    UniPCMultistepScheduler,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from povwatch.engine.diffusers import DiffusersEngine

WIDTH = 32
LAYERS = 2
HIDDEN = 16
CHAT = (
    "{% for m in messages %}{{ m['role'] }}:{% for part in m['content'] %}{{ part['text'] }}{% endfor %}\n{% endfor %}"
)

SHARED = {
    "num_attention_heads": 2,
    "attention_head_dim": WIDTH // 2,
    "mlp_ratio": 2.0,
    "text_embed_dim": 24,
    "adaln_lora_dim": 4,
    "max_size": (128, 240, 240),
    "patch_size": (1, 2, 2),
    "rope_scale": (1.0, 3.0, 3.0),
    "extra_pos_embed_type": None,
    "use_crossattn_projection": True,
    "crossattn_proj_in_channels": LAYERS * HIDDEN,
    "encoder_hidden_states_channels": 24,
    "img_context_dim_in": 12,
    "img_context_dim_out": WIDTH,
}

CONFIG = {
    "device": "cpu",
    "dtype": "float32",
    "guardrails": False,
    "offline": True,
    "chunk_frames": 9,
    "pixels": 48 * 32,
}
"""What an engine is told to work with it: small chunks of small frames."""


class TinyEngine(DiffusersEngine):
    """The diffusers engine for worker processes of tests: `tests/tiny_model.py:TinyEngine`."""

    def load(self, config, report):
        torch.set_num_threads(1)
        return super().load({**CONFIG, "model": os.environ.get("POVWATCH_TINY_MODEL", ""), **config}, report)

    def generate(self, job, context):
        """The job; POVWATCH_TINY_KILL=1:2 kills the process in its second chunk after two steps, the first time."""
        if fatal := os.environ.get("POVWATCH_TINY_KILL"):
            chunk, step = map(int, fatal.split(":"))
            context = _Fatal(context, Path(context.checkpoint_dir, "killed"), {"chunk": chunk, "step": step})
        return super().generate(job, context)


class _Fatal:
    """A context that kills the process at one step, unless it has done so already."""

    def __init__(self, context, marker, where):
        self._context, self._marker, self._where = context, marker, where

    def __getattr__(self, name):
        return getattr(self._context, name)

    def progress(self, stage, **numbers):
        self._context.progress(stage, **numbers)
        if stage == "denoise" and self._where.items() <= numbers.items() and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def build(folder: Path, controls: tuple[str, ...] = ("edge", "blur")) -> Path:
    """Write the model, as `save_pretrained` lays a pipeline out; one control beside the other in `controlnet`."""
    torch.manual_seed(0)
    transformer = CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_layers=LAYERS,
        concat_padding_mask=True,
        controlnet_block_every_n=1,
        img_context_num_tokens=4,
        **SHARED,
    )
    transformer.save_pretrained(folder / "transformer")
    for name in controls:
        controlnet = CosmosControlNetModel(
            n_controlnet_blocks=LAYERS, in_channels=34, latent_channels=18, model_channels=WIDTH, **SHARED
        )
        controlnet.save_pretrained(folder / "controlnet" / name)
    AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).save_pretrained(folder / "vae")
    UniPCMultistepScheduler(
        use_karras_sigmas=True,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        sigma_max=200.0,
        sigma_min=0.01,
    ).save_pretrained(folder / "scheduler")
    tokenizer().save_pretrained(folder / "tokenizer")
    _text_encoder().save_pretrained(folder / "text_encoder")
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bytewise, chat_template=CHAT, pad_token="<pad>")  # noqa: S106


def _text_encoder() -> Qwen2_5_VLForConditionalGeneration:
    heads = {"hidden_size": HIDDEN, "intermediate_size": HIDDEN}
    config = Qwen2_5_VLConfig(
        text_config={
            **heads,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 300,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            "rope_theta": 1000000.0,
            "bos_token_id": 257,
            "eos_token_id": 258,
        },
        vision_config={**heads, "depth": 1, "num_heads": 2, "out_hidden_size": HIDDEN},
        vision_start_token_id=260,
        vision_end_token_id=261,
        vision_token_id=262,
        image_token_id=263,
        video_token_id=264,
    )
    return Qwen2_5_VLForConditionalGeneration(config)
