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


def test_layout_changes_rounding_alone(engine) -> None:
    """With the channels last, the VAE gives the same but for rounding."""
    model = copy.deepcopy(engine._loaded.model.vae)
    generator = torch.Generator().manual_seed(0)
    video = torch.rand(1, 3, 5, 32, 48, generator=generator) * 2 - 1
    latents = torch.randn(1, 16, 2, 4, 6, generator=generator)

    def made():
        with torch.no_grad():
            return model.encode(video).latent_dist.mean, torch.cat(list(vae.decoded(model, latents)), dim=2)

    assert model.encoder.conv_in.weight.stride(1) > 1
    before = made()
    vae.channels_last(model)
    assert model.encoder.conv_in.weight.stride(1) == 1
    for found, expected in zip(made(), before, strict=True):
        assert (found - expected).norm() < 1e-5 * expected.norm()


def test_parts_are_the_whole(engine) -> None:
    """Decoding part by part gives what the VAE's own decode gives, to the bit."""
    model = engine._loaded.model
    latents = torch.randn(1, 16, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = list(vae.decoded(model.vae, latents))
        whole = model.vae.decode(latents, return_dict=False)[0]
    assert [part.size(2) for part in parts] == [1, 4, 4, 4]
    assert torch.equal(torch.cat(parts, dim=2), whole)
