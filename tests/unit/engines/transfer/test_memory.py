import json
from pathlib import Path

import pytest
from support import tiny_needs
from support.deferred import Deferred

from povwatch.engines.transfer import memory

tiny_needs.skip_without()

from support import tiny_jobs

torch = Deferred("torch")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")


@pytest.mark.parametrize(
    ("asked", "room", "used"),
    [
        ("auto", 80_000_000_000, "full"),
        ("auto", 35_000_000_000, "full"),
        ("auto", 25_000_000_000, "low"),
        ("auto", None, "full"),
        ("low", 80_000_000_000, "low"),
        ("full", 25_000_000_000, "full"),
    ],
)
def test_low_where_full_does_not_fit(asked, room, used) -> None:
    """Auto takes low where the whole model does not fit, and says so; else it is what was asked for."""
    found, note = memory.choose(asked, room)
    assert found == used
    assert bool(note) == (asked == "auto" and used == "low")
    assert not note or ("25 GB" in note and "35 GB" in note)


def test_low_needs_less() -> None:
    """Auto needs what low needs: it falls back to that."""
    assert memory.needed("auto") == memory.needed("low") < memory.needed("full")


def test_room_for_what_was_measured() -> None:
    """A job has room for what one with so many controls took on a GPU, and not for much more."""
    measured = Path(__file__).parents[4] / "benchmarks/results/controls-h200.json"
    for row in json.loads(measured.read_text())["rows"]:
        took = (row["peak_memory_gb"] - row["weights_gb"]) * 1e9
        assert took <= memory.working(row["controls"]) <= took + 1.5e9


def test_text_encoder_waits_elsewhere(tiny, tmp_path) -> None:
    """With low memory, only the text encoder is off the device between prompts; the result is full's, to the bit."""
    clip = tiny_jobs.clip_of(tmp_path, 5)
    made = []
    for mode in ("full", "low"):
        engine, capabilities = tiny_jobs.loaded(tiny, memory=mode)
        assert capabilities["memory"] == mode
        (tmp_path / mode).mkdir()
        artifact = engine.generate(tiny_jobs.job(clip, 5), tiny_jobs.context(tmp_path / mode))
        made.append((tmp_path / mode / "chunks" / "chunk-00000.safetensors").read_bytes())
        model = engine._loaded.model
        away = {weight.device.type for weight in model.pipeline.text_encoder.parameters()}
        assert away == {"meta" if mode == "low" else "cpu"}
        for part in (model.transformer, *model.controlnets, model.vae):
            assert {weight.device.type for weight in part.parameters()} == {"cpu"}
        assert artifact["frames"] == 5
    assert made[0] == made[1]
