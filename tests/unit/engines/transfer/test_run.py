import copy

import pytest
from support import tiny_needs
from support.deferred import Deferred

tiny_needs.skip_without()

from support import tiny_jobs

torch = Deferred("torch")
run = Deferred("povwatch.engines.transfer.run")
vae = Deferred("povwatch.engines.transfer.vae")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny)[0]


def test_stage_within_a_stage_counts_once(engine, monkeypatch) -> None:
    """Seconds of stages add up, though one is within another."""
    moments = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr(run.time, "monotonic", lambda: next(moments))
    clock = run.Clock(engine._loaded.model.device)
    with clock("decode"), clock("write"):
        pass
    assert clock.seconds() == {"write": 2.0, "decode": 5.0}


def made(model):
    """The latents of a small clip, and the frames of other latents."""
    generator = torch.Generator().manual_seed(0)
    dtype = model.dtype
    video = torch.rand(1, 3, 9, 32, 48, generator=generator).to(dtype) * 2 - 1
    latents = torch.randn(1, 16, 3, 4, 6, generator=generator).to(dtype)
    with torch.no_grad():
        return model.encode(video).latent_dist.mean, torch.cat(list(vae.decoded(model, latents)), dim=2)


def test_layout_changes_rounding_alone(engine) -> None:
    """With the channels last, the VAE gives the same but for rounding."""
    model = copy.deepcopy(engine._loaded.model.vae)
    assert model.encoder.conv_in.weight.stride(1) > 1
    before = made(model)
    vae.channels_last(model)
    assert model.encoder.conv_in.weight.stride(1) == 1
    for found, expected in zip(made(model), before, strict=True):
        assert (found - expected).norm() < 1e-5 * expected.norm()


def test_compiled_norm_is_the_modules(engine) -> None:
    """What is compiled in place of the VAE's norms computes what they do, to the bit, in bfloat16 too."""
    model = copy.deepcopy(engine._loaded.model.vae).to(torch.bfloat16)
    asked = []

    def compiler(function, *, any_size):
        assert any_size
        return lambda *args: asked.append(args[0].shape) or function(*args)

    before = made(model)
    vae.compile_norms(model, compiler)
    assert all(map(torch.equal, made(model), before))
    assert len(asked) > 20


def test_parts_are_the_whole(engine) -> None:
    """Decoding part by part gives what the VAE's own decode gives, to the bit."""
    model = engine._loaded.model
    latents = torch.randn(1, 16, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = list(vae.decoded(model.vae, latents))
        whole = model.vae.decode(latents, return_dict=False)[0]
    assert [part.size(2) for part in parts] == [1, 4, 4, 4]
    assert torch.equal(torch.cat(parts, dim=2), whole)
