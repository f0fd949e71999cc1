import errno
import hashlib
import os
import socket
import threading
from operator import attrgetter

import pytest
from support.spec_texts import CLIP, members, text

from povwatch.core import layout
from povwatch.core.errors import DiskFull, EnvironmentFault, SpecInvalid
from povwatch.files import atomic
from povwatch.files.signature import signature
from povwatch.spec.inputs_folder import FolderGone, InputsFolder, InputsRefused, Markers
from povwatch.spec.model import Spec
from povwatch.spec.parse import parse
from povwatch.spec.problems import explain

NOW = 1_700_000_000.0


@pytest.fixture
def root(tmp_path):
    (tmp_path / "inputs" / "sub").mkdir(parents=True)
    return tmp_path / "inputs"


@pytest.fixture
def inputs(root):
    return InputsFolder(root)


@pytest.fixture(params=["link", "renameat2"])
def linking(request, monkeypatch):
    """On a file system with hard links, and on one without."""
    if request.param == "renameat2":

        def refuse(*_args, **_kwargs):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(atomic.os, "link", refuse)


def files(root):
    return sorted(p.name for p in root.rglob("*") if p.is_symlink() or not p.is_dir())


@pytest.mark.parametrize("path", [b"clip.json", b"sub/clip.json", b"sub/\xff\n.json"])
def test_spec_is_written_once(linking, inputs, root, path):
    """A JSON is written whole, once, and never over another."""
    assert inputs.write_spec(path, b"one")
    assert not inputs.write_spec(path, b"two")
    assert (root / os.fsdecode(path)).read_bytes() == b"one"
    assert files(root) == [os.path.basename(os.fsdecode(path))]  # noqa: PTH119 - the path is bytes


def test_one_of_many_writers_wins(linking, inputs, root):
    won = []
    start = threading.Barrier(8)

    def write(n):
        start.wait()
        if inputs.write_spec(b"clip.json", b"%d" % n * 1000):
            won.append(n)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert (root / "clip.json").read_bytes() == b"%d" % won[0] * 1000
    assert files(root) == ["clip.json"]


def test_uploader_may_edit_it(inputs, root):
    """A JSON has the folder's group, which may write it."""
    (root / "sub").chmod(0o2770)
    os.chown(root / "sub", -1, 12345) if os.geteuid() == 0 else None
    old = os.umask(0o007)
    try:
        inputs.write_spec(b"sub/clip.json", b"x")
    finally:
        os.umask(old)
    status = (root / "sub" / "clip.json").stat()
    assert status.st_mode & 0o777 == 0o660
    assert status.st_gid == (root / "sub").stat().st_gid


def test_bytes_and_name_are_synced(inputs, root, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd)), sync(fd)))
    inputs.write_spec(b"clip.json", b"12345")
    assert synced[0].st_ino == (root / "clip.json").stat().st_ino
    assert synced[0].st_size == 5
    assert synced[-1].st_ino == root.stat().st_ino


