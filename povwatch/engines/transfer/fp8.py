"""Computes attention and feed-forward in FP8: e4m3, three bits of mantissa, a relative rounding of 3 %. Inexact.

q, k and v of attention get a scale a head, as FlashAttention-3 takes them. Two means are taken off first, which is
exact in real arithmetic, and leaves FP8 smaller numbers: that of all keys, as softmax does not see what all scores of a
row share, and that of all values, which is added to the result, as a row's weights add up to 1.

In the feed-forward, each output of a weight and each token has a scale (torchao's `PerRow` with dynamic activations, in
torch's own `scaled_mm`, which runs on a CPU, too). Others' experience with attention's own products in FP8 was bad
(Wan 2.2: noise), so they stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import ScalingType, gelu, linear, scaled_mm

from povwatch.engines.devices import FP8_CAPABILITY
from povwatch.engines.libraries import FLASH3_INSTALL
from povwatch.engines.transfer import attention

if TYPE_CHECKING:
    from collections.abc import Callable

FP8 = torch.float8_e4m3fn

LARGEST = torch.finfo(FP8).max

SMALLEST_SCALE = 1e-12
"""Keeps rows of zeros from dividing by zero."""

ATTENTION_TOLERANCE = 7e-2
"""Largest relative error of the self-test. Rounding comes to 5.2e-2 on its data, a tail that is left out to 9.3e-2."""

PRODUCT_TOLERANCE = 6e-2
"""As above for a product, whose rounding comes to 3.5e-2."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What computes in FP8 here."""

    attention: str = ""
    """The name of attention's kernel; empty if there is none."""
    attend: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    feed_forward: Callable[[Any], nn.Module] | None = None
    """Makes a feed-forward in FP8 of diffusers' `FeedForward`, which is left as it is."""
    notes: tuple[str, ...] = ()
    """Sentences about what cannot be computed in FP8."""


def choose(device: torch.device, dtype: torch.dtype, *, heads: int, width: int) -> Kernels:
    """Choose by trial; see `attention.choose`."""
    if device.type != "cuda":
        return Kernels(notes=("FP8 is not used: the engine computes on a CPU.",))
    if dtype is not torch.bfloat16:
        return Kernels(notes=(f"FP8 is not used: the engine computes in {str(dtype).removeprefix('torch.')}.",))
    capability = torch.cuda.get_device_capability(device)
    if capability < FP8_CAPABILITY:
        found, least = (".".join(map(str, one)) for one in (capability, FP8_CAPABILITY))
        return Kernels(notes=(f"FP8 is not used: the GPU's compute capability is {found}, and FP8 needs {least}.",))
    notes: list[str] = []
    if problem := product_problem(device):
        notes.append(f"The feed-forward is not computed in FP8: {problem}.")
    make = None if problem else FeedForward
    name = _choose_attention(device, notes, heads=heads, width=width)
    return Kernels(name, flash3 if name else None, make, tuple(notes))


def product_problem(device: torch.device) -> str:
    """Why products in FP8 cannot be trusted here, as a part of a sentence; empty if they can."""
    x, weight = (torch.randn(rows, 128, device=device).to(torch.bfloat16) for rows in (131, 96))
    with torch.no_grad():
        try:
            found = Linear(weight)(x).float()
            expected = linear(x.float(), weight.float())
            error = ((found - expected).norm() / expected.norm()).item()
        except Exception as problem:  # noqa: BLE001 - whatever the kernel raises
            return attention.first_line(problem)
    return attention.too_far_off(error, PRODUCT_TOLERANCE)


