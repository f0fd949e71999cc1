"""A tiny Cosmos-Transfer2.5: the real classes with random weights, 1 MB on the disk, seconds on a CPU.

Its configuration is the real one (see benchmarks/build_random_2b.py) except for widths and depths.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

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

from povwatch.engines.diffusers import DiffusersEngine
from povwatch.engines.transfer.peer import PeerEngine

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
"""Settings of an engine for it: small chunks of small frames."""


class TinyEngine(DiffusersEngine):
    """The diffusers engine for worker processes of tests: `tests/support/tiny_model.py:TinyEngine`.

    What it is told comes through environment variables, since a worker is told nothing of an engine by name:
    TINY_MODEL is the model's folder; TINY_CONFIG holds settings over CONFIG, in JSON.
    TINY_GUARDRAIL is "real" where the guardrail is cosmos_guardrail's own, on the files of tiny_guardrail.py.
    TINY_TRACE is a file that gets a line for each progress. TINY_HOLD is a file that says when a job stands still, as
    "chunk step"; it does so from there until that file is gone or the job is cancelled.
    """

    peer = f"{__file__}:TinyPeer"

    def load(self, config, report):
        torch.set_num_threads(1)
        told = json.loads(os.environ.get("TINY_CONFIG", "{}"))
        if os.environ.get("TINY_GUARDRAIL") == "real":
            inner = importlib.import_module("cosmos_guardrail.cosmos_guardrail")
            inner.cfg_re50 = importlib.import_module("retinaface.data").cfg_mnet  # see tiny_guardrail.add_faces
        elif told.get("guardrails"):
            module = ModuleType("cosmos_guardrail")
            module.CosmosSafetyChecker = Checker
            sys.modules["cosmos_guardrail"] = module
        return super().load({**CONFIG, "model": os.environ.get("TINY_MODEL", ""), **told, **config}, report)

    def generate(self, job, context):
        return super().generate(job, _Watched(context, job["id"]))


class TinyPeer(PeerEngine):
    """The engine of its other ranks."""

    def load(self, config, report):
        torch.set_num_threads(1)
        return super().load(config, report)


class Checker:
    """Replaces the gated checker and is called like it: it refuses given words."""

    def __init__(self):
        self._refuses = False

    def to(self, _device):
        pass

    def check_text_safety(self, text):
        self._refuses |= "forbidden scene" in text
        return "forbidden word" not in text

    def check_video_safety(self, frames):
        refuses, self._refuses = self._refuses, False
        return None if refuses else frames


class _Watched:
    """A context that records what the engine reports, and pauses where it is told to."""

    def __init__(self, context, number):
        self._context, self._job = context, number
        self._trace = Path(os.environ.get("TINY_TRACE", os.devnull))
        self._hold = Path(os.environ.get("TINY_HOLD", "no such file"))

    def __getattr__(self, name):
        return getattr(self._context, name)

    def progress(self, stage, **numbers):
        self._context.progress(stage, **numbers)
        where = f"{numbers.get('chunk', 0)} {numbers.get('step', 0)}"
        with self._trace.open("a") as file:
            file.write(f"{self._job} {stage} {where}\n")
        while stage == "denoise" and self._held(where) and not self._context.cancelled():
            time.sleep(0.01)

    def _held(self, where):
        try:
            return self._hold.read_text() == where
        except FileNotFoundError:
            return False


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
    """One token per byte."""
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


if __name__ == "__main__":
    build(Path(sys.argv[1]))
