from __future__ import annotations

import pytest

from povwatch.files.names import held_back, is_clip_name, is_ignored, is_ignored_folder, named_by_partial

EXTENSIONS = frozenset({b".mp4", b".mkv"})


@pytest.mark.parametrize(
    "name", [b"a.mp4", b"A.MP4", b"a.b.Mkv", b"\xff\xfe.mp4", b"new\nline.mp4", b"x" * 251 + b".mp4"]
)
def test_clip_names(name):
    """A clip's name is any bytes with one of the suffixes, in any case."""
    assert is_clip_name(name, EXTENSIONS)


@pytest.mark.parametrize("name", [b"a", b"mp4", b".mp4", b"a.mp4.part", b"a.json", b"a.mp4 ", b"a.mp44", b"mp4.", b""])
def test_no_clip_names(name):
    """A name without one of the suffixes at its end is no clip's."""
    assert not is_clip_name(name, EXTENSIONS)


@pytest.mark.parametrize(
    "name",
    [
        b".a.mp4",
        b"~a.mp4",
        b"a.mp4~",
        b"._a.mp4",
        b".povwatch-123",
        *(b"a.mp4" + end for end in b".part .crdownload .filepart .download .tmp .partial .!qB .aria2 .PART".split()),
    ],
)
def test_ignored(name):
    """Hidden files, backups and partial files are ignored."""
    assert is_ignored(name)


@pytest.mark.parametrize("name", [b"a.mp4", b"a~b.mp4", b"part.mp4", b"a.part.mp4", b"a.json"])
def test_not_ignored(name):
    """Names that only look like those of partial files are not ignored."""
    assert not is_ignored(name)


@pytest.mark.parametrize(
    "name",
    [
        *(b".git", b".rsync-partial", b"@eaDir", b"#recycle", b"#snapshot", b"@Recycle", b"lost+found"),
        *(b"$RECYCLE.BIN", b"$Recycle.Bin", b"System Volume Information", b"SYSTEM VOLUME INFORMATION"),
        *(b"@EADIR", b"#Recycle", b"RECYCLER"),
        *(b"clip.mp4.download", b"Clip.MP4.Download"),
    ],
)
def test_ignored_folders(name):
    """Folders of tools, servers, systems and browsers are ignored, in any case."""
    assert is_ignored_folder(name)


@pytest.mark.parametrize("name", [b"a", b"a.part", b"~a", b"recycle", b"x.mp4"])
def test_folders_that_are_looked_into(name):
    """Folders whose names only look alike are looked into."""
    assert not is_ignored_folder(name)


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        (b"a.mp4.part", b"a.mp4"),
        (b"a.mp4.crdownload", b"a.mp4"),
        (b"a.mp4.!qB", b"a.mp4"),
        (b"a.mp4.aria2", b"a.mp4"),
        (b".a.mp4.part", b"a.mp4"),
        (b".a.mp4.Ab3xYz", b"a.mp4"),
        (b"a.mp4.Ab3xYz", None),
        (b".a.mp4.swp", None),
        (b"a.mp4~", None),
        (b".part", None),
        (b"a.json", None),
    ],
)
def test_what_an_unfinished_file_becomes(name, clip):
    """A partial file's name tells which clip it becomes, if any."""
    assert named_by_partial(name) == clip


def test_partial_holds_its_own_clip_back():
    """A partial file holds back its own clip alone."""
    partials = {b"a.mp4.part": 5, b".b.mp4.Ab3xYz": 5, b"d.mp4.part": 5}
    assert held_back(partials, {b"a.mp4": 5, b"b.mp4": 4, b"c.mp4": 4}) == {
        b"a.mp4": b"a.mp4.part",
        b"b.mp4": b".b.mp4.Ab3xYz",
    }


def test_older_partial_is_a_left_over():
    """A temporary file that is older than the clip is a left-over."""
    partials = {b".a.mp4.Ab3xYz": 3, b".b.mp4.Ab3xYz": 7, b".b.mp4.Zz9xYz": 3, b"c.mp4.part": 3}
    clips = dict.fromkeys((b"a.mp4", b"b.mp4", b"c.mp4"), 5)
    assert held_back(partials, clips) == {b"b.mp4": b".b.mp4.Ab3xYz"}


def test_control_file_holds_at_any_age():
    """What lies beside a clip that grows itself holds it back, however old."""
    assert held_back({b"a.mp4.aria2": 3}, {b"a.mp4": 5}) == {b"a.mp4": b"a.mp4.aria2"}
