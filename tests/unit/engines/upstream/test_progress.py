import pytest

from povwatch.engines.port import Context, EngineCancelled
from povwatch.engines.upstream.gate import Alone
from povwatch.engines.upstream.progress import Meter


class World:
    def __init__(self, steps=2, calls=2):
        self.now = 0.0
        self.told = []
        self.wanted = True
        context = Context("/w", "/c", report=lambda *what: self.told.append(what), is_cancelled=lambda: not self.wanted)
        self.meter = Meter(context, Alone(), steps, calls, clock=lambda: self.now)

    def chunk(self, calls=4):
        self.meter.chunk_begins()
        self.now += 2
        for _ in range(calls):
            self.meter.net_called()
            self.now += 1
        self.meter.chunk_ends()
        self.now += 10
        self.meter.decoded()


def test_steps_count_what_is_finished():
    """Steps and chunks count what is finished."""
    world = World()
    world.meter.planned(2)
    world.chunk()
    world.chunk()
    assert [(stage, chunk, step) for stage, chunk, chunks, step, _ in world.told if chunks == 2] == [
        ("encode", 0, 0),
        *[("denoise", 0, step) for step in (0, 0, 1, 1, 2)],
        ("decode", 0, 2),
        ("read", 1, 0),
        ("encode", 1, 0),
        *[("denoise", 1, step) for step in (0, 0, 1, 1, 2)],
        ("decode", 1, 2),
        ("finish", 2, 0),
    ]


def test_kept_chunk_is_decoded():
    """A chunk from the store is decoded, and not denoised."""
    world = World()
    world.meter.planned(1)
    world.chunk(calls=0)
    assert [(stage, step) for stage, _, chunks, step, _ in world.told if chunks == 1][1:] == [
        ("encode", 0),
        ("decode", 2),
        ("finish", 0),
    ]
    assert "denoise" not in world.meter.ended()


def test_distilled_step_is_one_call():
    """One call is a step of the distilled model."""
    world = World(steps=4, calls=1)
    world.meter.planned(1)
    world.chunk()
    assert [step for stage, *_, step, _ in world.told if stage == "denoise"] == [0, 1, 2, 3, 4]


def test_more_calls_never_pass_the_end():
    """More calls than expected never pass the last step."""
    world = World(steps=2, calls=1)
    world.meter.planned(1)
    world.chunk(calls=9)
    assert max(step for *_, step, _ in world.told) == 2


def test_seconds_are_told_by_stage():
    world = World()
    world.now += 3
    world.meter.planned(2)
    world.chunk()
    world.now += 1
    world.chunk()
    world.now += 5
    assert world.meter.ended() == {"read": 4.0, "encode": 4.0, "denoise": 8.0, "decode": 20.0, "finish": 5.0}


@pytest.mark.parametrize("where", ["planned", "chunk_begins", "net_called", "chunk_ends", "decoded"])
def test_unwanted_job_ends_at_every_point(where):
    """A job that is not wanted is left at every point."""
    world = World()
    world.wanted = False
    with pytest.raises(EngineCancelled):
        getattr(world.meter, where)(*([3] if where == "planned" else []))