def failing(code):
    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, InputsRefused)]
)
def test_failed_write_leaves_nothing(inputs, root, monkeypatch, code, error):
    """A write that fails leaves no file, and the error names the path."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(code))
        with pytest.raises(error) as caught:
            inputs.write_spec(b"sub/clip.json", b"x")
    assert "inputs/sub/clip.json" in caught.value.what
    assert files(root) == []


def test_forbidden_folder_is_told(inputs, monkeypatch):
    monkeypatch.setattr(atomic.os, "open", failing(errno.EACCES))
    with pytest.raises(InputsRefused, match="right to write"):
        inputs.write_spec(b"clip.json", b"x")


def test_no_symlink_on_the_way(inputs, root):
    """A folder on the way that is a symlink is not written through."""
    (root / "link").symlink_to("sub")
    with pytest.raises(FolderGone):
        inputs.write_spec(b"link/clip.json", b"x")
    assert files(root) == ["link"]


def test_spec_is_read(inputs, root):
    """A JSON is read with its digest and its signature."""
    (root / "clip.json").write_bytes(b"{}")
    status = (root / "clip.json").stat()
    spec = inputs.read_spec(b"clip.json")
    assert (spec.data, spec.digest) == (b"{}", hashlib.sha256(b"{}").hexdigest())
    assert spec.signature == signature(status)


def test_huge_file_is_not_read_whole(inputs, root):
    with (root / "clip.json").open("wb") as file:
        file.truncate(1 << 40)
    data = inputs.read_spec(b"clip.json").data
    assert len(data) == 64 * 1024 + 1
    with pytest.raises(SpecInvalid, match="65,536"):
        parse(data, clip_name=CLIP, file="clip.json")


def test_missing_spec_and_missing_inputs(inputs, root):
    """A missing JSON is no error. Missing inputs are."""
    beside = layout.beside(b"gone/clip.mp4", b"clip")
    assert inputs.read_spec(b"clip.json") is None
    assert inputs.read_spec(b"gone/clip.json") is None
    assert inputs.markers(beside) == Markers(go=False, hold=False)
    assert not inputs.editor_open(beside.spec, NOW)
    assert not inputs.remove_error(beside.error)
    root.rename(root.with_name("away"))
    for ask in (
        lambda: inputs.read_spec(b"clip.json"),
        lambda: inputs.markers(beside),
        lambda: inputs.editor_open(b"clip.json", NOW),
        lambda: inputs.remove_error(b"clip.error.txt"),
        lambda: inputs.write_spec(b"clip.json", b""),
    ):
        with pytest.raises(EnvironmentFault):
            ask()


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo", "socket"])
def test_special_file_is_named(inputs, root, kind, monkeypatch):
    """What is no plain file is invalid, and its kind is named."""
    path = root / "clip.json"
    if kind == "symlink":
        path.symlink_to("/etc/hostname")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(root)  # the name of a socket has to be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("clip.json")
    with pytest.raises(SpecInvalid) as caught:
        inputs.read_spec(b"clip.json")
    assert kind in explain(caught.value).lower()
    assert "clip.json" in caught.value.what


def test_error_file_comes_and_goes(inputs, root):
    """An error file is written, left alone if unchanged, replaced, and removed."""
    path = root / "clip.error.txt"
    assert inputs.write_error(b"clip.error.txt", "one")
    assert path.read_text() == "povwatch: one"
    before = path.stat()
    assert inputs.write_error(b"clip.error.txt", "one")
    assert path.stat() == before
    assert inputs.write_error(b"clip.error.txt", "two \udcff")
    assert path.read_text() == "povwatch: two \\udcff"
    assert files(root) == ["clip.error.txt"]
    assert inputs.remove_error(b"clip.error.txt")
    assert not inputs.remove_error(b"clip.error.txt")
    assert files(root) == []


@pytest.mark.parametrize("kind", ["file", "empty", "symlink", "dangling", "folder", "fifo"])
def test_users_file_is_left_alone(inputs, root, kind):
    """A file of a user that has an error file's name is neither changed nor removed."""
    path = root / "clip.error.txt"
    (root / "ours").write_text("povwatch: looks like ours")
    {
        "file": lambda: path.write_text("notes"),
        "empty": path.touch,
        "symlink": lambda: path.symlink_to("ours"),
        "dangling": lambda: path.symlink_to("nowhere"),
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }[kind]()
    state = attrgetter("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")  # not st_atime, which reading changes
    before = state(path.lstat())
    assert not inputs.write_error(b"clip.error.txt", "one")
    assert not inputs.remove_error(b"clip.error.txt")
    assert state(path.lstat()) == before
    assert (root / "ours").read_text() == "povwatch: looks like ours"


def test_markers(inputs, root):
    """The go and hold files of a clip are found; a folder of that name is none."""
    beside = layout.beside(b"sub/a.mov", b"a.mov")
    assert inputs.markers(beside) == Markers(go=False, hold=False)
    (root / "sub" / "a.mov.go").touch()
    assert inputs.markers(beside) == Markers(go=True, hold=False)
    (root / "sub" / "a.mov.hold").write_text("wait for me")
    assert inputs.markers(beside) == Markers(go=True, hold=True)
    (root / "sub" / "a.mov.go").unlink()
    (root / "sub" / "a.mov.go").mkdir()
    assert inputs.markers(beside) == Markers(go=False, hold=True)


