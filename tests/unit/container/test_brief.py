"""A brief look says the same as a long one, or that it would take longer."""

from __future__ import annotations

import os

import pytest
from support import hostile
from support import made_containers as made
from support.examining import examine_bytes

from povwatch.container import TakesLonger, examine
from povwatch.container.reader import BRIEF_STEPS, BRIEF_TABLES

FILMS = {
    "mp4": made.video,
    "mp4 fragments": lambda: made.video(movflags="frag_keyframe+empty_moov"),
    "mkv": lambda: made.video("matroska"),
    "avi": lambda: made.video("avi", "mpeg4"),
    "opendml": lambda: made.open_dml(2),
}

LONG = {
    "sizes of samples": lambda: hostile.long_index(BRIEF_TABLES // 4 + 1),
    "sizes of half a byte": lambda: hostile.film(hostile.packed_sizes(BRIEF_TABLES // 4 + 2)),
    "boxes": lambda: hostile.box(b"ftyp", hostile.BRAND) + hostile.box(b"free") * BRIEF_STEPS,
    "blocks": lambda: hostile.matroska(hostile.BLOCK * (BRIEF_STEPS // 2)),
    "an old index": lambda: hostile.old_index(BRIEF_TABLES // 16 + 1),
}


@pytest.mark.parametrize("film", FILMS.values(), ids=FILMS)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_ordinary_film_is_judged_alike(film, share):
    """A brief look at an ordinary film, whole or cut, says what a full one says."""
    data = film()
    data = data[: int(share * len(data))]
    assert examine_bytes(data, brief=True) == examine_bytes(data)


@pytest.mark.parametrize("film", LONG.values(), ids=LONG)
def test_long_index_is_left_to_others(film):
    """A brief look at a long index says that it would take longer."""
    data = film()
    assert examine_bytes(data).why
    with pytest.raises(TakesLonger):
        examine_bytes(data, brief=True)


def test_holes_times_tracks_are_counted(tmp_path):
    """Each hole is looked for in each track."""
    path = tmp_path / "clip"
    tracks = 30
    blocks = BRIEF_STEPS // tracks + 10
    with path.open("w+b") as file:
        file.write(hostile.film(*[hostile.samples(0, 64, uniform=True)] * tracks))
        for number in range(1, blocks):
            file.seek(number * 16384)
            file.write(b"x" * 4096)
        file.flush()
        size = os.fstat(file.fileno()).st_size
        if os.lseek(file.fileno(), 3 * 4096, os.SEEK_HOLE) == size:
            pytest.skip("this file system makes no holes")
        with pytest.raises(TakesLonger):
            examine(file.fileno(), size, brief=True)


def test_index_that_unpacks_too_far():
    """60 MB of half bytes would be 3 GB of places."""
    report = examine_bytes(hostile.film(hostile.packed_sizes(120_000_000)))
    assert not report.complete
    assert "which no video has" in report.why
