"""Which speeds an engine as configured does on the GPUs that are there."""

from fractions import Fraction

import pytest

from povwatch.config.settings import Engine
from povwatch.engines.abilities import Abilities
from povwatch.gpu.nvml import Gpu, Gpus
from povwatch.media.fit import Shape

H200 = Gpu(0, "GPU-0", "NVIDIA H200", 150_000_000_000, 150_000_000_000, capability=(9, 0))
A100 = Gpu(1, "GPU-1", "NVIDIA A100", 80_000_000_000, 80_000_000_000, capability=(8, 0))
SILENT = Gpu(2, "GPU-2", "NVIDIA X", 80_000_000_000, 80_000_000_000)

SPEC = {"edge": {}, "prompt": "hands"}
CLIP = Shape(93, 1280, 704, Fraction(30))


def told(kind, gpus, speed, **engine):
    abilities = Abilities.of(kind, Engine(kind=kind, **engine), Gpus(tuple(gpus)))
    return [(problem.field, problem.sentence, problem.todo) for problem in abilities.refusals(SPEC, CLIP, speed)]


@pytest.mark.parametrize(
    ("kind", "gpus", "engine"),
    [
        ("diffusers", [H200], {}),
        ("diffusers", [H200, A100], {"devices": ["GPU-0"]}),
        ("diffusers", [SILENT], {}),
        ("diffusers", [], {}),
        ("preview", [], {}),
        ("/srv/own.py:Engine", [A100], {}),
    ],
)
def test_speed_that_may_be_done(kind, gpus, engine) -> None:
    """What is not known to be impossible is not refused; a GPU that no worker gets does not count."""
    assert told(kind, gpus, "fastest", **engine) == []


def test_few_steps_are_told_in_time() -> None:
    """A speed that leaves no step out of so few is told while the JSON can be edited."""
    abilities = Abilities.of("diffusers", Engine(kind="diffusers"), Gpus((H200,)))
    (note,) = abilities.notes(SPEC | {"num_steps": 4}, "fast")
    assert note == 'povwatch.speed "fast" leaves no step out: num_steps 4 is less than 16.'
    assert abilities.notes(SPEC | {"num_steps": 4}, None) == abilities.notes(SPEC, "fast") == []


@pytest.mark.parametrize(
    ("kind", "gpus", "engine", "says", "todo"),
    [
        ("cosmos", [H200], {}, "the cosmos engine approximates nothing", 'engine.kind = "diffusers"'),
        ("diffusers", [H200], {"exact": "pipeline"}, 'engine.exact = "pipeline"', 'engine.exact = "rounding"'),
        (
            "diffusers",
            [H200, A100],
            {},
            "That needs compute capability 8.9 or more; here is NVIDIA A100 (8.0)",
            'With engine.speed = "fast" in the configuration steps are left out without FP8.',
        ),
    ],
)
def test_speed_that_cannot_be_done(kind, gpus, engine, says, todo) -> None:
    """A JSON's own speed is refused with what was found and what to do; without one, or exact, nothing is."""
    [(field, found, advice)] = told(kind, gpus, "fast", **engine)
    assert field == "povwatch.speed"
    assert 'is "fast"' in found
    assert says in found
    assert todo in advice
    assert told(kind, gpus, "exact", **engine) == told(kind, gpus, None, **engine) == []
