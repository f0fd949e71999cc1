import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.core import layout, looks
from povwatch.core.looks import Owner

SUFFIXES = frozenset({b".mp4", b".mov"})
BASES = {
    (b"", b"clip"): b"clip.mp4",
    (b"", b"clip.rain"): b"clip.rain.mp4",
    (b"", b"clip.mov"): b"clip.mov",
    (b"d", b"clip"): b"d/clip.mp4",
    (b"", b"2026.01.05"): b"2026.01.05.mp4",
}
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60)


def clip_of(folder, base):
    return BASES.get((folder, base))


@pytest.mark.parametrize(
    ("spec", "owner"),
    [
        (b"clip.json", Owner(b"clip.mp4", "")),
        (b"clip.night.json", Owner(b"clip.mp4", "night")),
        (b"d/clip.night.json", Owner(b"d/clip.mp4", "night")),
        (b"clip.rain.json", Owner(b"clip.rain.mp4", "")),
        (b"clip.rain.night.json", Owner(b"clip.rain.mp4", "night")),
        (b"clip.mov.json", Owner(b"clip.mov", "")),
        (b"clip.mov.night.json", Owner(b"clip.mov", "night")),
        (b"2026.01.05.json", Owner(b"2026.01.05.mp4", "")),
        (b"2026.01.05.lamp.json", Owner(b"2026.01.05.mp4", "lamp")),
        (b"clip.nacht-\xc3\xa4.json", Owner(b"clip.mp4", "nacht-ä")),
        (b"clip.MP4.json", None),
        (b"clip.a.b.json", None),
        (b"other.night.json", None),
        (b"e/clip.night.json", None),
        (b"clip..json", None),
        (b"clip.\xff.json", None),
        (b"clip.sync-conflict-20260101-120000-ABCDEFG.json", None),
        (b".night.json", None),
    ],
)
def test_owner_of_a_json(spec, owner):
    """A JSON belongs to the clip that has its whole stem as base, else to a look of the one before its last dot."""
    assert looks.owner(spec, clip_of, suffixes=SUFFIXES) == owner


@pytest.mark.parametrize("spec", [b"clip.json", b"d.e/clip.json", b".json", b"d/.json", b"d/.clip.json"])
def test_plain_json_is_no_look(spec):
    assert not looks.may_be_look(spec)


@given(TEXTS, TEXTS)
def test_no_look_is_overlooked(base, look):
    """Every JSON that a clip owns as a look has the dot for which a scan looks."""
    spec = b"d/%s.%s.json" % (base.encode(), look.encode())
    found = looks.owner(spec, lambda _, stem: b"d/c.mp4" if stem == base.encode() else None)
    assert found is None or found.look == "" or looks.may_be_look(spec)


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ("night", ""),
        ("kitchen_night-2", ""),
        ("nacht_ä", ""),
        ("aug", "files of povwatch are called so"),
        ("Error", "files of povwatch are called so"),
        ("control", "files of povwatch are called so"),
        ("night (1)", 'letters, digits, "_" and "-" alone'),
        ("a@b", 'letters, digits, "_" and "-" alone'),
        ("n" * 65, "too long"),
        ("Rain", 'the look "rain" differ in upper and lower case alone'),
        ("rain", ""),
    ],
)
def test_names_that_a_look_may_have(look, why):
    """A look is refused if files are called so, if it is too long, or if another one is almost the same."""
    found = looks.refusal(look, b"clip", others=["rain"])
    assert why in found
    assert bool(found) == bool(why)


def test_look_of_a_long_name():
    """Beside a long clip the name of a look may be shorter; it says by how much."""
    base = b"c" * 215
    assert not looks.refusal("n" * 7, base)
    assert "may have 7 bytes" in looks.refusal("n" * 8, base)
    assert "may have 0 bytes" in looks.refusal("n", b"c" * 223)


def test_files_of_a_look():
    """The files of a look have the names of its JSON."""
    found = layout.beside(b"d/a.mp4", looks.stem(b"a", "night"))
    names = (b"d/a.night.json", b"d/a.night.error.txt", b"d/a.night.go", b"d/a.night.hold")
    assert found == layout.Beside(b"d/a.mp4", *names)
    assert looks.stem(b"a", "") == b"a"


def test_error_file_of_a_refused_long_name():
    """A look whose JSON has the longest name that a disk takes has an error file too."""
    error = layout.beside(b"a.mp4", b"a." + b"n" * 248).error
    assert len(error) <= layout.NAME_MAX
    assert error.endswith(b".error.txt")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("clip@night", ("clip", "night")),
        ("d/clip.mp4@night", ("d/clip.mp4", "night")),
        ("a@b.mp4@night", ("a@b.mp4", "night")),
        ("clip@", ("clip", "")),
        ("clip", None),
        ("@night", None),
    ],
)
def test_clip_and_look_as_typed(word, found):
    assert looks.cut(word) == found


def test_called():
    """People read a clip's own job as the clip alone."""
    assert looks.called(b"d/a.mp4", "night") == b"d/a.mp4@night"
    assert looks.called(b"d/a.mp4", "") == b"d/a.mp4"
    assert looks.kind_of("aug", "night") == "night_aug"
    assert looks.kind_of("aug", "") == "aug"
    assert looks.label_of(b"a", "night") == b"a_night"
