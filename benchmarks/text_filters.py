"""What the guardrail's text filters cost a prompt: processor seconds, seconds and memory.

    python benchmarks/text_filters.py [--device cpu] [--threads 2] [--tokens 600] [--answer 20] [--entries 1000] [--dry]

The language model is Qwen3Guard's class in its real size (0.6 B parameters, bfloat16) with random weights, which answer
with as many tokens as they are told to; a real answer has some 10 to 20. The word lists are random words, as the real
ones are gated; cosmos_guardrail compares each word of the prompt with each entry. `--dry` is tiny.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import string
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import torch
from support import tiny_model  # noqa: F401 - first: it makes torchvision importable beside another torch

from povwatch.spec.model import DEFAULT_NEGATIVE_PROMPT  # isort: skip
from cosmos_guardrail.cosmos_guardrail import Blocklist  # isort: skip
from transformers import Qwen3Config, Qwen3ForCausalLM  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable

REAL = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
"""config.json of Qwen/Qwen3Guard-Gen-0.6B, as of Qwen3-0.6B."""

TINY = {**REAL, "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}


def main() -> None:
    """Measure both, and print them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=600, help="tokens of the prompt, with the model's own around it")
    parser.add_argument("--answer", type=int, default=20, help="tokens of the answer")
    parser.add_argument("--entries", type=int, default=1000, help="entries of the list of exact matches")
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found = {
        "threads": asked.threads,
        "device": asked.device,
        "imports": {"processor_seconds": round(time.process_time(), 1), "memory": _memory()},
        "word_lists": {
            "words": len(DEFAULT_NEGATIVE_PROMPT.split()),
            "entries": asked.entries,
            **_lists(asked.entries),
        },
        "language_model": {"tokens": asked.tokens, "answer": asked.answer, **_model(asked)},
    }
    print(json.dumps(found, indent=1))


def _lists(entries: int) -> dict[str, Any]:
    letters = random.Random(0)  # noqa: S311 - no secret
    words = ["".join(letters.choices(string.ascii_lowercase, k=letters.randint(4, 12))) for _ in range(entries)]
    return _timed(lambda: Blocklist.check_against_whole_word_blocklist(DEFAULT_NEGATIVE_PROMPT, words, 4, 0.5), "cpu")


def _model(asked: argparse.Namespace) -> dict[str, Any]:
    torch.set_default_dtype(torch.bfloat16)
    shape = TINY if asked.dry else REAL
    model = Qwen3ForCausalLM(Qwen3Config(**shape, tie_word_embeddings=True)).eval().to(asked.device)
    prompt = torch.randint(shape["vocab_size"], (1, asked.tokens), device=asked.device)
    many = {"max_new_tokens": asked.answer, "min_new_tokens": asked.answer, "do_sample": False}

    def answer() -> None:
        model.generate(prompt, attention_mask=torch.ones_like(prompt), pad_token_id=0, eos_token_id=None, **many)

    return _timed(answer, asked.device) | {"memory": _memory(), "parameters": model.num_parameters()}


def _timed(work: Callable[[], object], device: str) -> dict[str, float]:
    if device != "cpu":
        work()  # the first time compiles kernels
        torch.cuda.synchronize()
    processor, clock = time.process_time(), time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return {
        "processor_seconds": round(time.process_time() - processor, 2),
        "seconds": round(time.perf_counter() - clock, 2),
    }


def _memory() -> int:
    """The most bytes of main memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
