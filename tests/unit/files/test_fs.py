import errno
import os
from pathlib import Path

import pytest

from povwatch.files import fs


@pytest.fixture
def root(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture(params=["renameat2", "link"])
def renaming(request, monkeypatch):
    """With the system call, and with what takes its place where a file system does not know it."""
    if request.param == "link":

        def refuse(*_args):
            fs.ctypes.set_errno(errno.EINVAL)
            return -1

        monkeypatch.setattr(fs, "_renameat2", lambda: refuse)


def test_rename_moves_between_folders(renaming, root, tmp_path):
    folder = fs.make_dirs_beneath(root, b"a/b")
    (tmp_path / "old").write_bytes(b"data")
    fs.rename_noreplace(root, b"old", folder, b"new\xff")
    os.close(folder)
    assert (tmp_path / "a" / "b" / os.fsdecode(b"new\xff")).read_bytes() == b"data"
    assert not (tmp_path / "old").exists()


@pytest.mark.parametrize("taken", ["file", "folder", "dangling symlink"])
def test_rename_never_overwrites(renaming, root, tmp_path, taken):
    (tmp_path / "old").write_bytes(b"new bytes")
    if taken == "file":
        (tmp_path / "taken").write_bytes(b"old bytes")
    elif taken == "folder":
        (tmp_path / "taken").mkdir()
    else:
        (tmp_path / "taken").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        fs.rename_noreplace(root, b"old", root, b"taken")
    assert (tmp_path / "old").read_bytes() == b"new bytes"
    assert taken != "file" or (tmp_path / "taken").read_bytes() == b"old bytes"


def test_rename_refuses_a_null_byte(root, tmp_path):
    """rename does not cut a name at a null byte."""
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="null"):
        fs.rename_noreplace(root, b"a", root, b"b\0c")
    assert (tmp_path / "a").exists()


def test_rename_names_the_missing_file(root):
    with pytest.raises(FileNotFoundError) as caught:
        fs.rename_noreplace(root, b"missing", root, b"new")
    assert caught.value.filename == b"missing"


def test_open_reads_a_file_in_a_folder(root, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"x")
    fd = fs.open_beneath(root, b"./a//f", os.O_RDONLY)
    assert os.read(fd, 9) == b"x"
    os.close(fd)


def test_open_takes_the_folder_itself(root, tmp_path):
    fd = fs.open_beneath(root, b"", os.O_RDONLY | os.O_DIRECTORY)
    assert os.fstat(fd).st_ino == tmp_path.stat().st_ino
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "code"), [(b"link/f", errno.ENOTDIR), (b"to_f", errno.ELOOP), (b"a/b/c", errno.ENOENT)]
)
def test_open_follows_no_symlink(root, tmp_path, path, code):
    """open follows no symlink, names the part that failed, and leaks no descriptor."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "to_f").symlink_to("real/f")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        fs.open_beneath(root, path, os.O_RDONLY)
    assert caught.value.errno == code
    assert path.startswith(caught.value.filename)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("path", [b"/etc/passwd", b"../x", b"a/../../x", b"a\0b"])
def test_no_path_leads_out(root, path):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        fs.open_beneath(root, path, os.O_RDONLY)
    with pytest.raises(ValueError):  # noqa: PT011
        fs.make_dirs_beneath(root, path)


def test_folders_are_made_and_synced(root, tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(fs.os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), sync(fd)))
    (tmp_path / "a").mkdir()
    os.close(fs.make_dirs_beneath(root, b"a/b/c"))
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [p.stat().st_ino for p in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]


def test_folders_are_not_made_through_a_link(root, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        fs.make_dirs_beneath(root, b"link/new")
    assert not list((tmp_path / "real").iterdir())


def test_unsyncable_folder_is_no_error(root, monkeypatch):
    """A folder that cannot be synced is no error; a bad disk is."""

    def fail(code):
        def fsync(_fd):
            raise OSError(code, "")

        return fsync

    monkeypatch.setattr(fs.os, "fsync", fail(errno.EINVAL))
    fs.fsync_dir(root)
    monkeypatch.setattr(fs.os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError):  # noqa: PT011 - the one above
        fs.fsync_dir(root)
