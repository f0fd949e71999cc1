"""Writes random weights for upstream's own loaders into an offline Hugging Face cache.

Names, revisions and formats are those that upstream asks for. It runs under the interpreter of upstream's environment.

    make_checkpoints.py HF_HOME [--real | --short] [CONTROL ...]

With --real the networks have their real sizes, and with --short all but the text encoder, of which two layers are left:
it is most of what is loaded, and little of what is computed. Otherwise they are tiny.
Without controls it writes all four and the distilled model of edge.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import make_others

CONTROLS = ("edge", "vis", "depth", "seg")

HOME = Path(sys.argv[1])
SHORT = "--short" in sys.argv
REAL = SHORT or "--real" in sys.argv
ASKED = [one for one in sys.argv[2:] if not one.startswith("--")] or [*CONTROLS, "distilled"]

SHARD = 4 * 10**9
"""Bytes in one file of the text encoder."""

NET = {
    "num_blocks": 2,
    "vace_block_every_n": 1,
    "model_channels": 64,
    "num_heads": 2,
    "adaln_lora_dim": 8,
    "crossattn_emb_channels": 64,
    "crossattn_proj_in_channels": 256,
}
"""A tiny DiT."""

TEXT = {
    "hidden_size": 128,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "num_hidden_layers": 2,
    "max_window_layers": 2,
    "intermediate_size": 64,
    "vocab_size": 1024,
    "vision_config.depth": 1,
    "vision_config.hidden_size": 32,
    "vision_config.num_heads": 2,
    "vision_config.intermediate_size": 32,
    "vision_config.out_hidden_size": 128,
    "vision_config.fullatt_block_indexes": "[0]",
}
"""A tiny text encoder."""

SHORT_NET = {"crossattn_proj_in_channels": 2 * 3584}
"""The DiT reads each layer of the text encoder."""

SHORT_TEXT = {"num_hidden_layers": 2, "max_window_layers": 2, "vision_config.depth": 1}
SHORT_TEXT |= {"vision_config.fullatt_block_indexes": "[0]"}

VAE = {"dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
VAE |= {"temperal_downsample": [False, True, True], "dropout": 0.0, "temporal_window": 16}
"""Upstream's own (tokenizers/wan2pt1.py, `_video_vae`)."""

SPECIAL = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
)

BEGAN = time.monotonic()


def overrides():
    """The Hydra options that make the networks small, for `without_cuda`."""
    if REAL and not SHORT:
        return {}
    net, coder = (SHORT_NET, SHORT_TEXT) if SHORT else (NET, TEXT)
    text = "model.config.text_encoder_config.model_config.model_config"
    encoder = [f"{text}.{key}={value}" for key, value in coder.items()]
    nets = {name: [f"model.config.{name}.{key}={value}" for key, value in net.items()] for name in NETS}
    options = {"options": nets["net"] + encoder, "distilled": [one for name in NETS for one in nets[name]] + encoder}
    return options if SHORT else options | {"vae": 4, "pictures_by": 8, "sam2": make_others.overrides()}


NETS = ("net", "net_fake_score", "net_teacher")


def main():
    """Write what was asked for."""
    HOME.mkdir(parents=True, exist_ok=True)
    Path(HOME, "povwatch-sizes.json").write_text(json.dumps(overrides()))
    os.environ |= {"HF_HOME": str(HOME), "HF_HUB_OFFLINE": "1", "COSMOS_EXPERIMENTAL_CHECKPOINTS": "1"}
    torch = importlib.import_module("torch")
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    config = importlib.import_module("cosmos_transfer2.config")
    found = {}
    for control in [one for one in ASKED if one != "distilled"]:
        found[control] = _config(config, control)
        key = config.ModelKey(variant=control)
        _place_net(torch, found[control], config.MODEL_CHECKPOINTS[key].hf)
    if "distilled" in ASKED:
        _distilled(torch, config)
    some = next(iter(found.values()), None) or _config(config, "edge")
    database = importlib.import_module("cosmos_transfer2._src.imaginaire.utils.checkpoint_db")
    uri = "s3://bucket/cosmos_diffusion_v2/pretrain_weights/tokenizer/wan2pt1/Wan2.1_VAE.pth"
    _vae(torch, database.CheckpointConfig.from_uri(uri).hf)
    _text_encoder(torch, some, database.CheckpointConfig.from_uri(some.model.config.text_encoder_config.ckpt_path).hf)
    _style(torch)
    if not REAL:
        make_others.write(torch, place)
    Path(HOME, "povwatch-complete").write_text(" ".join(ASKED))


