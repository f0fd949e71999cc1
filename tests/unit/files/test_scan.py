from __future__ import annotations

import os
import socket

import pytest
from support.somebody_else import as_somebody_else

from povwatch.config.settings import Arrival
from povwatch.files.scan import ClipUnreadable, InputsAway, sample, scan
from povwatch.files.signature import identity_of, signature, size_of


def listed(root, *, recursive=True):
    return scan(root, Arrival(extensions=[".mp4", ".mkv"], recursive=recursive))


def put(root, name, data=b"x"):
    path = os.path.join(os.fsencode(root), name)  # noqa: PTH118 - bytes
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)
    return path


@pytest.fixture
def root_fd(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_clips_specs_and_the_rest(tmp_path):
    """A scan tells clips, JSON files and all other names apart."""
    for name in (b"a.mp4", b"A.MP4", b"a.json", b"b.JSON", b"a.go", b".a.json.swp", b"notes.txt", b"sub/deep/c.mkv"):
        put(tmp_path, name)
    found = listed(tmp_path)
    assert found.clips.keys() == {b"a.mp4", b"A.MP4", b"sub/deep/c.mkv"}
    assert found.specs.keys() == {b"a.json"}
    assert found.names == {b"b.JSON", b"a.go", b".a.json.swp", b"notes.txt"}


def test_names_of_any_bytes(tmp_path):
    """Clips with any bytes in their names are found."""
    names = {
        b"\xff\xfe.mp4",
        b"new\nline.mp4",
        "emoji \N{CLAPPER BOARD}.mp4".encode(),
        b"'\".mp4",
        b"x" * 251 + b".mp4",
    }
    for name in names:
        put(tmp_path, name)
    assert listed(tmp_path).clips.keys() == names


def test_special_files_are_no_clips(tmp_path):
    """What is no file is no clip, and never blocks."""
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    put(tmp_path, b"folder.mp4/inside.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.mp4"))
    found = listed(tmp_path)
    assert found.clips.keys() == {b"folder.mp4/inside.mp4"}
    assert not found.links
    assert not found.names


def test_links_are_told_not_followed(tmp_path):
    """Links to clips are told and not followed; other links are ignored."""
    elsewhere = tmp_path / "elsewhere"
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    put(elsewhere, b"film.mp4")
    put(elsewhere, b"passwd")
    (inputs / "link.mp4").symlink_to(elsewhere / "film.mp4")
    (inputs / "twice.mp4").symlink_to("link.mp4")
    (inputs / "dangling.mp4").symlink_to("nowhere.mp4")
    (inputs / "secret.mp4").symlink_to(elsewhere / "passwd")
    (inputs / "folder.mp4").symlink_to(elsewhere)
    (inputs / "folder").symlink_to(elsewhere)
    (inputs / "circle.mp4").symlink_to("circle.mp4")
    (inputs / ".hidden.mp4").symlink_to(elsewhere / "film.mp4")
    found = listed(inputs)
    assert found.links.keys() == {b"link.mp4", b"twice.mp4"}
    assert found.links[b"link.mp4"] == signature((inputs / "link.mp4").lstat())
    assert not found.clips


def test_ignored_names_and_folders(tmp_path):
    """No clip is taken from ignored names or folders."""
    for name in (b".a.mp4", b"~b.mp4", b".git/c.mp4", b"@eaDir/d.mp4", b"#recycle/e.mp4", b".rsync-partial/f.mp4"):
        put(tmp_path, name)
    for name in (
        b"$Recycle.Bin/g.mp4",
        b"System Volume Information/h.mp4",
        b"i.mp4.download/i.mp4",
        b"lost+found/j.mp4",
    ):
        put(tmp_path, name)
    assert not listed(tmp_path).clips


