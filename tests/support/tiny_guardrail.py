"""The guardrail's files, made tiny: in the layout of the hub's cache, read by cosmos_guardrail's own classes.

The real ones are gated (nvidia/Cosmos-1.0-Guardrail). The word lists here have a word or two, the parts of nltk's data
that the blocklist reads have a noun, and the language model refuses every text that ends in an exclamation mark.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

COMMIT, WORDS_COMMIT = "1" * 40, "2" * 40

LISTS = {"custom": ["gore"], "whitelist": ["scunthorpe"], "exact_match": ["weapon", "forbidden brand"]}

UNSAFE = "Safety: Unsafe\nCategories: Violent Crimes."
SAFE = "Safety: Safe\nCategories: None"

NLTK = {
    "corpora/wordnet/lexnames": "00 noun.Tops 1\n",
    "corpora/wordnet/index.noun": "weapon n 1 0 1 0 00000001\n",
    **{f"corpora/wordnet/index.{part}": "" for part in ("verb", "adj", "adv", "sense")},
    **{f"corpora/wordnet/data.{part}": "  1 a line that is no synset\n" for part in ("noun", "verb", "adj", "adv")},
    **{f"corpora/wordnet/{part}.exc": "" for part in ("noun", "verb", "adj", "adv")},
    "corpora/wordnet/cntlist.rev": "",
    **{f"tokenizers/punkt_tab/english/{name}": "" for name in ("collocations.tab", "ortho_context.tab")},
    **{f"tokenizers/punkt_tab/english/{name}": "" for name in ("sent_starters.txt", "abbrev_types.txt")},
}


def add(hub: Path, repository: str, commit: str, files: dict[str, bytes]) -> Path:
    """Put files into a cache as the hub's client does: links to blobs, named by their digests. Returns their folder."""
    place = hub / f"models--{repository.replace('/', '--')}"
    folder = place / "snapshots" / commit
    for name, data in files.items():
        blob = place / "blobs" / hashlib.sha256(data).hexdigest()
        for path in (blob, folder / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(os.path.relpath(blob, (folder / name).parent))
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs/main").write_text(commit)
    return folder


def add_words(hub: Path, repository: str = "nvidia/Cosmos-1.0-Guardrail", commit: str = COMMIT) -> Path:
    """The blocklist's files."""
    lists = {f"blocklist/{kind}/words.txt": "\n".join(words) for kind, words in LISTS.items()}
    files = lists | {f"blocklist/nltk_data/{name}": text for name, text in NLTK.items()}
    return add(hub, repository, commit, {name: text.encode() for name, text in files.items()})


def add_language_model(hub: Path, scratch: Path) -> Path:
    """A tiny model of the language model's class. Its weights are set so that it says SAFE, or UNSAFE after a '!'."""
    import torch  # noqa: PLC0415 - not everybody who uses this file has it
    from support import tiny_model  # noqa: PLC0415
    from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    words = tiny_model.tokenizer()
    words.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    words.add_tokens([SAFE, UNSAFE, "<end>"])
    safe, unsafe, end = (words.convert_tokens_to_ids(token) for token in (SAFE, UNSAFE, "<end>"))
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "head_dim": 8,
        "max_position_embeddings": 4096,
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(words) + 1}
    ends = {"eos_token_id": end, "pad_token_id": end, "bos_token_id": end}
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, **heads, **ends, tie_word_embeddings=False))
    with torch.no_grad():
        layer = model.model.layers[0]
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj, model.lm_head, model.model.embed_tokens):
            part.weight.zero_()
        model.model.embed_tokens.weight[:, 0] = 1
        for token, axis in ((words.convert_tokens_to_ids("!"), 1), (safe, 2), (unsafe, 2)):
            model.model.embed_tokens.weight[token] = torch.eye(16)[axis]
        for axis, token in enumerate((safe, unsafe, end)):
            model.lm_head.weight[token, axis] = 1
    model.save_pretrained(scratch)
    words.save_pretrained(scratch)
    config = scratch / "tokenizer_config.json"  # so that upstream's transformers reads it too, which is older
    older = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    config.write_text(json.dumps(json.loads(config.read_text()) | older))
    files = {path.name: path.read_bytes() for path in scratch.iterdir()}
    return add(hub, "Qwen/Qwen3Guard-Gen-0.6B", WORDS_COMMIT, files)


def add_faces(hub: Path) -> None:
    """A RetinaFace with the smaller of its own two backbones: use it with `retinaface.data.cfg_mnet`."""
    import io  # noqa: PLC0415

    import torch  # noqa: PLC0415
    from retinaface.data import cfg_mnet  # noqa: PLC0415
    from retinaface.models.retinaface import RetinaFace  # noqa: PLC0415

    data = io.BytesIO()
    torch.save(RetinaFace(cfg=cfg_mnet, phase="test").state_dict(), data)
    add(hub, "nvidia/Cosmos-1.0-Guardrail", COMMIT, {"face_blur_filter/Resnet50_Final.pth": data.getvalue()})


def read_environment() -> None:
    """Have the hub's client read where its cache is, as it does when it is imported."""
    from huggingface_hub import constants  # noqa: PLC0415

    if cache := os.environ.get("HF_HUB_CACHE"):
        constants.HF_HUB_CACHE, constants.HF_HOME = cache, os.environ["HF_HOME"]


def use(monkeypatch, hub: Path, *, home: Path) -> None:
    """Have this process's libraries read that cache, and no network; `home` is where they may write."""
    from huggingface_hub import constants  # noqa: PLC0415
    from support import tiny_model  # noqa: F401, PLC0415 - lets a torchvision of another build be imported

    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_HOME", str(home))
    for name, value in (("HF_HUB_CACHE", str(hub)), ("HF_HOME", str(home)), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(constants, name, value)


if __name__ == "__main__":
    cache = Path(sys.argv[1], "hub")
    add_words(cache)
    with tempfile.TemporaryDirectory() as place:
        add_language_model(cache, Path(place))
    add_faces(cache)