def place(repository, revision, name, write):
    """A file as the hub's client keeps it: a link in a snapshot, to a blob that is named by its digest."""
    folder = HOME / "hub" / f"models--{repository.replace('/', '--')}"
    commit = revision if len(revision) == 40 else hashlib.sha1(repository.encode(), usedforsecurity=False).hexdigest()
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    (folder / "blobs").mkdir(exist_ok=True)
    part = folder / "blobs/part"
    write(part)
    with part.open("rb") as file:
        blob = part.rename(part.with_name(hashlib.file_digest(file, "sha256").hexdigest()))
    link = folder / "snapshots" / commit / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    _say(f"{repository}/{name}: {blob.stat().st_size / 1e6:,.1f} MB")


def _say(what):
    print(f"{time.monotonic() - BEGAN:7.1f} {what}", flush=True)  # noqa: T201 - a program


def _text(value):
    return lambda path: path.write_text(value if isinstance(value, str) else json.dumps(value))


def _config(config, control):
    """Upstream's configuration of a control's model, with the sizes' options, which without_cuda adds."""
    listed = importlib.import_module(
        "cosmos_transfer2._src.transfer2.configs.vid2vid_transfer.experiment.experiment_list"
    )
    experiment = listed.EXPERIMENTS[config.MODEL_CHECKPOINTS[config.ModelKey(variant=control)].experiment]
    options = [*experiment.command_args, "++model.config.base_load_from=null", "~data_train"]
    return _resolved("cosmos_transfer2/_src/transfer2/configs/vid2vid_transfer/config.py", experiment, options)


def _resolved(file, experiment, options):
    helper = importlib.import_module("cosmos_transfer2._src.imaginaire.utils.config_helper")
    made = importlib.import_module(helper.get_config_module(file)).make_config()
    name = getattr(experiment, "registered_exp_name", experiment)
    return helper.override(made, ["--", f"experiment={name}", *options])


def _distilled(torch, config):
    found = config.MODEL_CHECKPOINTS[config.ModelKey(variant="edge", distilled=True)]
    # Upstream fetches a teacher of another model as it imports its experiments, and loads nothing of it.
    teacher = "robot/action-cond/38c6c645-7d41-4560-8eeb-6f4ddc0e6574_ema_bf16.pt"
    place("nvidia/Cosmos-Predict2.5-2B", "main", teacher, lambda path: torch.save({}, path))
    database = importlib.import_module("cosmos_transfer2._src.imaginaire.utils.checkpoint_db")
    hub = importlib.import_module("huggingface_hub")

    def cached(operands):
        return hub.try_to_load_from_cache(
            operands[0], operands[-1], revision=operands[operands.index("--revision") + 1]
        )

    database._hf_download = cached
    sizes = overrides().get("distilled", [])
    options = ["model.config.load_teacher_weights=False", "++model.config.base_load_from=null", *sizes]
    made = _resolved("cosmos_transfer2/_src/interactive/configs/registry_transfer2p5.py", found.experiment, options)
    _place_net(torch, made, found.hf)


def _place_net(torch, config, hub):
    lazy = importlib.import_module("cosmos_transfer2._src.imaginaire.lazy_config")
    with torch.device("meta"):
        net = lazy.instantiate(config.model.config.net)
    _randomize(torch, net)
    weights = {f"net.{name}": one.cpu() for name, one in net.state_dict().items()}
    place(hub.repository, hub.revision, hub.filename, lambda path: torch.save(weights, path))


