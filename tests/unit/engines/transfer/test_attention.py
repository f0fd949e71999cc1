"""The kernel for self-attention is the fastest that is here and computes correctly."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

torch = Deferred("torch")
attention = Deferred("povwatch.engines.transfer.attention")

WIDTH = 16


@pytest.fixture
def hopper(monkeypatch):
    """A machine with a Hopper card on which torch computes on the CPU, and on which packages can be installed."""
    there = {}

    def version(package):
        if package not in there:
            raise attention.PackageNotFoundError(package)
        return "3.1"

    def install(package, module, function):
        there[package] = module
        made = ModuleType(module)
        made.flash_attn_func = function
        monkeypatch.setitem(sys.modules, module, made)

    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr("povwatch.engines.transfer.attention.version", version)
    monkeypatch.setattr("torch.randn", lambda *shape, **_: torch.empty(shape).normal_())
    backends = (attention.SDPBackend.FLASH_ATTENTION, attention.SDPBackend.MATH)
    monkeypatch.setattr("povwatch.engines.transfer.attention.FASTEST_FIRST", backends)
    install.device = SimpleNamespace(type="cuda")
    return install


def chosen(install, asked="auto", dtype="bfloat16"):
    dtype = getattr(torch, dtype)
    return attention.choose(asked, install.device, dtype, heads=2, width=WIDTH)


def correct(q, k, v):
    return attention.by_torch(q, k, v)


def test_flash_attention_3_is_taken(hopper) -> None:
    """The official package comes first, and its kernel is the one that is called."""
    calls = []
    hopper("fa3-fwd", "fa3_fwd_interface", correct)
    hopper("flash_attn_3", "flash_attn_interface", lambda q, k, v: calls.append(1) or (correct(q, k, v), "lse"))
    found = chosen(hopper)
    assert (found.name, found.notes) == ("FlashAttention-3 (flash_attn_3 3.1)", ())
    q, k, v = torch.empty(3, 1, 40, 2, WIDTH).normal_()
    calls.clear()
    assert torch.allclose(found.attend(q, k, v), correct(q, k, v))
    assert calls == [1]


def test_torchs_fastest_is_next(hopper) -> None:
    """Without FlashAttention-3 torch's fastest kernel is taken."""
    found = chosen(hopper)
    assert (found.name, found.notes) == ("torch's FlashAttention-2", ())
    assert found.attend is attention.by_torch
    assert found.backends == attention.FASTEST_FIRST


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (lambda q, k, v: 1.02 * correct(q, k, v), "its self-test is off by 2e-02"),
        (lambda q, k, v: torch.full_like(correct(q, k, v), torch.nan), "its self-test is off by nan"),
        (lambda q, k, v: correct(q, k[:, :512], v[:, :512]), "its self-test is off by"),
        (lambda q, k, v: correct(q, k, v).transpose(1, 2), "its result has shape"),
        (lambda *_: 1 / 0, "division by zero"),
    ],
)
def test_wrong_kernel_is_named(hopper, kernel, says) -> None:
    """Tails that are left out, not-a-number, another layout: each is found, and the next best takes its place."""
    hopper("flash_attn_3", "flash_attn_interface", kernel)
    hopper("fa3-fwd", "fa3_fwd_interface", correct)
    found = chosen(hopper)
    assert found.name == "FlashAttention-3 (fa3-fwd 3.1)"
    [note] = found.notes
    assert note.startswith(f"FlashAttention-3 (flash_attn_3 3.1) is not used: {says}")


def test_build_for_another_torch_is_named(hopper, monkeypatch, tmp_path) -> None:
    """Its import fails in the linker; the sentence has the linker's words."""
    hopper("fa3-fwd", "fa3_fwd_interface", correct)
    monkeypatch.delitem(sys.modules, "fa3_fwd_interface")
    (tmp_path / "fa3_fwd_interface.py").write_text("raise ImportError('_C.abi3.so: undefined symbol: aoti_torch')")
    monkeypatch.syspath_prepend(tmp_path)
    found = chosen(hopper)
    assert found.name == "torch's FlashAttention-2"
    assert found.notes == ("FlashAttention-3 (fa3-fwd 3.1) is not used: _C.abi3.so: undefined symbol: aoti_torch.",)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (10, 0), (12, 0)])
def test_other_generations_have_their_own(hopper, monkeypatch, capability) -> None:
    """FlashAttention-3 is for Hopper: Ampere, Ada and Blackwell never load it."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
    hopper("fa3-fwd", "fa3_fwd_interface", lambda *_: pytest.fail("it was called"))
    assert chosen(hopper).name == "torch's FlashAttention-2"


@pytest.mark.parametrize(("asked", "name"), [("cudnn", "torch's FlashAttention-2"), ("native", "torch's choice")])
def test_kernel_may_be_asked_for(hopper, asked, name) -> None:
    """The setting leaves FlashAttention-3 out, or all choosing to torch."""
    hopper("fa3-fwd", "fa3_fwd_interface", lambda *_: pytest.fail("it was called"))
    assert chosen(hopper, asked).name == name


def test_float32_is_not_for_it(hopper) -> None:
    """FlashAttention-3 computes in two bytes, and is not tried in four."""
    hopper("fa3-fwd", "fa3_fwd_interface", lambda *_: pytest.fail("it was called"))
    assert chosen(hopper, dtype="float32").name == "torch's FlashAttention-2"


def test_cpu_has_torchs_own() -> None:
    """On a CPU nothing is tried."""
    found = attention.choose("auto", torch.device("cpu"), torch.float32, heads=2, width=WIDTH)
    assert (found.name, found.backends) == ("torch's choice", ())
