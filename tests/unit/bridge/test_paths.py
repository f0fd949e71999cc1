"""Paths of this machine, as they are on a node."""

from __future__ import annotations

import pytest

from povwatch.bridge import paths

WORK = "/here/outputs/.povwatch/7.ab"

JOB = {
    "id": 7,
    "video": f"{WORK}/working.mp4",
    "spec": {
        "video_path": f"{WORK}/working.mp4",
        "prompt": f"{WORK}/working.mp4",
        "edge": {"control_path": f"{WORK}/edge_control_path.mp4", "mask_path": None},
        "image_context_path": f"{WORK}/image.png",
    },
    "control_files": [{"path": f"{WORK}/left_control_0.mp4", "setting": {"key": "edge"}}],
}


def test_a_job_needs_each_file_once():
    assert paths.needed(JOB, WORK) == ["working.mp4", "edge_control_path.mp4", "image.png", "left_control_0.mp4"]


def test_a_prompt_that_is_a_path_stays():
    moved = paths.moved(JOB, WORK, "/node/work")
    assert moved["spec"]["prompt"] == f"{WORK}/working.mp4"
    assert moved["spec"]["edge"]["control_path"] == "/node/work/edge_control_path.mp4"
    assert moved["control_files"][0]["path"] == "/node/work/left_control_0.mp4"
    assert paths.moved(moved, "/node/work", WORK) == JOB


def test_an_artifact_comes_back():
    made = {"path": "/n/w/out.mp4", "controls": {"edge": "/n/w/edge.mp4"}, "frames": 3, "notes": ["/n/w/out.mp4"]}
    assert paths.made(made, "/n/w") == ["out.mp4", "edge.mp4"]
    assert paths.moved(made, "/n/w", WORK) == made | {
        "path": f"{WORK}/out.mp4",
        "controls": {"edge": f"{WORK}/edge.mp4"},
    }


@pytest.mark.parametrize("path", ["/etc/passwd", "/n/w/../../etc/passwd", "/n/www/out.mp4", None, 3])
def test_an_artifact_elsewhere_is_refused(path):
    with pytest.raises(ValueError, match="not inside"):
        paths.made({"path": path}, "/n/w")


def test_what_is_kept_is_kept_on_the_node():
    """Folders that no two workers may share get the number of the worker there."""
    config = {
        "compile_cache": "/s/compiled",
        "meeting": "/s/ranks/3",
        "output_dir": "/s/cosmos/3",
        "model": "/x",
    }
    assert paths.on_node(config, "/s", "/node", 1) == {
        "compile_cache": "/node/compiled",
        "meeting": "/node/ranks/1",
        "output_dir": "/node/cosmos/1",
        "model": "/x",
    }
