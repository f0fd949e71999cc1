from itertools import pairwise
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from povwatch.engines.transfer.plan import SIZES, STEP, chunks, size

lengths = st.integers(1, 23).map(lambda k: 4 * k + 1)


@given(st.integers(1, 20_000), lengths, st.integers(0, 2))
@example(93, 93, 1)
@example(94, 93, 1)
@example(1, 93, 2)
def test_every_frame_is_fresh_in_one_chunk(frames, length, carried) -> None:
    planned = chunks(frames, length, carried)
    fresh = [frame for chunk in planned for frame in range(chunk.fresh, chunk.end)]
    assert fresh == list(range(frames))
    assert all(1 <= chunk.end - chunk.start <= length for chunk in planned)
    assert all(after.start == before.end - carried for before, after in pairwise(planned))


@given(st.integers(1, 20_000), st.integers(0, 2))
def test_as_many_chunks_as_upstream(frames, carried) -> None:
    upstream = 1 if frames <= 93 else 1 + ceil((frames - 93) / (93 - carried))
    assert len(chunks(frames, 93, carried)) == upstream


@pytest.mark.parametrize(
    ("clip", "resolution", "expected"),
    [
        ((1920, 1080), "720", (1280, 704)),
        ((1080, 1920), "720", (704, 1280)),
        ((640, 480), "720", (960, 704)),
        ((500, 500), "720", (960, 960)),
        ((1920, 1080), "480", (768, 432)),
        ((2560, 1080), "720", (1456, 624)),
    ],
)
def test_size_of_the_model_for_a_clip(clip, resolution, expected) -> None:
    """A clip gets the model's own size, or as many pixels in its own shape."""
    assert size(*clip, resolution) == expected


@given(st.integers(16, 4096), st.integers(16, 4096), st.sampled_from(sorted(SIZES)))
def test_size_fits_the_model(width, height, resolution) -> None:
    found = size(width, height, resolution, limit=1920)
    assert all(length % STEP == 0 and STEP <= length <= 1920 for length in found)


def test_pixels_go_over_the_resolution() -> None:
    """engine.pixels goes before the JSON's resolution."""
    assert size(1920, 1080, "720", pixels=96 * 64) == (112, 64)
