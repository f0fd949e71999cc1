import pytest

from povwatch.core.lookup import find, instead, meant, nearest, no_such_look, number_of

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
        (r"caf\xe9", [b"caf\xe9.mp4"]),
        ("caf\udce9", [b"caf\xe9.mp4"]),
        (r"inputs/caf\xe9.mp4", [b"caf\xe9.mp4"]),
        (r"inputs/d/x\ny", [b"d/x\ny.mp4"]),
        (r"x\ny.mp4", [b"d/x\ny.mp4"]),
        (r"x\ny", [b"d/x\ny.mp4"]),
        ("inputs/d/a", [b"d/a.mp4"]),
        ("c.tar", [b"c.tar.mp4"]),
        ("c", []),
        ("d", []),
        ("", []),
        ("A.MP4", []),
    ],
)
def test_what_a_word_means(word, found):
    """A word names clips by path, name or stem, escaped or not, below inputs/ or not."""
    assert find(PATHS, word) == found


def test_best_fit_counts_alone():
    """The way that fits best counts alone."""
    assert find([b"a", b"d/a", b"a.mp4"], "a") == [b"a"]


def test_folder_called_inputs_below_inputs():
    """A folder called inputs below inputs/ goes before the prefix that is left out."""
    assert find([b"a.mp4", b"inputs/a.mp4"], "inputs/a.mp4") == [b"inputs/a.mp4"]


def test_no_clips_no_meaning():
    """Without clips no word means anything."""
    assert find([], "a") == []


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("12", 12),
        ("#12", 12),
        ("0", 0),
        ("²", None),
        ("9" * 23, None),
        ("-1", None),
        ("", None),
        ("#", None),
        ("a", None),
    ],
)
def test_job_numbers(word, number):
    """A job's number is digits, with # or without, that SQLite can hold."""
    assert number_of(word) == number


def test_clip_goes_before_a_number():
    """A clip goes before a number, and # says that a number is meant."""
    assert find([b"1.mp4"], "1") == [b"1.mp4"]
    assert find([b"1.mp4", b"#1.mp4"], "#1") == []


def test_empty_word_means_nothing():
    assert find([b"a.mp4"], "") == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("kichen.mp4", b"d/Kitchen.mp4"),
        ("kitchen.mov", b"d/Kitchen.mp4"),
        ("KITCHEN", b"d/Kitchen.mp4"),
        ("D/kitchen", b"d/Kitchen.mp4"),
        ("inputs/d/kitchn.mp4", b"d/Kitchen.mp4"),
        (r"caf\xe8.mp4", b"caf\xe9.mp4"),
        ("zebra", None),
        ("x" * 5000, None),
        ("", None),
    ],
)
def test_nearest_clip(word, meant):
    """The clip that somebody may have meant is found by small differences, if there is one."""
    assert nearest([b"a.mp4", b"d/Kitchen.mp4", b"caf\xe9.mp4", b"y" * 5000], word) == meant


def test_only_so_many_are_compared():
    """No more than a fixed number of clips are compared."""
    many = [b"kitchen1.mp4", *(b"clip %d.mp4" % n for n in range(100_000))]
    assert nearest(many, "kitchen.mp4") is None


def test_advice_for_an_unknown_clip():
    """An unknown clip gets the nearest name and the command that lists all."""
    assert instead([b"a b.mp4"], "a_b.mp4") == "Did you mean a b.mp4? All that were seen: povwatch jobs"
    assert instead([b"a b.mp4"], "zebra") == "All that were seen: povwatch jobs"


@pytest.mark.parametrize(
    ("word", "found", "look"),
    [
        ("a.mp4", [b"a.mp4"], None),
        ("a@night", [b"a.mp4"], "night"),
        ("d/b.mov@night", [b"d/b.mov"], "night"),
        ("b@night", [b"d/b.mov", b"e/b.mov"], "night"),
        ("a@", [b"a.mp4"], ""),
        ("x@y.mp4", [b"x@y.mp4"], None),
        ("x@y@z", [b"x@y.mp4"], "z"),
        ("z@night", [], None),
    ],
)
def test_clip_and_look(word, found, look):
    """A word names a clip with all of its looks, or one of them."""
    assert meant([*PATHS, b"x@y.mp4"], word) == (found, look)


def test_no_such_look():
    assert no_such_look(b"a.mp4", "nihgt", ["rain", "night"]) == 'a.mp4 has no look "nihgt". It has: night, rain.'
    assert no_such_look(b"a.mp4", "x", []) == 'a.mp4 has no look "x". It has its own look alone.'
