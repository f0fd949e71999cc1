"""What is computed in FP8, on the CPU, and where it is not used."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

torch = Deferred("torch")
attention = Deferred("povwatch.engines.transfer.attention")
fp8 = Deferred("povwatch.engines.transfer.fp8")

CPU = SimpleNamespace(type="cuda")
"""A card on which torch computes on the CPU."""


def error(found, expected):
    return ((found.float() - expected.float()).norm() / expected.float().norm()).item()


def emulated(q, k, v, *, q_descale, k_descale, v_descale):
    """Attention of numbers in FP8 with a scale a head, as FlashAttention-3 computes it, but for softmax's rounding."""
    scaled = (x.float() * s[:, None, :, None] for x, s in ((q, q_descale), (k, k_descale), (v, v_descale)))
    return attention.by_torch(*scaled).to(torch.bfloat16)


@pytest.fixture
def card(monkeypatch):
    """Sets a card's compute capability, and FlashAttention-3's function if it is installed."""

    def make(capability, function=None):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
        draw = torch.randn
        monkeypatch.setattr("torch.randn", lambda *shape, **_: draw(*shape))

        def version(package):
            if function is None or package != "fa3-fwd":
                raise attention.PackageNotFoundError(package)
            return "0.0.3"

        monkeypatch.setattr("povwatch.engines.transfer.attention.version", version)
        module = ModuleType("fa3_fwd_interface")
        module.flash_attn_func = function
        monkeypatch.setitem(sys.modules, "fa3_fwd_interface", module)
        return fp8.choose(CPU, torch.bfloat16, heads=2, width=16)

    return make


def test_product_rounds_to_three_bits() -> None:
    """A product keeps its shape, and is off by FP8's rounding, rows of other sizes or of zeros notwithstanding."""
    torch.manual_seed(0)
    sizes = torch.logspace(-3, 3, 48)
    weight = torch.randn(48, 64) * sizes[:, None]
    x = torch.randn(2, 5, 64) * torch.logspace(-3, 3, 5)[:, None]
    x[0, 0] = 0
    found = fp8.Linear(weight.to(torch.bfloat16))(x.to(torch.bfloat16))
    expected = x @ weight.t()
    assert found.shape == (2, 5, 48)
    assert found.dtype is torch.bfloat16
    assert not found[0, 0].any()
    for row in range(5):
        assert 1e-3 < error(found[1, row] / sizes, expected[1, row] / sizes) < 6e-2


def test_feed_forward_is_diffusers() -> None:
    """It is diffusers' own but for rounding, whose weights stay as they are."""
    from diffusers.models.attention import FeedForward  # noqa: PLC0415 - slow

    torch.manual_seed(0)
    exact = FeedForward(32, mult=4, activation_fn="gelu", bias=False).to(torch.bfloat16)
    exact.requires_grad_(requires_grad=False)
    before = exact.net[2].weight.clone()
    x = torch.randn(1, 3, 7, 32).to(torch.bfloat16)
    found = fp8.FeedForward(exact)(x)
    assert found.shape == x.shape
    assert 1e-3 < error(found, exact(x)) < 8e-2
    assert exact.net[2].weight.equal(before)


def test_compiled_is_the_same() -> None:
    """torch.compile takes the operator of a product as it is."""
    torch.manual_seed(0)
    layer = fp8.Linear(torch.randn(32, 16).to(torch.bfloat16))
    x = torch.randn(4, 16).to(torch.bfloat16)
    assert torch.compile(layer, backend="aot_eager", fullgraph=True)(x).equal(layer(x))


def test_means_do_not_count(card) -> None:
    """An offset of all keys or values, which would take FP8's few bits, is taken off before and added after."""
    kernels = card((9, 0), emulated)
    assert (kernels.attention, kernels.notes) == ("FlashAttention-3 (fa3-fwd 0.0.3) in FP8", ())
    torch.manual_seed(0)
    q, k, v = torch.empty(3, 1, 40, 2, 16).normal_().to(torch.bfloat16)
    near = error(kernels.attend(q, k, v), attention.by_torch(q.float(), k.float(), v.float()))
    k, v = k + 16, v + 16
    exact = attention.by_torch(q.float(), k.float(), v.float())
    assert near < 6e-2
    assert error(kernels.attend(q, k, v), exact) < near


@pytest.mark.parametrize(
    ("capability", "function", "in_feed_forward", "says"),
    [
        ((8, 6), None, False, "FP8 is not used: the GPU's compute capability is 8.6, and FP8 needs 8.9."),
        ((8, 9), None, True, "Attention is not computed in FP8: FlashAttention-3 is for Hopper (H100, H200) alone."),
        ((12, 0), None, True, "Attention is not computed in FP8: FlashAttention-3 is for Hopper (H100, H200) alone."),
        ((9, 0), None, True, "Attention is not computed in FP8: FlashAttention-3 is not installed: "),
        ((9, 0), lambda *_, **__: 1 / 0, True, "FlashAttention-3 (fa3-fwd 0.0.3) is not used in FP8: division by zero"),
        (
            (9, 0),
            lambda q, k, v, **scales: emulated(q, k[:, :512], v[:, :512], **scales),
            True,
            "FlashAttention-3 (fa3-fwd 0.0.3) is not used in FP8: its self-test is off by ",
        ),
    ],
)
def test_what_a_card_lacks_is_said(card, capability, function, in_feed_forward, says) -> None:
    """Each lack is a sentence, and what is left of FP8 is used."""
    kernels = card(capability, function)
    assert (kernels.attention, kernels.attend) == ("", None)
    assert (kernels.feed_forward is not None) == in_feed_forward
    [note] = kernels.notes
    assert note.startswith(says)


def test_cpu_has_none() -> None:
    kernels = fp8.choose(torch.device("cpu"), torch.bfloat16, heads=2, width=16)
    assert (kernels.attend, kernels.feed_forward) == (None, None)
    assert kernels.notes == ("FP8 is not used: the engine computes on a CPU.",)
