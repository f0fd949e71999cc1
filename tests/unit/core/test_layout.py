import os
import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from povwatch.core import layout

NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda n: b"/" not in n and b"\0" not in n and n not in {b".", b".."}
)
LONGEST = b"_preview_v999.json.part"


def test_files_beside_go_by_the_stem():
    """The files beside a clip go by its stem."""
    found = layout.beside(b"d/a.mp4", b"a")
    assert found == layout.Beside(b"d/a.mp4", b"d/a.json", b"d/a.error.txt", b"d/a.go", b"d/a.hold")


def test_second_of_a_stem_has_its_full_name():
    """The second clip of a stem in a folder goes by its full name."""
    found = layout.assign_bases([b"a.mp4", b"a.mov", b"d/a.mov"], {})
    assert found == {b"a.mp4": b"a", b"a.mov": b"a.mov", b"d/a.mov": b"a"}


def test_known_base_stays():
    """A base that is known stays, and is not given twice."""
    assert layout.assign_bases([b"a.avi", b"a.mp4"], {b"a.mp4": b"a"}) == {b"a.avi": b"a.avi", b"a.mp4": b"a"}


def test_clip_called_like_another_full_name():
    """A clip whose stem is another one's full name gets a base of its own."""
    found = layout.assign_bases([b"a.mp4", b"a.mov.mp4", b"a.mov"], {})
    assert len(set(found.values())) == 3


@given(st.sets(NAMES, min_size=1, max_size=8))
def test_every_clip_has_its_own_base(names):
    """Every clip has a base of its own, with room for the longest suffix."""
    found = layout.assign_bases(sorted(names), {})
    assert len(set(found.values())) == len(names)
    assert all(len(base + LONGEST) <= layout.NAME_MAX for base in found.values())


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=60, max_size=250))
def test_name_is_cut_between_characters(text):
    name = text.encode()
    assert all(base.decode() for base in layout.bases(name))


def test_sheet_is_beside_the_result():
    pattern = "{folder}/{stem}/{stem}_{kind}.mp4"
    assert layout.sheet(pattern, b"d/a.mp4", b"a", "sheet") == b"d/a/a_sheet.jpg"
    assert layout.sheet(pattern, b"d/a.mp4", b"a", "night_preview_sheet", 3) == b"d/a/a_night_preview_sheet_v3.jpg"


@pytest.mark.parametrize(
    ("path", "version", "output"),
    [
        (b"a.mp4", 1, b"a/a_aug.mp4"),
        (b"d/e/a.mp4", 1, b"d/e/a/a_aug.mp4"),
        (b"d/a.mp4", 2, b"d/a/a_aug_v2.mp4"),
    ],
)
def test_result_keeps_the_clips_folder(path, version, output):
    assert layout.output("{folder}/{stem}/{stem}_{kind}.mp4", path, b"a", "aug", version) == output


def test_manifest_is_beside_the_result():
    """The manifest and the control videos stand beside the result."""
    assert layout.manifest(b"d/a/a_aug_v2.mp4") == b"d/a/a_aug_v2.json"
    assert layout.control(b"d/a/a_aug_v2.mp4", "edge") == b"d/a/a_aug_v2_control_edge.mp4"


def test_placeholder_in_a_name_is_a_name():
    """A clip that is named like a placeholder is only a name."""
    assert (
        layout.filled("{folder}/.done/{name}", folder=b"{name}", name=b"{folder}.mp4") == b"{name}/.done/{folder}.mp4"
    )


def test_no_leading_slash_in_the_top_folder():
    assert layout.filled("{folder}/.done/{name}", folder=b"", name=b"a.mp4") == b".done/a.mp4"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a b.mp4", "a b.mp4"),
        ("héß 🖐.mp4".encode(), "héß 🖐.mp4"),
        (b"a\nb", r"a\nb"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        (b"\xff.mp4", r"\xff.mp4"),
        ("a\u202eb".encode(), r"a\u202eb"),
        (b"\xc2\x85", r"\x85"),
    ],
)
def test_shown_name_is_one_printable_line(name, shown):
    assert layout.shown(name) == shown


@given(st.binary())
def test_no_name_escapes_the_line(name):
    """Any bytes are shown as printable text."""
    assert layout.shown(name).isprintable()


@given(NAMES)
def test_bases_are_names(name):
    """No base is empty or has a slash."""
    for base in layout.bases(name):
        assert base
        assert os.sep.encode() not in base


def test_mp4_chooses_first():
    """Of one stem, the MP4 chooses its base first."""
    paths = [b"a.mov", b"a.MP4", b"b/a.avi", b"a.mkv"]
    assert sorted(paths, key=layout.precedence) == [b"a.MP4", b"a.mkv", b"a.mov", b"b/a.avi"]
    assert layout.assign_bases(sorted(paths, key=layout.precedence), {})[b"a.MP4"] == b"a"


@given(st.binary().filter(lambda n: b"/" not in n))
def test_stem_is_the_librarys(name):
    """A stem is what posixpath says."""
    assert layout.stem_of(name) == posixpath.splitext(name)[0]


@given(NAMES)
@example(b"\xff" * 255)
@example(b"\xf0\x9f\x96\x90" * 60)
def test_all_bases_lie_in_their_range(name):
    """All bases of a clip lie between the two names that the journal asks for."""
    first, last = layout.bases_like(name)
    assert all(first <= base <= last for base in layout.bases(name))
