"""Tiny random models of those that upstream computes segments, masks and guardrails with; for make_checkpoints.py.

What decides is not random: the blocklist has two entries, and the video's guardrail finds each picture safe.
"""

from __future__ import annotations

import importlib
import io
import json

SAM2 = {
    "image_size": 128,
    "image_encoder.trunk.embed_dim": 16,
    "image_encoder.trunk.num_heads": 1,
    "image_encoder.trunk.stages": [1, 1, 2, 1],
    "image_encoder.trunk.global_att_blocks": [3],
    "image_encoder.neck.backbone_channel_list": [128, 64, 32, 16],
    "memory_attention.num_layers": 1,
}
"""What makes SAM2 small: its own configuration has no smaller pictures than 1024."""

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "kitchen", "table"]

BLOCKED = "blocked prompt"
"""The words on the blocklist, as the double has them."""

FEATURES = 1152
"""Values that the video's guardrail reads of each picture."""

SAFE = 0
"""Its class of a picture that is safe."""


def overrides():
    """SAM2's Hydra options."""
    return [f"++model.{key}={json.dumps(value).replace(' ', '')}" for key, value in SAM2.items()]


def write(torch, place):
    """Write all of them."""
    sam = importlib.import_module("sam2.build_sam")
    name, file = sam.HF_MODEL_ID_TO_FILENAMES["facebook/sam2-hiera-large"]
    model = sam.build_sam2_video_predictor(name, device="cpu", hydra_overrides_extra=overrides())
    place("facebook/sam2-hiera-large", "main", file, lambda path: torch.save({"model": model.state_dict()}, path))
    transformers = importlib.import_module("transformers")
    _save(place, "IDEA-Research/grounding-dino-base", *_detector(transformers))
    _save(place, "Qwen/Qwen3Guard-Gen-0.6B", *_prompt_guard(transformers))
    _save(place, "google/siglip-so400m-patch14-384", *_picture_encoder(transformers))
    _guardrails(torch, place)


def _save(place, repository, model, texts):
    tensors = importlib.import_module("safetensors.torch")
    weights = {name: one.contiguous().clone() for name, one in model.state_dict().items()}
    place(repository, "main", "model.safetensors", lambda path: tensors.save_file(weights, path, {"format": "pt"}))
    for name, value in {"config.json": model.config.to_json_string(use_diff=False), **texts}.items():
        text = value if isinstance(value, str) else json.dumps(value)
        place(repository, "main", name, lambda path, text=text: path.write_text(text))


def _detector(transformers):
    """It finds whatever it is asked for in two boxes."""
    backbone = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, out_indices=[2, 3, 4]
    )
    text = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    part = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}
    sizes = {f"{name}_{what}": size for name in ("encoder", "decoder") for what, size in part.items()}
    sizes |= {"d_model": 32, "num_queries": 2}
    config = transformers.GroundingDinoConfig(backbone_config=backbone, text_config=text, **sizes)
    config.architectures = ["GroundingDinoForObjectDetection"]
    pictures = {
        "image_processor_type": "GroundingDinoImageProcessor",
        "processor_class": "GroundingDinoProcessor",
        "size": {"shortest_edge": 64, "longest_edge": 128},
    }
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    texts = {"preprocessor_config.json": pictures, "tokenizer_config.json": tokenizer, "vocab.txt": "\n".join(WORDS)}
    return transformers.GroundingDinoForObjectDetection(config), texts


def _prompt_guard(transformers):
    """It answers at random, which upstream takes for safe (qwen3guard.py, 78-80)."""
    bytes_ = importlib.import_module("transformers.models.qwen2.tokenization_qwen2").bytes_to_unicode().values()
    words = [*bytes_, "<|endoftext|>"]
    config = transformers.Qwen3Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=len(words) - 1,
    )
    config.architectures = ["Qwen3ForCausalLM"]
    tokenizer = {
        "tokenizer_class": "Qwen2Tokenizer",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": None,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    texts = {"vocab.json": {word: n for n, word in enumerate(words)}, "merges.txt": "#version: 0.2\n"}
    return transformers.Qwen3ForCausalLM(config), texts | {"tokenizer_config.json": tokenizer}


def _picture_encoder(transformers):
    """Its width is the real one, since the classifier's class has that."""
    shared = {"num_hidden_layers": 1, "intermediate_size": 16}
    text = shared | {"vocab_size": len(WORDS), "hidden_size": 16, "num_attention_heads": 1}
    vision = shared | {"hidden_size": FEATURES, "num_attention_heads": 16, "patch_size": 14, "image_size": 28}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    config.architectures = ["SiglipModel"]
    pictures = {"image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor"}
    pictures |= {"size": {"height": 28, "width": 28}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    # Its own tokenizer needs another library, and no text is read.
    tokenizer = {"tokenizer_class": "BertTokenizer", "processor_class": "SiglipProcessor", "model_max_length": 64}
    texts = {"preprocessor_config.json": pictures, "tokenizer_config.json": tokenizer, "vocab.txt": "\n".join(WORDS)}
    return transformers.SiglipModel(config), texts


def _guardrails(torch, place):
    """nvidia/Cosmos-Guardrail1: the blocklist, the video's classifier, and the faces' detector, which finds none."""
    core = importlib.import_module("cosmos_transfer2._src.imaginaire.auxiliary.guardrail.common.core")
    hub = core.GUARDRAIL1_CHECKPOINT

    def put(name, content):
        data = content if isinstance(content, bytes) else content.encode()
        place(hub.repository, hub.revision, name, lambda path: path.write_bytes(data))

    for folder, words in {"custom": "crowbar", "whitelist": "kitchen", "exact_match": BLOCKED}.items():
        put(f"blocklist/{folder}/words", words + "\n")
    data = "blocklist/nltk_data"
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        put(f"{data}/tokenizers/punkt_tab/english/{name}", "")
    for part in ("noun", "verb", "adj", "adv"):
        for name in (f"index.{part}", f"data.{part}", f"{part}.exc"):
            put(f"{data}/corpora/wordnet/{name}", "")
    put(f"{data}/corpora/wordnet/index.sense", "")
    put(f"{data}/corpora/wordnet/lexnames", "00\tadj.all\t3\n")
    put(f"{data}/corpora/omw-1.4/eng/wn-data-eng.tab", "")

    filters = "cosmos_transfer2._src.imaginaire.auxiliary.guardrail.video_content_safety_filter.model"
    module = importlib.import_module(filters)
    classifier = module.VideoSafetyModel(module.ModelConfig(input_size=FEATURES, num_classes=7)).eval()
    classifier.network.layers[-1].bias[SAFE] = 100.0
    put("video_content_safety_filter/safety_filter.pt", _pickled(torch, {"model": classifier.state_dict()}))

    faces = importlib.import_module("retinaface.models.retinaface")
    config = {**importlib.import_module("retinaface.data").cfg_re50, "pretrain": False}
    net = faces.RetinaFace(cfg=config, phase="test")
    for head in net.ClassHead:
        head.conv1x1.weight.zero_()
        head.conv1x1.bias.zero_()
    put("face_blur_filter/Resnet50_Final.pth", _pickled(torch, net.state_dict()))


def _pickled(torch, value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()