def test_partial_holds_a_clip_back(tmp_path):
    """A partial file beside a clip holds it back, in its own folder alone."""
    for name in (b"sub/a.mp4", b"sub/a.mp4.part", b"a.mp4", b"b.mp4", b".b.mp4.Ab3xYz", b"c.mp4.part"):
        put(tmp_path, name)
    found = listed(tmp_path)
    assert found.held_back == {b"sub/a.mp4": b"sub/a.mp4.part", b"b.mp4": b".b.mp4.Ab3xYz"}
    assert found.clips.keys() == {b"sub/a.mp4", b"a.mp4", b"b.mp4"}


def test_not_recursive(tmp_path):
    """Without recursion only the clips of the top folder are found."""
    put(tmp_path, b"a.mp4")
    put(tmp_path, b"sub/b.mp4")
    assert listed(tmp_path, recursive=False).clips.keys() == {b"a.mp4"}


def test_absent_root_is_an_error(tmp_path):
    """An absent root is an error, not an empty folder."""
    with pytest.raises(InputsAway, match="nothing is cancelled"):
        listed(tmp_path / "gone")
    put(tmp_path, b"file")
    with pytest.raises(InputsAway):
        listed(tmp_path / "file")


def test_unreadable_folder_is_blind(open_to_all):
    """A folder that may not be read is blind, and its neighbour by name is not."""
    put(open_to_all, b"sub/a.mp4")
    put(open_to_all, b"subway/a.mp4")
    (open_to_all / "sub").chmod(0)
    with as_somebody_else():
        found = listed(open_to_all)
    assert [folder for folder, _ in found.unreadable] == [b"sub"]
    assert found.is_blind(b"sub/a.mp4")
    assert not found.is_blind(b"subway/a.mp4")


def test_too_long_path_is_blind(tmp_path):
    """A path that is too long is blind, and no crash."""
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=folder)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    put(tmp_path, b"a.mp4")
    found = listed(tmp_path)
    assert found.clips.keys() == {b"a.mp4"}
    assert "too long" in found.unreadable[0][1]
    assert found.is_blind(found.unreadable[0][0] + b"/deeper.mp4")
    os.system(f"rm -rf '{tmp_path}'/d*")  # noqa: S605 - Path's own walk cannot go as deep


def test_signature_tells_every_change(tmp_path):
    """The signature changes with size, time and identity, for any time."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1234")
    first = signature(path.stat())
    assert size_of(first) == 4
    assert identity_of(first) == (path.stat().st_dev, path.stat().st_ino)
    os.utime(path, ns=(1, 1))
    second = signature(path.stat())
    assert second != first
    os.truncate(path, 0)
    assert size_of(signature(path.stat())) == 0
    os.utime(path, (0, 0))
    assert size_of(signature(path.stat())) == 0  # times before 1970 and of 0 pack too
    os.utime(path, (-1000, -1000))
    assert signature(path.stat())


def test_sample_is_the_scans_signature(tmp_path, root_fd):
    put(tmp_path, b"sub/a.mp4")
    assert sample(root_fd, b"sub/a.mp4") == listed(tmp_path).clips[b"sub/a.mp4"]


def test_sample_of_what_is_no_file(tmp_path, root_fd):
    """A sample of what is gone or no file is none."""
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    put(tmp_path, b"a.mp4")
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.mp4"))
    for name in (b"gone.mp4", b"fifo.mp4", b"folder.mp4", b"link.mp4", b"socket.mp4", b"a.mp4/b.mp4", b"no/a.mp4"):
        assert sample(root_fd, name) is None, name


def test_unenterable_folder_is_blind(open_to_all):
    """A folder that may be listed and not entered is blind."""
    put(open_to_all, b"sub/a.mp4")
    (open_to_all / "sub").chmod(0o444)
    with as_somebody_else():
        found = listed(open_to_all)
    assert found.is_blind(b"sub/a.mp4")


def test_unreadable_clip_says_what_to_do(open_to_all):
    put(open_to_all, b"a.mp4")
    (open_to_all / "a.mp4").chmod(0)
    fd = os.open(open_to_all, os.O_RDONLY)
    with as_somebody_else(), pytest.raises(ClipUnreadable, match=r"a\.mp4.*right to read"):
        sample(fd, b"a.mp4")
    os.close(fd)