def scaled(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Round to FP8.

    Args:
        x: any shape.
        dims: the dimensions along which numbers share a scale.

    Returns:
        The numbers divided by their scale, and the scale, float32, with size 1 in `dims`.
    """
    scale = (x.abs().amax(dims, keepdim=True).float() / LARGEST).clamp_min(SMALLEST_SCALE)
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


class Linear(nn.Module):  # type: ignore[misc, unused-ignore]
    """A linear without bias whose weight, of shape (outputs, inputs), is in FP8."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rounded, scale = scaled(weight.detach(), (1,))
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.scale = nn.Parameter(scale.t().contiguous(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The product, in bfloat16; x has shape (..., inputs)."""
        rounded, scale = scaled(x.flatten(0, -2), (1,))
        found: Tensor = torch.ops.povwatch.product_fp8(rounded, scale, self.weight, self.scale)
        return found.view(*x.shape[:-1], -1)


class FeedForward(nn.Module):  # type: ignore[misc, unused-ignore]
    """diffusers' `FeedForward` with a GELU and without bias, in FP8."""

    def __init__(self, exact: Any) -> None:  # noqa: ANN401 - diffusers has no types
        super().__init__()
        self._approximate = str(exact.net[0].approximate)
        self.up = Linear(exact.net[0].proj.weight)
        self.down = Linear(exact.net[2].weight)

    def forward(self, x: Tensor) -> Tensor:
        """The result, in bfloat16; x has shape (..., width)."""
        found: Tensor = self.down(gelu(self.up(x), approximate=self._approximate))
        return found


def _multiply(x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor) -> Tensor:
    row = ScalingType.RowWise
    found: Tensor = scaled_mm(x, weight.t(), x_scale, row, weight_scale, row, use_fast_accum=True)
    return found


def _multiply_shapes(x: Tensor, _x_scale: Tensor, weight: Tensor, _weight_scale: Tensor) -> Tensor:
    return x.new_empty(x.size(0), weight.size(0), dtype=torch.bfloat16)


_product = torch.library.custom_op("povwatch::product_fp8", _multiply, mutates_args=())
"""An operator, so that torch.compile gives it the layouts that the kernel needs."""
_product.register_fake(_multiply_shapes)


class _Attention:
    """FlashAttention-3 in FP8 as an operator that torch.compile takes as it is."""

    def __init__(self) -> None:
        self.kernel: Callable[..., Tensor] = _not_chosen
        operator = torch.library.custom_op(
            "povwatch::flash_attention_3_fp8",
            self._call,
            mutates_args=(),
            schema="(Tensor q, Tensor k, Tensor v, Tensor q_scale, Tensor k_scale, Tensor v_scale) -> Tensor",
        )
        operator.register_fake(lambda q, *_: q.new_empty(q.shape, dtype=torch.bfloat16))
        self._operator = operator

    def _call(self, *args: Tensor) -> Tensor:
        q, k, v, q_scale, k_scale, v_scale = args
        return self.kernel(q, k, v, q_descale=q_scale, k_descale=k_scale, v_descale=v_scale)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention in FP8; the arguments and the result are as in attention.py."""
        k = (k.float() - k.float().mean(1, keepdim=True)).to(k.dtype)
        mean = v.float().mean(1, keepdim=True)
        rounded = [scaled(x, (1, 3)) for x in (q, k, (v.float() - mean).to(v.dtype))]
        numbers, scales = zip(*rounded, strict=True)
        found: Tensor = torch.ops.povwatch.flash_attention_3_fp8(*numbers, *(scale[:, 0, :, 0] for scale in scales))
        return found + mean.to(found.dtype)


def _not_chosen(*_: Tensor, **_scales: Tensor) -> Tensor:
    raise RuntimeError("No kernel was chosen yet.")


flash3 = _Attention()


def _choose_attention(device: torch.device, notes: list[str], *, heads: int, width: int) -> str:
    """Have `flash3` take the first FlashAttention-3 that computes correctly in FP8; its name, empty if there is none.

    `notes` gets a sentence about each that cannot be used.
    """
    q, k, v = (torch.randn(1, attention.TOKENS, heads, width, device=device).to(torch.bfloat16) for _ in range(3))
    hopper = torch.cuda.get_device_capability(device)[0] == attention.HOPPER
    missing = f"is not installed: {FLASH3_INSTALL}" if hopper else "is for Hopper (H100, H200) alone"
    for name, kernel in attention.flash3_packages(device, torch.bfloat16, notes):
        missing = ""
        flash3.kernel = kernel
        problem = attention.self_test(flash3, q, k, v, tolerance=ATTENTION_TOLERANCE)
        if not problem:
            return f"{name} in FP8"
        notes.append(f"{name} is not used in FP8: {problem}.")
    if missing:
        notes.append(f"Attention is not computed in FP8: FlashAttention-3 {missing}.")
    return ""