def _randomize(torch, module):
    """Norms at one, other vectors at one or zero, and all else at random; in bf16, as upstream has it."""
    module.to(torch.bfloat16)
    module.to_empty(device="cuda" if torch.cuda.is_available() else "cpu")
    module.init_weights()
    for name, one in module.named_parameters():
        if one.dim() == 1 or "norm" in name:
            one.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            one.normal_(0.0, min(0.02, one[0].numel() ** -0.5))


def _vae(torch, hub):
    kind = importlib.import_module("cosmos_transfer2._src.predict2.tokenizers.wan2pt1").WanVAE_
    model = kind(**VAE | ({} if REAL else {"dim": overrides()["vae"]}))  # with its own random weights
    weights = {name: one.float() for name, one in model.state_dict().items()}
    place(hub.repository, hub.revision, hub.filename, lambda path: torch.save(weights, path))


def _text_encoder(torch, config, hub):
    _tokenizer(hub)
    importlib.import_module("cosmos_transfer2._src.reason1.configs.default.model_config_qwen")
    lazy = importlib.import_module("cosmos_transfer2._src.imaginaire.lazy_config")
    save = importlib.import_module("safetensors.torch").save_file
    node = config.model.config.text_encoder_config.model_config
    with torch.device("meta"):
        model = node._target_(model_config=lazy.instantiate(node.model_config), tokenizer=None)
    _randomize(torch, model)
    shards, size = [{}], 0
    for name, one in model.state_dict().items():
        if size > SHARD:
            shards.append({})
            size = 0
        shards[-1][name] = one.cpu().contiguous()
        size += one.numel() * 2
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        place(
            hub.repository, hub.revision, name, lambda path, shard=shard: save(shard, path, metadata={"format": "pt"})
        )


def _tokenizer(hub):
    """One token a byte."""
    tokens = importlib.import_module("transformers.models.qwen2.tokenization_qwen2").bytes_to_unicode().values()
    special = [f"<|{name}|>" for name in SPECIAL]
    plain = {"special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "processor_class": "Qwen2_5_VLProcessor",
        "added_tokens_decoder": {str(len(tokens) + n): {"content": one, **plain} for n, one in enumerate(special)},
        "additional_special_tokens": special[1:],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "unk_token": None,
        "add_prefix_space": False,
        "model_max_length": 131072,
        "chat_template": TEMPLATE,
    }
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    for name, value in {
        "vocab.json": {token: n for n, token in enumerate(tokens)},
        "merges.txt": "#version: 0.2\n",
        "tokenizer_config.json": config,
        "chat_template.json": {"chat_template": TEMPLATE},
        "preprocessor_config.json": pictures,
        "config.json": {"model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"]},
    }.items():
        place(hub.repository, hub.revision, name, _text(value))


def _style(torch):
    """The encoder of image_context_path; its width is the real one, since the net's input has that."""
    transformers = importlib.import_module("transformers")
    save = importlib.import_module("safetensors.torch").save_file
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 16, "num_patches": 256}
    vision |= {"intermediate_size": 4304, "num_hidden_layers": 27} if REAL else {"intermediate_size": 64}
    vision = {"num_hidden_layers": 1} | vision
    config = transformers.Siglip2Config(text_config=small | {"vocab_size": 64}, vision_config=vision)
    config.vision_config.vision_use_head = False
    model = transformers.Siglip2VisionModel(config.vision_config).to(torch.bfloat16)
    about = json.loads(config.to_json_string(use_diff=False)) | {
        "architectures": ["Siglip2Model"],
        "model_type": "siglip2",
    }
    pictures = {
        "image_processor_type": "Siglip2ImageProcessorFast",
        "processor_class": "Siglip2Processor",
        "patch_size": 16,
        "max_num_patches": 256,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "rescale_factor": 1 / 255,
    }
    weights = {name: one.contiguous() for name, one in model.state_dict().items()}
    repository = "google/siglip2-so400m-patch16-naflex"
    place(repository, "main", "config.json", _text(about))
    place(repository, "main", "preprocessor_config.json", _text(pictures))
    place(repository, "main", "model.safetensors", lambda path: save(weights, path, metadata={"format": "pt"}))


if __name__ == "__main__":
    if REAL:
        shutil.rmtree(HOME, ignore_errors=True)
    main()