@pytest.mark.parametrize(
    "lock", [".clip.json.swp", ".clip.json.swo", ".clip.json.swx", ".#clip.json", ".~lock.clip.json#"]
)
def test_editor_lock(inputs, root, lock):
    """An editor's lock counts for an hour."""
    assert not inputs.editor_open(b"sub/clip.json", NOW)
    path = root / "sub" / lock
    if lock.startswith(".#"):
        path.symlink_to("me@host.1234:1700000000")
    else:
        path.touch()
    for age, expected in ((0, lock), (3600, lock), (3601, None), (-3600, lock), (-1e9, None)):
        os.utime(path, (NOW - age, NOW - age), follow_symlinks=False)
        assert inputs.editor_open(b"sub/clip.json", NOW) == (expected and expected.encode())
    assert not inputs.editor_open(b"clip.json", NOW)


def test_too_long_a_name_for_a_lock(inputs):
    """A name that is too long for a lock is not open."""
    assert not inputs.editor_open(b"x" * 255, NOW)


def test_sweep_takes_our_left_overs_only(inputs, root):
    (root / "sub" / "deep").mkdir()
    for name in (".povwatch-1", "sub/.povwatch-2", "sub/deep/.povwatch-3"):
        (root / name).touch()
    kept = [".povwatch", ".povwatchx", "a.povwatch-1", "clip.json"]
    for name in kept:
        (root / "sub" / name).touch()
    (root / ".povwatch-folder").mkdir()
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / ".povwatch-4").touch()
    (root / "link").symlink_to(outside)
    assert inputs.sweep() == 3
    assert files(root) == sorted([*kept, "link"])
    assert (root / ".povwatch-folder").is_dir()
    assert (outside / ".povwatch-4").exists()


def make(root, kind):
    path = root / "sub" / "c.mp4"
    if kind == "missing":
        return
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.write_bytes(b"" if kind == "empty" else b"x")
    if kind == "hard link":
        os.link(path, root / "other")
    elif kind == "symlink":
        path.rename(root / "other")
        path.symlink_to("../other")


UNFIT = {
    "missing": "not there",
    "folder": "folder",
    "FIFO": "FIFO",
    "empty": "empty",
    "hard link": "2 names",
    "symlink": "symlink",
}


@pytest.mark.parametrize(("kind", "words"), UNFIT.items())
def test_unfit_named_file(inputs, root, kind, words):
    """A named file that is not what its field needs is told with its field, place and reason."""
    make(root, kind)
    data = text(edge={"control_path": "c.mp4"})
    spec = parse(data, clip_name=CLIP, file="clip.json")
    with pytest.raises(SpecInvalid) as caught:
        inputs.check_references(spec, b"sub/clip.json", data)
    (problem,) = caught.value.problems
    assert problem.field == "edge.control_path"
    assert words in problem.message
    assert (problem.line, problem.column) == (6, 21)
    assert problem.found == '"c.mp4"'


def test_fit_named_files(inputs, root):
    """Named files are looked for beside the JSON, and pass if they are there."""
    (root / "sub" / "masks").mkdir()
    (root / "sub" / "masks" / "m.mp4").write_bytes(b"x")
    spec = Spec.model_validate(members(edge={"mask_path": "masks/m.mp4"}))
    assert inputs.check_references(spec, b"sub/clip.json") == spec
    with pytest.raises(SpecInvalid, match=r"edge\.mask_path"):
        inputs.check_references(spec, b"clip.json")


def test_named_file_through_a_symlink(inputs, root):
    """A named file is not taken through a folder that is a symlink."""
    (root / "sub" / "m.mp4").write_bytes(b"x")
    (root / "masks").symlink_to("sub")
    spec = Spec.model_validate(members(edge={"mask_path": "masks/m.mp4"}))
    with pytest.raises(SpecInvalid, match="symlink"):
        inputs.check_references(spec, b"clip.json")


