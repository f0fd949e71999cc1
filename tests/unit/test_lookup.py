import pytest

from povwatch.lookup import find

PATHS = [b"a.mp4", b"d/a.mp4", b"d/b.mov", b"e/b.mov", b"caf\xe9.mp4", b"d/x\ny.mp4", b"c.tar.mp4"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("a.mp4", [b"a.mp4"]),
        ("d/a.mp4", [b"d/a.mp4"]),
        ("inputs/d/a.mp4", [b"d/a.mp4"]),
        ("./inputs/a.mp4", [b"a.mp4"]),
        ("a", [b"a.mp4"]),
        ("d/a", [b"d/a.mp4"]),
        ("b.mov", [b"d/b.mov", b"e/b.mov"]),
        ("b", [b"d/b.mov", b"e/b.mov"]),
        (r"caf\xe9.mp4", [b"caf\xe9.mp4"]),
        ("caf\udce9.mp4", [b"caf\xe9.mp4"]),
        (r"d/x\ny.mp4", [b"d/x\ny.mp4"]),
        ("c.tar", [b"c.tar.mp4"]),
        ("c", []),
        ("d", []),
        ("", []),
        ("A.MP4", []),
    ],
)
def test_what_a_word_means(word, found):
    assert find(PATHS, word) == found


def test_the_way_that_fits_best_counts_alone():
    assert find([b"a", b"d/a", b"a.mp4"], "a") == [b"a"]


def test_no_clips_no_meaning():
    assert find([], "a") == []
