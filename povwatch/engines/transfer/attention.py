"""Chooses the kernel for self-attention once, when the model is loaded: the fastest that computes correctly here.

The order was measured on an H200, 16 heads x 128, 84,480 tokens, bfloat16: FlashAttention-3 83 ms, cuDNN 94 ms, the
others of torch 164 ms and more.

q, k and v have shape (batch, tokens, heads, width of a head) here, and so has the result.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from povwatch.engines.libraries import FLASH3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOLERANCE = 1e-2
"""Largest relative error of a kernel against float32. bfloat16 rounds to 4e-3; a wrong mask or scale is far above."""

TOKENS = 515
"""Tokens of the self-test: four of a kernel's tiles and a part of one."""

CHECKED = 67
"""The last tokens, whose result is compared: they end in the tile that is not full."""

HOPPER = 9
"""First number of the compute capability that FlashAttention-3 is written for."""

FASTEST_FIRST = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
"""torch uses the first backend that supports the shape."""

NAMES = {
    SDPBackend.CUDNN_ATTENTION: "cuDNN",
    SDPBackend.FLASH_ATTENTION: "torch's FlashAttention-2",
    SDPBackend.EFFICIENT_ATTENTION: "torch's memory-efficient attention",
    SDPBackend.MATH: "torch's plain attention",
}


@dataclass(frozen=True, slots=True)
class Attention:
    """The chosen kernel."""

    name: str
    """For people and the manifest."""
    attend: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Computes attention."""
    backends: tuple[SDPBackend, ...] = ()
    """What torch may use, in this order; empty for torch's own choice."""
    notes: tuple[str, ...] = ()
    """Sentences about kernels that were expected and are not used."""

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which a step has to run."""
        if not self.backends:
            return nullcontext()
        return sdpa_kernel(list(self.backends), set_priority=True)  # type: ignore[no-any-return, unused-ignore]


def by_torch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by torch, with the backends of the scope."""
    return scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def choose(asked: str, device: torch.device, dtype: torch.dtype, *, heads: int, width: int) -> Attention:
    """Choose by trial.

    Args:
        asked: a value of engine.attention.
        device: where it computes.
        dtype: of q, k and v.
        heads: number of heads.
        width: of a head.
    """
    if device.type != "cuda" or asked == "native":
        return Attention("torch's choice", by_torch)
    notes: list[str] = []
    q, k, v = (torch.randn(1, TOKENS, heads, width, device=device).to(dtype) for _ in range(3))

    def wrong(name: str, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
        problem = self_test(attend, q, k, v)
        if problem:
            notes.append(f"{name} is not used: {problem}.")
        return bool(problem)

    backends = tuple(
        backend
        for backend in FASTEST_FIRST
        if backend is SDPBackend.MATH or not (_refuses(backend, q, k, v) or wrong(NAMES[backend], _only(backend)))
    )
    if asked != "cudnn":
        for name, kernel in flash3_packages(device, dtype, notes):
            if not wrong(name, kernel):
                flash3.kernel = kernel
                return Attention(name, flash3, backends, tuple(notes))
    return Attention(NAMES[backends[0]], by_torch, backends, tuple(notes))


def self_test(
    attend: Callable[[Tensor, Tensor, Tensor], Tensor], q: Tensor, k: Tensor, v: Tensor, tolerance: float = TOLERANCE
) -> str:
    """Why a kernel's result is not to be trusted, as a part of a sentence; empty if it is."""
    with torch.no_grad():
        try:
            found = attend(q, k, v)
            if found.shape != q.shape:
                return f"its result has shape {tuple(found.shape)} instead of {tuple(q.shape)}"
            scores = torch.einsum("bqhd,bkhd->bhqk", q[:, -CHECKED:].float(), k.float()) * q.size(-1) ** -0.5
            expected = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v.float())
            error = ((found[:, -CHECKED:].float() - expected).norm() / expected.norm()).item()
        except Exception as problem:  # noqa: BLE001 - whatever a foreign kernel raises
            return first_line(problem)
    return too_far_off(error, tolerance)


def too_far_off(error: float, tolerance: float) -> str:
    """What is wrong with a self-test's relative error, as a part of a sentence; empty if it is small enough."""
    # Written so that a NaN, which compares as false, is an error.
    return "" if error < tolerance else f"its self-test is off by {error:.0e}, and {tolerance:.0e} is allowed"


def first_line(problem: Exception) -> str:
    """The first line of an error of another library, without a full stop."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(".")


class _Flash3:
    """FlashAttention-3 as an operator that torch.compile takes as it is, whichever package it comes from."""

    def __init__(self) -> None:
        self.kernel: Callable[[Tensor, Tensor, Tensor], Tensor] = by_torch
        self._operator = torch.library.custom_op(
            "povwatch::flash_attention_3",
            self._call,
            mutates_args=(),
            schema="(Tensor q, Tensor k, Tensor v) -> Tensor",
        )
        self._operator.register_fake(lambda q, _k, _v: q.new_empty(q.shape))

    def _call(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.kernel(q, k, v)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found: Tensor = torch.ops.povwatch.flash_attention_3(q, k, v)
        return found


flash3 = _Flash3()


def flash3_packages(
    device: torch.device, dtype: torch.dtype, notes: list[str]
) -> Iterator[tuple[str, Callable[..., Tensor]]]:
    """The name and the function of each FlashAttention-3 that can be imported; `notes` gets those that cannot."""
    if torch.cuda.get_device_capability(device)[0] != HOPPER or dtype not in (torch.bfloat16, torch.float16):
        return
    for package, module in FLASH3.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        name = f"FlashAttention-3 ({package} {found})"
        try:
            function = importlib.import_module(module).flash_attn_func
        except Exception as problem:  # noqa: BLE001 - of another CUDA or torch: ImportError, OSError, RuntimeError ...
            notes.append(f"{name} is not used: {first_line(problem)}.")
            continue
        yield name, _first(function)


def _first(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """The function's result without the logarithms of sums, which some versions return beside it."""

    def attend(q: Tensor, k: Tensor, v: Tensor, **scales: Tensor) -> Tensor:
        found = function(q, k, v, **scales)
        result: Tensor = found[0] if isinstance(found, tuple) else found
        return result

    return attend


def _only(backend: SDPBackend) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel([backend]):
            return by_torch(q, k, v)

    return attend


def _refuses(backend: SDPBackend, q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether torch has no such kernel for this GPU and this shape."""
    try:
        _only(backend)(q, k, v)
    except RuntimeError as problem:
        return "No available kernel" in str(problem)
    return False