def test_prompt_file_is_frozen(inputs, root):
    """A prompt from a file is kept with its words, and its digest follows them."""
    spec = Spec.model_validate(members(prompt=..., prompt_path="p.txt"))
    digests = set()
    for prompt in (" hands \n", "feet"):
        (root / "p.txt").write_text(prompt)
        resolved = inputs.check_references(spec, b"clip.json")
        assert (resolved.prompt, resolved.prompt_path) == (prompt.strip(), None)
        assert Spec.model_validate_json(resolved.model_dump_json()) == resolved
        digests.add(resolved.digest())
    assert len(digests) == 2


@pytest.mark.parametrize(("data", "words"), [(b"\xff", "UTF-8"), (b" \n", "blanks"), (b"x" * 70_000, "65,536")])
def test_unreadable_prompt(inputs, root, data, words):
    """A prompt file that is no text, empty or too large is refused."""
    (root / "p.txt").write_bytes(data)
    spec = Spec.model_validate(members(prompt=..., prompt_path="p.txt"))
    with pytest.raises(SpecInvalid, match=words):
        inputs.check_references(spec, b"clip.json")


def ours(data):
    return data == b"ours"


def test_json_of_ours_is_replaced(linking, inputs, root):
    inputs.write_spec(b"sub/clip.json", b"ours")
    assert inputs.rewrite_spec(b"sub/clip.json", b"new", ours=ours) is None
    assert (root / "sub" / "clip.json").read_bytes() == b"new"
    assert files(root) == ["clip.json"]


def test_edited_json_is_kept(linking, inputs, root):
    """What somebody wrote is kept aside, however often."""
    for number, kept in enumerate([b"sub/.clip.json.old", b"sub/.clip.json.old2", b"sub/.clip.json.old3"]):
        (root / "sub" / "clip.json").write_bytes(b"mine %d" % number)
        assert inputs.rewrite_spec(b"sub/clip.json", b"new", ours=ours) == kept
    assert files(root) == [".clip.json.old", ".clip.json.old2", ".clip.json.old3", "clip.json"]
    assert [(root / "sub" / name).read_bytes() for name in files(root)] == [b"mine 0", b"mine 1", b"mine 2", b"new"]


def test_edit_of_the_last_moment_is_kept(inputs, root, monkeypatch):
    """Somebody saves between the look that found it ours and the move: what is judged is what was moved."""
    inputs.write_spec(b"clip.json", b"ours")
    move = atomic.rename_noreplace

    def save_then_move(folder, name, *rest):
        if name == b"clip.json":
            (root / "clip.json").write_bytes(b"mine")
        move(folder, name, *rest)

    monkeypatch.setattr(atomic, "rename_noreplace", save_then_move)
    assert inputs.rewrite_spec(b"clip.json", b"new", ours=ours) == b".clip.json.old"
    assert (root / ".clip.json.old").read_bytes() == b"mine"


def test_file_put_there_meanwhile_stays(linking, inputs, root, monkeypatch):
    """A file that is put there at the same moment stays, and the one before is kept."""
    inputs.write_spec(b"clip.json", b"ours")
    aside = atomic._put_aside

    def aside_then_theirs(folder, name):
        kept = aside(folder, name)
        (root / "clip.json").write_bytes(b"theirs")
        return kept

    monkeypatch.setattr(atomic, "_put_aside", aside_then_theirs)
    with pytest.raises(EnvironmentFault, match=r"it stays\. The one before is kept beside it as \.clip\.json\.old"):
        inputs.rewrite_spec(b"clip.json", b"new", ours=ours)
    assert (root / "clip.json").read_bytes() == b"theirs"
    assert (root / ".clip.json.old").read_bytes() == b"ours"


def test_full_disk_takes_nothing_away(inputs, root, monkeypatch):
    inputs.write_spec(b"clip.json", b"mine")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(DiskFull):
        inputs.rewrite_spec(b"clip.json", b"new", ours=ours)
    assert (root / "clip.json").read_bytes() == b"mine"
    assert files(root) == ["clip.json"]
