"""Room on the disks, looked up on real folders."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from povwatch.config.settings import Config, Disk, Paths
from povwatch.core.job import Waiting
from povwatch.files.free_space import MEASURE_EVERY, FreeSpace


@pytest.fixture
def world(tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "state").mkdir()
    config = Config(paths=Paths(outputs=tmp_path / "outputs", state=tmp_path / "state"), disk=Disk(reserve="1GB"))
    return tmp_path, FreeSpace(config)


def test_too_little_room_blocks(world):
    """Too little room blocks, until there is room; each is told once."""
    folder, space = world
    space._reserve = 2**62
    with capture_logs() as said:
        space.tick(10)
        space.tick(10 + MEASURE_EVERY)
    assert space.blocker.waiting is Waiting.DISK_FULL
    assert [(line["event"], line["where"]) for line in said] == [("disk-full", folder / "outputs")]
    space._reserve = 1
    with capture_logs() as said:
        space.tick(10 + 2 * MEASURE_EVERY)
    assert space.blocker is None
    assert [(line["event"], line["where"]) for line in said] == [("disk-room", folder / "outputs")]


def test_looked_at_before_something_begins(world):
    """Room is looked at anew before something begins."""
    folder, space = world
    space.tick(10)
    space._reserve = 2**62
    space.tick(11)  # not due yet
    assert space.blocker is None
    assert str(folder / "outputs") in str(space.lacking())
    assert space.blocker is not None
    space._reserve = 1
    assert space.lacking() is None
    assert space.blocker is None


def test_full_disk_that_vanishes_is_full(world):
    """A disk that was full and cannot be looked at is still full."""
    folder, space = world
    space._reserve = 2**62
    space.tick(10)
    space._reserve = 1
    (folder / "outputs").rmdir()
    with capture_logs() as said:
        space.tick(20)
        (folder / "state").rmdir()
        space.tick(30)
    assert said == []
    assert space.blocker is not None
    (folder / "outputs").mkdir()
    space.tick(40)
    assert space.blocker is None


def test_missing_folders_do_not_block(world):
    """Folders that cannot be looked at do not block for want of room."""
    folder, space = world
    (folder / "outputs").rmdir()
    (folder / "state").rmdir()
    space.tick(10)
    assert space.blocker is None
