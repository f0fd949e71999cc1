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


def test_the_files_beside_a_clip_go_by_its_stem():
    found = layout.beside(b"d/a.mp4", b"a")
    assert found == layout.Beside(b"d/a.mp4", b"d/a.json", b"d/a.error.txt", b"d/a.go", b"d/a.hold")


def test_a_second_clip_of_a_stem_goes_by_its_full_name():
    found = layout.assign_bases([b"a.mp4", b"a.mov", b"d/a.mov"], {})
    assert found == {b"a.mp4": b"a", b"a.mov": b"a.mov", b"d/a.mov": b"a"}


def test_a_base_that_is_known_stays_and_is_not_given_twice():
    assert layout.assign_bases([b"a.avi", b"a.mp4"], {b"a.mp4": b"a"}) == {b"a.avi": b"a.avi", b"a.mp4": b"a"}


def test_a_clip_that_is_called_like_another_one_s_full_name_gets_a_base_of_its_own():
    found = layout.assign_bases([b"a.mp4", b"a.mov.mp4", b"a.mov"], {})
    assert len(set(found.values())) == 3


@given(st.sets(NAMES, min_size=1, max_size=8))
def test_every_clip_has_a_base_of_its_own_with_room_behind_it(names):
    found = layout.assign_bases(sorted(names), {})
    assert len(set(found.values())) == len(names)
    assert all(len(base + LONGEST) <= layout.NAME_MAX for base in found.values())


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=60, max_size=250))
def test_a_name_is_cut_between_characters(text):
    name = text.encode()
    assert all(base.decode() for base in layout.bases(name))


@pytest.mark.parametrize(
    ("path", "version", "output"),
    [
        (b"a.mp4", 1, b"a/a_aug.mp4"),
        (b"d/e/a.mp4", 1, b"d/e/a/a_aug.mp4"),
        (b"d/a.mp4", 2, b"d/a/a_aug_v2.mp4"),
    ],
)
def test_the_result_keeps_the_clip_s_folder(path, version, output):
    assert layout.output("{folder}/{stem}/{stem}_{kind}.mp4", path, b"a", "aug", version) == output


def test_the_manifest_is_beside_the_result():
    assert layout.manifest(b"d/a/a_aug_v2.mp4") == b"d/a/a_aug_v2.json"
    assert layout.control(b"d/a/a_aug_v2.mp4", "edge") == b"d/a/a_aug_v2_control_edge.mp4"


def test_a_clip_that_is_called_like_a_placeholder_is_only_a_name():
    assert (
        layout.filled("{folder}/.done/{name}", folder=b"{name}", name=b"{folder}.mp4") == b"{name}/.done/{folder}.mp4"
    )


def test_a_clip_in_the_top_folder_leaves_no_slash_in_front():
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
def test_a_name_for_people_is_printable_and_on_one_line(name, shown):
    assert layout.shown(name) == shown


@given(st.binary())
def test_no_name_escapes_the_line(name):
    assert layout.shown(name).isprintable()


@given(NAMES)
def test_the_bases_are_names(name):
    for base in layout.bases(name):
        assert base
        assert os.sep.encode() not in base


def test_of_one_stem_the_mp4_chooses_first():
    paths = [b"a.mov", b"a.MP4", b"b/a.avi", b"a.mkv"]
    assert sorted(paths, key=layout.precedence) == [b"a.MP4", b"a.mkv", b"a.mov", b"b/a.avi"]
    assert layout.assign_bases(sorted(paths, key=layout.precedence), {})[b"a.MP4"] == b"a"


@given(st.binary().filter(lambda n: b"/" not in n))
def test_a_stem_is_what_the_library_calls_so(name):
    assert layout.stem_of(name) == posixpath.splitext(name)[0]


@given(NAMES)
@example(b"\xff" * 255)
@example(b"\xf0\x9f\x96\x90" * 60)
def test_all_bases_of_a_clip_lie_between_the_two_names_that_are_asked_for(name):
    first, last = layout.bases_like(name)
    assert all(first <= base <= last for base in layout.bases(name))
