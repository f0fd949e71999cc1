import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.core.units import parse_duration, parse_size, spell_duration, spell_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1d", 86400), ("250ms", 0.25), ("1.5s", 1.5), (" 5s ", 5), ("0s", 0)],
)
def test_durations_have_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5x", "5s!", 5, 5.0, None, True, ["5s"], "1e3s", "5S"])
def test_wrong_duration_is_refused(text):
    """What is no duration is refused with an example."""
    with pytest.raises(ValueError, match=r'is no duration: write a string with a unit .* such as "90s"'):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("500MiB", 500 * 2**20), ("12 MB", 12 * 10**6), ("1B", 1), ("1.5kB", 1500)]
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "GB", "5 potatoes", 5, None, "-", [1]])
def test_wrong_size_is_refused(text):
    """What is no size is refused with an example."""
    with pytest.raises(ValueError, match=r'is no size: write a string with a unit .* such as "5GB"'):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.04, "0.0 s"),
        (4.23, "4.2 s"),
        (9.99, "10.0 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (100, "1 min 40 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_durations_for_people(seconds, text):
    """Durations are shown in the units that people use, rounded."""
    assert spell_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (812, "812 B"), (1000, "1.0 kB"), (4_200_000, "4.2 MB"), (65_400_000_000, "65 GB"), (9e15, "9000 TB")],
)
def test_sizes_for_people(size, text):
    """Sizes are shown in the units that people use, rounded."""
    assert spell_size(size) == text


@given(st.floats(0, 1e9))
def test_no_duration_shows_sixty(seconds):
    """No duration that is shown has 60 seconds or minutes."""
    assert not {"60"} & set(spell_duration(seconds).split()) or seconds >= 60 * 86400
