from __future__ import annotations

import dataclasses

import pytest

from povwatch.files.health import NETWORK, Identity, RootGuard, identity


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder


def test_same_folder_is_healthy(root):
    guard = RootGuard(root)
    (root / "new.mp4").touch()
    assert guard.check()
    assert guard.check().reason is None
    assert guard.is_network is False


def test_folder_that_is_away(root):
    """A folder that is away, or replaced by a file, is neither healthy nor adoptable."""
    guard = RootGuard(root)
    root.rmdir()
    health = guard.check()
    assert not health
    assert not health.adoptable
    assert "is away" in health.reason
    root.touch()
    assert "is away" in guard.check().reason  # a file is no folder


def test_remade_folder_is_adopted_on_demand(root):
    guard = RootGuard(root)
    root.rename(root.with_name("old"))
    root.mkdir()
    health = guard.check()
    assert not health
    assert health.adoptable
    assert not guard.check()  # looking is not adopting
    guard.adopt()
    assert guard.check()


def test_folder_moved_away_and_back(root):
    """A folder that was moved away and back is healthy again."""
    guard = RootGuard(root)
    root.rename(root.with_name("old"))
    assert not guard.check()
    root.with_name("old").rename(root)
    assert guard.check()


def test_other_file_system_is_not_adoptable(root):
    """A folder on another file system is never adoptable."""
    here = identity(root)
    for other in (
        dataclasses.replace(here, source="server:/share"),
        dataclasses.replace(here, fstype="nfs4"),
        dataclasses.replace(here, fsid=here.fsid ^ 1),
    ):
        health = RootGuard(root, other).check()
        assert not health
        assert not health.adoptable
        assert "not mounted" in health.reason


def test_root_that_was_never_there(root):
    """A root that was never there is adoptable once it is made."""
    guard = RootGuard(root / "later")
    assert not guard.check()
    (root / "later").mkdir()
    assert guard.check().adoptable
    guard.adopt()
    assert guard.check()


def test_identity_survives_a_restart(root):
    kept = RootGuard(root).known.dumps()
    assert RootGuard(root, Identity.loads(kept)).check()
    assert Identity.loads(kept).fstype not in {"", "unknown"}


def test_known_folder_away_at_the_start(root):
    """A known folder that is away at the start is neither healthy nor adoptable."""
    known = identity(root)
    root.rmdir()
    guard = RootGuard(root, known)
    assert not guard.check()
    assert not guard.check().adoptable


def test_link_on_the_way_is_followed(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert identity(tmp_path / "link") == identity(root)


def test_network_file_systems():
    """The list has network file systems, and no local ones."""
    assert {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"} <= NETWORK
    assert not {"ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuse.mergerfs"} & NETWORK
