"""A container's index, read by a child with limits of its own."""

from __future__ import annotations

import pytest
from support import hostile
from support.clips import make_clip

from povwatch import container
from povwatch.container import Report
from povwatch.core.errors import EnvironmentFault, NotAVideo, SourceChanged
from povwatch.media.examine import TOO_LARGE
from povwatch.media.run import EXAMINE, Limits, call

MEGABYTE = 2**20


def examined(path, size=None, limits=EXAMINE, **args):
    size = path.stat().st_size if size is None else size
    return Report.from_json(call("examine", {"path": str(path), "size": size, **args}, timeout=100, limits=limits))


def test_child_says_what_the_loop_would(tmp_path):
    """The child's report on a whole, a cut and an empty file is the loop's own."""
    clip = make_clip(tmp_path / "a.mp4")
    for size in (clip.stat().st_size, clip.stat().st_size // 2, 0):
        with clip.open("rb") as file:
            assert examined(clip, size) == container.examine(file.fileno(), size)


def test_index_too_large_for_memory(tmp_path):
    """16 million samples: 0.4 GB."""
    clip = tmp_path / "a.mp4"
    clip.write_bytes(hostile.long_index(16_000_000))
    report = examined(clip, limits=Limits(memory=250 * MEGABYTE))
    assert (report.complete, report.not_video, report.why) == (False, None, TOO_LARGE)


def test_missing_file_or_link_is_not_read(tmp_path):
    """A link is no video, and a missing file or folder is a changed source."""
    clip = make_clip(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(clip)
    with pytest.raises(NotAVideo, match="symbolic link"):
        examined(tmp_path / "link.mp4", 100)
    with pytest.raises(SourceChanged, match="is gone"):
        examined(tmp_path / "b.mp4", 100)
    with pytest.raises(SourceChanged, match="is gone"):
        call("examine", {"path": "link.mp4/a.mp4", "root": str(tmp_path), "size": 1}, timeout=100, limits=EXAMINE)


def test_unreadable_disk_is_no_clips_fault():
    """A process's own memory, at address 0: a plain file that nobody can read."""
    with pytest.raises(EnvironmentFault, match="cannot be read at byte 0"):
        call("examine", {"path": "/proc/self/mem", "size": 100}, timeout=100, limits=EXAMINE)
