"""Says what a job approximates, for the manifest and the log. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.engines.transfer.skipping import Compute, describe

if TYPE_CHECKING:
    from povwatch.core.speed import Speed

MEASURED: dict[Speed, str] = {
    "fast": "latents 3.1 % off, frames PSNR 42 dB, SSIM 0.997",
    "fastest": "latents 4.6 % off, frames PSNR 39 dB, SSIM 0.994",
}
"""The difference from exact at the same seed: random weights, 17 frames, 35 steps, H200
(benchmarks/results/speeds-short-h200.json)."""

UNSEEN = "What it does to the pictures of the real weights was not seen yet"


def approximated(speed: Speed, plan: list[Compute], *, attention: str, feed_forward: bool) -> dict[str, Any]:
    """What a job approximates, as JSON values.

    Args:
        speed: not exact.
        plan: what is computed of each step.
        attention: the name of attention's kernel in FP8; empty if it is not computed so.
        feed_forward: whether that is computed in FP8.
    """
    parts = [name for name, there in (("attention", bool(attention)), ("feed-forward", feed_forward)) if there]
    sentences = [describe(speed, plan)]
    if parts:
        verb = "are" if len(parts) > 1 else "is"
        sentences.append(f"{' and '.join(parts)} {verb} in FP8")
    if speed in MEASURED:
        sentences.append(f"with random weights that differed from exact: {MEASURED[speed]}")
    return {
        "steps": len(plan),
        "steps_computed": len(plan) - plan.count(Compute.NOTHING),
        "steps_with_prompt_alone": plan.count(Compute.PROMPT),
        "attention": attention or None,
        "feed_forward": "FP8" if feed_forward else None,
        "what": f"{'; '.join(sentences)}. {UNSEEN}.",
    }
